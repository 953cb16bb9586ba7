"""Batches gathered on a GPU from examples that all lie there: put together one by one they would keep it waiting.

What comes out is what the examples of a batch alone come to, up to rounding: of a feature drafter, what
`FeatureObjective.batch` makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from seeahead.drafters.msd import MsdOptions
from seeahead.train.examples import SLOT, TOP, UNTAUGHT, Batch, Example
from seeahead.train.responses import loaded

_TAKEN = 1 << 14
"""Examples whose tensors wait on the host together."""


def gathers(device: torch.device) -> bool:
    """On a CPU putting batches together is the smaller part of the work."""
    return device.type != "cpu"


class _Lines:
    """Where each of `examples` begins in what is held of them side by side."""

    def __init__(self, examples: Sequence[Example], sizes: Sequence[int]) -> None:
        self._numbers = {id(example): number for number, example in enumerate(examples)}
        self._examples = examples  # so that no other gets the identity of one of them
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.firsts = np.concatenate(([0], self.sizes.cumsum()[:-1])) if len(examples) else self.sizes

    def numbers(self, examples: Sequence[Example]) -> np.ndarray:
        return np.fromiter((self._numbers[id(example)] for example in examples), np.int64, len(examples))


class GatheredExamples:
    """Of a language or vision drafter: ids, labels and soft labels in draft ids, visual embeddings. Soft labels take
    most of the room, and text has none: only those that are there are held."""

    def __init__(self, examples: Sequence[Example], table: Tensor, unknown: int, device: torch.device | str) -> None:
        """`table`: the draft id of every target id, -1 for those that read as the `unknown` one."""
        self._lines = _Lines(examples, [len(example.ids) for example in examples])
        self._unknown, self._device = unknown, device
        ids = torch.from_numpy(np.fromiter(chain.from_iterable(example.ids for example in examples), np.int64))
        drafted = table[ids.clamp_min(0)]
        self._slots = (ids == SLOT).to(device)
        self._ids = torch.where(drafted < 0, unknown, drafted).int().to(device)
        # A place's label is the token after it; the last place of a line has none.
        labels = torch.where(drafted < 0, UNTAUGHT, drafted).roll(-1)
        taught = np.zeros(len(ids), dtype=bool)
        self._soft = _Lines(examples, [len(example.top_ids) for example in examples])
        self._begins = np.asarray([example.start - 1 for example in examples])
        size = 1 + int(self._soft.sizes.sum())  # the first row is that of places without any
        soft_ids, shares = np.zeros((size, TOP), dtype=np.int32), np.zeros((size, TOP), dtype=np.float32)
        for first, soft, example in zip(self._lines.firsts, self._soft.firsts, examples, strict=True):
            taught[first + max(1, example.start) - 1 : first + len(example.ids) - 1] = True
            if example.top_ids:
                where = slice(1 + soft, 1 + soft + len(example.top_ids))
                soft_ids[where], shares[where] = example.top_ids, example.top_shares
        self._labels = torch.where(torch.from_numpy(taught), labels, UNTAUGHT).int().to(device)
        mapped = table[torch.from_numpy(soft_ids).long()]
        mapped[0] = 0
        self._soft_ids = mapped.clamp_min(0).int().to(device)
        self._shares = (torch.from_numpy(shares) * (mapped >= 0)).to(device)
        visual = [example.visual for example in examples]
        self._seen = _Lines(examples, [0 if one is None else len(one) for one in visual])
        self._visual = torch.cat(seen).to(device) if (seen := [one for one in visual if one is not None]) else None

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Padded to the longest."""
        numbers = self._lines.numbers(examples)
        columns = torch.arange(int(self._lines.sizes[numbers].max()), device=self._device)
        places, is_there = self._places(self._lines, numbers, columns)
        begins = torch.from_numpy(self._begins[numbers]).to(self._device)
        soft, has_soft = self._places(self._soft, numbers, columns - begins[:, None])
        soft = torch.where(has_soft, 1 + soft, 0)
        visual = None
        if self._visual is not None and (seen := _ranges(self._seen, numbers)).size:
            visual = self._visual[torch.from_numpy(seen).to(self._device)]
        return Batch(
            torch.where(is_there, self._ids[places].long(), self._unknown),
            torch.where(is_there, self._labels[places].long(), UNTAUGHT),
            self._soft_ids[soft].long(),
            self._shares[soft],
            self._slots[places] & is_there,
            visual,
        )

    def _places(self, lines: _Lines, numbers: np.ndarray, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Where what these examples have in `columns` [.., columns] lies, and whether there is anything."""
        firsts, sizes = (torch.from_numpy(one[numbers]).to(self._device) for one in (lines.firsts, lines.sizes))
        is_there = (columns >= 0) & (columns < sizes[:, None])
        return torch.where(is_there, firsts[:, None] + columns, 0), is_there


@dataclass(frozen=True)
class Gathered:
    """What a feature drafter's batch is made of, all on the device.

    By slot: `ids` of its token, `features` [slots, width] of the position before, the `lengths` of its example, and the
    `places` in the padded batch [examples x columns] that it adds to, with `weights`, 0 where it is left out;
    `is_visual`: its embedding is one of `visual` [.., width]. Of slots that are taught: `taught`, their numbers;
    `rows`, `columns` in the batch; `wanted` [taught, width]; `tokens`, target ids."""

    shape: tuple[int, int]
    ids: Tensor
    features: Tensor
    lengths: Tensor
    places: Tensor
    weights: Tensor
    is_visual: Tensor
    visual: Tensor | None
    taught: Tensor
    rows: Tensor
    columns: Tensor
    wanted: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class _Layout:
    """Of one example: target `ids`; per slot the `columns` it adds to and its `weights`; how many columns there are."""

    ids: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    width: int
    start: int


class GatheredFeatures:
    """Of a feature drafter: ids, features and visual embeddings of all its `examples`."""

    def __init__(self, examples: Sequence[Example], options: MsdOptions, device: torch.device) -> None:
        self._device = device
        self._layouts = [_layout(example, options) for example in examples]
        self._lines = _Lines(examples, [len(example.ids) - 1 for example in examples])
        self._seen = _Lines(examples, [sum(token < 0 for token in example.ids) for example in examples])
        features, visual = list[Tensor](), list[Tensor]()
        for first in range(0, len(examples), _TAKEN):
            taken = [loaded(example) for example in examples[first : first + _TAKEN]]
            features += _parts([(example.features or {}).get(-1) for example in taken], device)
            visual += _parts([example.visual for example in taken], device)
        self._features = torch.cat(features)
        self._visual = torch.cat(visual) if visual else None

    def gather(self, examples: Sequence[Example]) -> Gathered:
        numbers = self._lines.numbers(examples)
        layouts = [self._layouts[number] for number in numbers]
        num_columns = max(layout.width for layout in layouts)
        counts = [len(layout.columns) for layout in layouts]
        taught = [np.arange(max(0, one.start - 2), len(one.ids) - 2) for one in layouts]
        before = np.concatenate(([0], np.cumsum(counts)[:-1]))
        rows = np.repeat(np.arange(len(layouts)), [len(own) for own in taught])
        ids = _flat([layout.ids[1:] for layout in layouts])
        every = {
            "ids": ids,
            "lines": _ranges(self._lines, numbers),
            "lengths": np.repeat([len(layout.ids) for layout in layouts], counts),
            "places": _flat([row * num_columns + layout.columns for row, layout in enumerate(layouts)]),
            "is_visual": ids < 0,
            "seen": _ranges(self._seen, numbers),
            "taught": _flat([first + own for first, own in zip(before, taught, strict=True)]),
            "rows": rows,
            "columns": _flat([layout.columns[own] for layout, own in zip(layouts, taught, strict=True)]),
            "tokens": _flat([layout.ids[own + 2] for layout, own in zip(layouts, taught, strict=True)]),
        }
        on = {name: torch.from_numpy(value).to(self._device) for name, value in every.items()}
        lines = on.pop("lines")
        seen = on.pop("seen")
        return Gathered(
            shape=(len(layouts), num_columns),
            features=self._features[lines],
            weights=torch.from_numpy(_flat([layout.weights for layout in layouts])).to(self._device),
            visual=self._visual[seen] if self._visual is not None and len(seen) else None,
            wanted=self._features[lines[on["taught"]] + 1].float(),
            **on,
        )


def can_gather(examples: Sequence[Example], options: MsdOptions) -> bool:
    """Whether images become smaller by means of whole groups of slots, as gathering takes them, and no image's first
    slot is cut off."""
    if not options.is_decoupled or options.visual == "query":
        return False
    runs = {
        len(list(run))
        for example in examples
        for seen, run in groupby(example.ids[1:], lambda token: token < 0)
        if seen
    }
    is_whole = options.visual != "pooled" or all(_group(size, options.num_tokens) is not None for size in runs)
    return is_whole and all(example.ids[0] >= 0 for example in examples)


def _layout(example: Example, options: MsdOptions) -> _Layout:
    columns, weights, width = list[np.ndarray](), list[np.ndarray](), 0
    for seen, run in groupby(example.ids[1:], lambda token: token < 0):
        size = len(list(run))
        groups, count = np.arange(size), size
        if seen and options.visual == "pooled" and (found := _group(size, options.num_tokens)) is not None:
            groups, count = found, int(found.max()) + 1
        is_kept = not (seen and options.visual == "dropped")
        columns.append(width + groups if is_kept else np.zeros(size, dtype=np.int64))
        weights.append(np.full(size, count / size if is_kept else 0.0, dtype=np.float32))
        width += count if is_kept else 0
    return _Layout(np.asarray(example.ids), _flat(columns), _flat(weights), width, example.start)


def _group(size: int, wanted: int) -> np.ndarray | None:
    """Which of `wanted` means each of `size` neighbours is in, as `pooled` takes them; None where groups overlap."""
    if wanted == 0 or size <= wanted:
        return np.arange(size)
    side, own = isqrt(size), isqrt(wanted)
    if side * side == size and own * own == wanted:
        if side % own:
            return None
        rows, columns = np.divmod(np.arange(size), side)
        groups: np.ndarray = rows // (side // own) * own + columns // (side // own)
        return groups
    return np.arange(size) // (size // wanted) if size % wanted == 0 else None


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    joined: np.ndarray = np.concatenate(parts)
    return joined


def _ranges(lines: _Lines, numbers: np.ndarray) -> np.ndarray:
    """Every place of these lines, one after the other."""
    firsts, sizes = lines.firsts[numbers], lines.sizes[numbers]
    ends = sizes.cumsum()
    places: np.ndarray = np.arange(ends[-1]) + np.repeat(firsts - (ends - sizes), sizes)
    return places


def _parts(tensors: Sequence[Tensor | None], device: torch.device) -> list[Tensor]:
    found = [one for one in tensors if one is not None]
    return [torch.cat(found).to(device)] if found else []
