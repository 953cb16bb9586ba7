"""Examples as the drafter is shown them, and batches of them: the same ones for the same step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from seeahead.errors import InputError

SLOT, MARK = -1, -2
"""In the place of a target id: a visual embedding, and a marker beside an image, which only feature drafters see."""
TOP = 8
"""Probabilities of the target kept per token."""
MIXTURES = ("text", "pictures", "both", "ramp", "all")
UNTAUGHT = -100
"""A label of a place at which nothing is taught."""
_WINDOW = 8
"""Batches of a mixture whose examples are sorted by length together."""


@dataclass(frozen=True)
class Example:
    """One text in target ids, learned from token `start` on.

    `top_ids` and `top_shares` [learned tokens, k]: the target's likeliest tokens there, empty where they are not known.
    `visual` [slots, target's width]: what stands in the slots, in their order; None where nothing is seen. `features`
    [tokens - 1, width], by layer: the target's at every position but the last, where they are learned from. `stored`:
    the file, and the row in it, from which these two are read once the example is drawn."""

    ids: tuple[int, ...]
    start: int = 1
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_shares: tuple[tuple[float, ...], ...] = ()
    visual: Tensor | None = None
    features: Mapping[int, Tensor] | None = None
    stored: tuple[Path, int] | None = None

    @property
    def learned(self) -> tuple[int, ...]:
        return self.ids[self.start :]

    @property
    def has_images(self) -> bool:
        return min(self.ids) < 0


@dataclass(frozen=True)
class Batch:
    """`ids`, `labels` [examples, tokens] in draft ids, labels -100 where nothing is taught; soft labels [.., .., k].

    `labels[:, i]` is the token after place i. `visual` [slots, width] stands where `is_slot`."""

    ids: Tensor
    labels: Tensor
    soft_ids: Tensor
    shares: Tensor
    is_slot: Tensor
    visual: Tensor | None


# ---- which examples a batch has

Sampler = Callable[[int], list[Example]]
"""The examples of a batch by its number. They depend on that, the seed and all examples alone: a run can go on
anywhere, and several processes draw what one would."""


def _in_groups(draw: Callable[[int], list[list[Example]]], per_group: int) -> Sampler:
    """Batches are drawn in groups, of which the last one is kept."""
    group = lru_cache(maxsize=1)(draw)
    return lambda number: group(number // per_group)[number % per_group]


def _in_batches(ordered: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Neighbours stay together, the batches are shuffled."""
    batches = [list(ordered[first : first + size]) for first in range(0, len(ordered), size)]
    rng.shuffle(batches)
    return batches


def in_rounds(examples: Sequence[Example], size: int, seed: int) -> Sampler:
    """Endless batches of examples of similar length; every one once per round, each round in an order of its own.

    Raises InputError when there are no examples."""
    if not examples:
        raise InputError("there is nothing to learn from; give more data, or let the target write for longer")

    def round_of(number: int) -> list[list[Example]]:
        rng = random.Random(f"{seed} round {number}")
        ordered = sorted(examples, key=lambda example: len(example.ids) + rng.uniform(0, 12))
        return _in_batches(ordered, size, rng)

    return _in_groups(round_of, -(-len(examples) // size))


def ramp(share: float) -> float:
    """The share of examples with images at a share of the stage: none in its first half, then from 0.05 up to 1.

    MSD's released code: 20 epochs of text, then 1/20, 2/20, ... 1."""
    return 0.0 if share < 0.5 else min(1.0, (1 + int((share - 0.5) * 2 * 20)) / 20)


def mixed(examples: Sequence[Example], mixture: str, num_batches: int, size: int, seed: int) -> Sampler:
    """Batches of examples, each with an image or not by a draw of its own.

    `mixture`: `text`, `pictures`, `both` (half and half), `ramp`, or `all` (every example alike). `num_batches`: of the
    whole stage, each of `size`. Raises InputError when there are no examples of a kind that is needed."""
    kinds = {seen: [entry for entry in examples if entry.has_images == seen] for seen in (False, True)}
    natural = len(kinds[True]) / max(1, len(examples))
    fixed = {"text": 0.0, "pictures": 1.0, "both": 0.5, "all": natural}.get(mixture)
    for seen, is_needed in ((False, fixed is None or fixed < 1), (True, fixed is None or fixed > 0)):
        if is_needed and not kinds[seen]:
            raise InputError(f"no answers {'about' if seen else 'without'} images to learn from; give such data")

    def drawn(number: int) -> Example:
        rng = random.Random(f"{seed} line {number}")
        share = ramp(number / (num_batches * size)) if fixed is None else fixed
        return rng.choice(kinds[rng.random() < share])

    def window_of(number: int) -> list[list[Example]]:
        count = _WINDOW * size
        window = [drawn(place) for place in range(number * count, (number + 1) * count)]
        ordered = sorted(window, key=lambda example: len(example.ids))
        return _in_batches(ordered, size, random.Random(f"{seed} window {number}"))

    return _in_groups(window_of, _WINDOW)


def packed(texts: Iterable[Sequence[int]], length: int, end: int) -> list[Example]:
    """Tokens of many texts, one after the other with `end` between them, cut into examples of `length` tokens."""
    examples: list[Example] = []
    held: list[int] = []
    for text in texts:
        held += [*text, end]
        while len(held) >= length:
            examples.append(Example(tuple(held[:length])))
            held = held[length:]
    return [*examples, Example(tuple(held))] if len(held) > 1 else examples
