"""Examples as the drafter is shown them, and batches of them: the same ones for the same step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError

SLOT = -1
"""In the place of a target id: here stands a visual embedding."""
MARK = -2
"""Likewise, for a marker beside an image; only drafters that read the target's features are shown these."""
TOP = 8
"""Probabilities of the target kept per token."""
MIXTURES = ("text", "pictures", "both", "ramp", "all")
_UNTAUGHT = -100
_WINDOW = 8
"""Batches of a mixture whose examples are sorted by length together."""


@dataclass(frozen=True)
class Example:
    """One text in target ids, learned from token `start` on.

    `top_ids` and `top_shares` [learned tokens, k]: the target's likeliest tokens there, empty where they are not known.
    `visual` [slots, target's width]: what stands in the slots, in their order; None where nothing is seen. `features`
    [tokens - 1, width]: the target's at every position but the last, where they are learned from.
    """

    ids: tuple[int, ...]
    start: int = 1
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_shares: tuple[tuple[float, ...], ...] = ()
    visual: Tensor | None = None
    features: Tensor | None = None

    @property
    def learned(self) -> tuple[int, ...]:
        return self.ids[self.start :]

    def without_images(self) -> Example:
        """The text-only view of the same text."""
        ids = tuple(token for token in self.ids if token != SLOT)  # all slots are in the prompt
        return replace(self, ids=ids, start=self.start - (len(self.ids) - len(ids)), visual=None)


@dataclass(frozen=True)
class Stored:
    """An example whose tensors are on disk until it is drawn: its `row` in `file`."""

    file: Path
    row: int
    ids: tuple[int, ...]
    start: int

    @property
    def has_images(self) -> bool:
        return min(self.ids) < 0


@dataclass(frozen=True)
class Batch:
    """`ids`, `labels` [examples, tokens] in draft ids, labels -100 where nothing is taught; soft labels [.., .., k].

    `labels[:, i]` is the token after place i. `visual` [slots, width] stands at the slots' `rows` and `columns`.
    """

    ids: Tensor
    labels: Tensor
    soft_ids: Tensor
    shares: Tensor
    rows: Tensor
    columns: Tensor
    visual: Tensor | None

    def to(self, device: torch.device) -> Batch:
        held: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value if value is None else value.to(device) for name, value in held.items()}
        return Batch(**moved)


class Collator:
    """Examples -> a batch in the draft ids of `vocabulary`, for a target of `vocab_size` tokens."""

    def __init__(self, vocabulary: DraftVocabulary, vocab_size: int) -> None:
        self.table, self.unknown = vocabulary.table(vocab_size), vocabulary.unknown

    def batch(self, examples: Sequence[Example]) -> Batch:
        shape = len(examples), max(len(example.ids) for example in examples)
        ids, labels = torch.full(shape, self.unknown), torch.full(shape, _UNTAUGHT)
        soft_ids, shares = torch.zeros(*shape, TOP, dtype=torch.int64), torch.zeros(*shape, TOP)
        slots: list[tuple[int, int]] = []
        for row, example in enumerate(examples):
            given = torch.tensor(example.ids)
            slots += [(row, column) for column in (given == SLOT).nonzero()[:, 0].tolist()]
            drafted = self.table[given.clamp_min(0)]
            ids[row, : len(drafted)] = torch.where(drafted < 0, self.unknown, drafted)
            first = max(1, example.start)
            labels[row, first - 1 : len(drafted) - 1] = torch.where(drafted < 0, _UNTAUGHT, drafted)[first:]
            if example.top_ids:
                mapped = self.table[torch.tensor(example.top_ids)]
                where = slice(example.start - 1, example.start - 1 + len(mapped))
                soft_ids[row, where] = mapped.clamp_min(0)
                shares[row, where] = torch.tensor(example.top_shares) * (mapped >= 0)
        seen = [example.visual for example in examples if example.visual is not None]
        rows, columns = torch.tensor(slots, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return Batch(ids, labels, soft_ids, shares, rows, columns, torch.cat(seen) if seen else None)


# ---- which examples a batch has: a sampler is called with the batch's number

T = TypeVar("T")


class _InGroups(Generic[T]):
    """Batch `number` depends on the examples, the seed and the number alone, so a run can go on anywhere. Batches are
    drawn in groups, of which the last one is kept."""

    def __init__(self, draw: Callable[[int], list[list[T]]], per_group: int) -> None:
        self._draw, self._per_group = draw, per_group
        self._group, self._batches = -1, list[list[T]]()

    def __call__(self, number: int) -> list[T]:
        group, place = divmod(number, self._per_group)
        if group != self._group:
            self._group, self._batches = group, self._draw(group)
        return self._batches[place]


def _in_batches(ordered: Sequence[T], size: int, rng: random.Random) -> list[list[T]]:
    """Neighbours stay together, the batches are shuffled."""
    batches = [list(ordered[first : first + size]) for first in range(0, len(ordered), size)]
    rng.shuffle(batches)
    return batches


class BatchSampler(_InGroups[Example]):
    """Endless batches of examples of similar length; every one once per round, each round in an order of its own."""

    def __init__(self, examples: Sequence[Example], size: int, seed: int) -> None:
        """Raises InputError when there are no examples."""
        if not examples:
            raise InputError("there is nothing to learn from; give more data, or let the target write for longer")

        def round_of(number: int) -> list[list[Example]]:
            rng = random.Random(f"{seed} round {number}")
            order = sorted(
                range(len(examples)), key=lambda index: (len(examples[index].ids) + rng.uniform(0, 12), index)
            )
            return _in_batches([examples[index] for index in order], size, rng)

        super().__init__(round_of, -(-len(examples) // size))


def ramp(share: float) -> float:
    """The share of examples with images at a share of the stage: none in its first half, then from 0.05 up to 1.

    MSD's released code: 20 epochs of text, then 1/20, 2/20, ... 1."""
    return 0.0 if share < 0.5 else min(1.0, (1 + int((share - 0.5) * 2 * 20)) / 20)


class ModalityMixture(_InGroups[Stored]):
    """Batches of examples, each with an image or not by a draw of its own: the same for any number of processes."""

    def __init__(self, examples: Sequence[Stored], mixture: str, num_batches: int, size: int, seed: int) -> None:
        """`mixture`: `text`, `pictures`, `both` (half and half), `ramp`, or `all` (every example alike).
        `num_batches`: of the whole stage, each of `size`.

        Raises InputError when there are no examples of a kind that is needed."""
        self._kinds = {seen: [entry for entry in examples if entry.has_images == seen] for seen in (False, True)}
        found = tuple(seen for seen in (False, True) if self._kinds[seen]) or (False, True)
        for seen in {"text": (False,), "pictures": (True,), "all": found}.get(mixture, (False, True)):
            if not self._kinds[seen]:
                raise InputError(f"no answers {'about' if seen else 'without'} images to learn from; give such data")
        natural = len(self._kinds[True]) / len(examples)
        self._fixed = {"text": 0.0, "pictures": 1.0, "both": 0.5, "all": natural}.get(mixture)
        self._num_examples, self._seed = num_batches * size, seed

        def window_of(number: int) -> list[list[Stored]]:
            count = _WINDOW * size
            drawn = [self.example(place) for place in range(number * count, (number + 1) * count)]
            ordered = sorted(drawn, key=lambda example: len(example.ids))
            return _in_batches(ordered, size, random.Random(f"{seed} window {number}"))

        super().__init__(window_of, _WINDOW)

    def example(self, number: int) -> Stored:
        rng = random.Random(f"{self._seed} line {number}")
        share = ramp(number / max(1, self._num_examples)) if self._fixed is None else self._fixed
        return rng.choice(self._kinds[rng.random() < share])


def packed(texts: Iterable[Sequence[int]], length: int, end: int) -> list[Example]:
    """Tokens of many texts, one after the other with `end` between them, cut into examples of `length` tokens."""
    examples: list[Example] = []
    held: list[int] = []
    for text in texts:
        held += [*text, end]
        while len(held) >= length:
            examples.append(Example(tuple(held[:length])))
            held = held[length:]
    if len(held) > 1:
        examples.append(Example(tuple(held)))
    return examples
