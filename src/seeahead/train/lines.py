"""Texts to learn from, as the drafter is shown them, and batches of them: the same ones for the same step."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError

SLOT = -1
"""In the place of a target id: here stands a visual embedding."""
MARK = -2
"""Likewise, for a marker beside a picture; only drafters that read the target's features are shown these."""
_UNTAUGHT = -100


TOP = 8
"""Probabilities of the target kept per token."""


@dataclass(frozen=True)
class Line:
    """One text in target ids, learned from token `start` on.

    `top_ids` and `top_shares` [learned tokens, k]: the target's likeliest tokens there, empty where they are not known.
    `visual` [slots, target's width]: what stands in the slots, in their order; None where nothing is seen.
    """

    ids: tuple[int, ...]
    start: int = 1
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_shares: tuple[tuple[float, ...], ...] = ()
    visual: Tensor | None = None

    @property
    def learned(self) -> tuple[int, ...]:
        return self.ids[self.start :]

    def blind(self) -> Line:
        """The text-only view of the same text."""
        if SLOT not in self.ids:
            return self
        num_slots = self.ids.count(SLOT)  # all in the prompt
        ids = tuple(token for token in self.ids if token != SLOT)
        return Line(ids, self.start - num_slots, self.top_ids, self.top_shares)


@dataclass(frozen=True)
class Batch:
    """`ids`, `labels` [lines, tokens] in draft ids, labels -100 where nothing is taught; soft labels [.., .., k].

    `labels[:, i]` is the token after place i. `visual` [slots, width] stands at `slots` (rows, columns).
    """

    ids: Tensor
    labels: Tensor
    soft_ids: Tensor
    shares: Tensor
    slots: tuple[Tensor, Tensor]
    visual: Tensor | None

    def to(self, device: torch.device) -> Batch:
        rows, columns = self.slots
        return Batch(
            self.ids.to(device),
            self.labels.to(device),
            self.soft_ids.to(device),
            self.shares.to(device),
            (rows.to(device), columns.to(device)),
            None if self.visual is None else self.visual.to(device),
        )


class Collator:
    """Lines -> a batch in the ids of `vocabulary` (None: the target's own ids, of which there are `vocab_size`)."""

    def __init__(self, vocabulary: DraftVocabulary | None, vocab_size: int) -> None:
        self.table = torch.arange(vocab_size) if vocabulary is None else vocabulary.table(vocab_size)
        self.unknown = 0 if vocabulary is None else vocabulary.unknown

    def batch(self, lines: Sequence[Line]) -> Batch:
        length = max(len(line.ids) for line in lines)
        ids = torch.full((len(lines), length), self.unknown)
        labels = torch.full((len(lines), length), _UNTAUGHT)
        soft_ids = torch.zeros(len(lines), length, TOP, dtype=torch.int64)
        shares = torch.zeros(len(lines), length, TOP)
        slots: list[tuple[int, int]] = []
        for row, line in enumerate(lines):
            given = torch.tensor(line.ids)
            slots += [(row, column) for column in (given == SLOT).nonzero()[:, 0].tolist()]
            drafted = self.table[given.clamp_min(0)]
            ids[row, : len(drafted)] = torch.where(drafted < 0, self.unknown, drafted)
            wanted = torch.where(drafted < 0, _UNTAUGHT, drafted)
            first = max(1, line.start)
            labels[row, first - 1 : len(drafted) - 1] = wanted[first:]
            if line.top_ids:
                mapped = self.table[torch.tensor(line.top_ids)]
                where = slice(line.start - 1, line.start - 1 + len(mapped))
                soft_ids[row, where], shares[row, where] = (
                    mapped.clamp_min(0),
                    torch.tensor(line.top_shares) * (mapped >= 0),
                )
        seen = [line.visual for line in lines if line.visual is not None]
        rows, columns = torch.tensor(slots, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return Batch(ids, labels, soft_ids, shares, (rows, columns), torch.cat(seen) if seen else None)


class Supply:
    """Endless batches of lines of similar length; every line once per round, each round in an order of its own.

    Batch `number` depends on the lines, the seed and the number alone, so a run can go on anywhere.
    """

    def __init__(self, lines: Sequence[Line], size: int, seed: int) -> None:
        """Raises InputError when there are no lines."""
        if not lines:
            raise InputError("there is nothing to learn from; give more data, or let the target write for longer")
        self._lines, self._size, self._seed = lines, size, seed
        self._round, self._batches = -1, list[list[int]]()

    def __call__(self, number: int) -> list[Line]:
        per_round = -(-len(self._lines) // self._size)
        if number // per_round != self._round:
            self._round = number // per_round
            self._batches = self._shuffled()
        return [self._lines[index] for index in self._batches[number % per_round]]

    def _shuffled(self) -> list[list[int]]:
        rng = random.Random(f"{self._seed} round {self._round}")
        order = sorted(
            range(len(self._lines)), key=lambda index: (len(self._lines[index].ids) + rng.uniform(0, 12), index)
        )
        batches = [order[start : start + self._size] for start in range(0, len(order), self._size)]
        rng.shuffle(batches)
        return batches


def packed(texts: Iterable[Sequence[int]], length: int, end: int) -> list[Line]:
    """Tokens of many texts, one after the other with `end` between them, cut into lines of `length` tokens."""
    lines: list[Line] = []
    held: list[int] = []
    for text in texts:
        held += [*text, end]
        while len(held) >= length:
            lines.append(Line(tuple(held[:length])))
            held = held[length:]
    if len(held) > 1:
        lines.append(Line(tuple(held)))
    return lines
