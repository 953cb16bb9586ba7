"""Keys and values of all layers in blocks of equally many tokens, and slots that hold some of these.

A slot's token lies where its column is: block `column // size` of those that it holds, place `column % size`. Blocks
that nobody holds are used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from seeahead.executors.language import StateShape, with_places
from seeahead.executors.slots import TreeSlot

_LEAST = 8
"""Blocks there are room for at first."""


class Pages:
    """All blocks. `size`: tokens of one. `version` counts how often they were allocated anew, where views end."""

    def __init__(self, shapes: Sequence[StateShape], size: int, kind: Any) -> None:
        """`shapes`: of keys and values of all layers, in numbers of this `kind`, whose bytes alone matter here. Those
        of one shape lie in one array, so few calls move a token."""
        self.size, self.version, self._kind = size, 0, kind
        self._order = with_places(shapes)
        self._data = {shape: self._made(shape, 0) for shape in shapes}
        self._free: list[int] = []
        self._num_blocks = 0

    def _made(self, shape: StateShape, num_blocks: int) -> Any:
        """Zeros, since attention multiplies what it does not look at by nothing, and no number is left of that."""
        number = sum(one == shape for one, _ in self._order)
        return np.zeros((number, num_blocks, shape.heads, self.size, shape.width), self._kind)

    def views(self) -> list[Any]:
        """Of each of the `shapes`: [blocks, heads, size, width]."""
        return [self._data[shape][place] for shape, place in self._order]

    @property
    def num_held(self) -> int:
        """Blocks that somebody holds."""
        return self._num_blocks - len(self._free)

    def hold(self, blocks: list[int], num_tokens: int) -> None:
        """Add to `blocks` what is missing for so many tokens."""
        missing = -(-num_tokens // self.size) - len(blocks)
        if missing > len(self._free):
            self._grow(max(self._num_blocks + missing - len(self._free), self._num_blocks * 3 // 2, _LEAST))
        blocks += (self._free.pop() for _ in range(missing))

    def drop(self, blocks: list[int], num_tokens: int = 0) -> None:
        """Give back what so many tokens do not need."""
        kept = -(-num_tokens // self.size)
        self._free += blocks[kept:]
        del blocks[kept:]

    def _grow(self, num_blocks: int) -> None:
        grown = {shape: self._made(shape, num_blocks) for shape in self._data}  # all, or, where memory ends, none
        for shape, old in self._data.items():
            grown[shape][:, : self._num_blocks] = old
        self._data = grown
        self._free += range(self._num_blocks, num_blocks)
        self._num_blocks, self.version = num_blocks, self.version + 1

    def move(self, sources: Sequence[tuple[int, int]], targets: Sequence[tuple[int, int]]) -> None:
        """Copy tokens from places (block, place in it) to others, which may be among them."""
        (from_blocks, from_places), (to_blocks, to_places) = np.array(sources).T, np.array(targets).T
        for data in self._data.values():
            data[:, to_blocks, :, to_places] = data[:, from_blocks, :, from_places]

    def copy(self, source: int, target: int) -> None:
        """Of a whole block."""
        for data in self._data.values():
            data[:, target] = data[:, source]


class PagedSlot(TreeSlot):
    """A slot that holds `blocks`: committed tokens in their order, then those pending. Of these it remembers what they
    were: `embeddings` [pending, width] and `place_ids` [axes, pending], for passes that read them again."""

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self.pages, self.blocks = pages, list[int]()
        self.embeddings: Tensor | None = None
        self.place_ids: Tensor | None = None
        finalize(self, pages.drop, self.blocks)

    def place(self, column: int) -> tuple[int, int]:
        return self.blocks[column // self.pages.size], column % self.pages.size

    def remember(self, embeddings: Tensor, place_ids: Tensor) -> None:
        """What the newest pending nodes are."""
        old, places = self.embeddings, self.place_ids
        self.embeddings = embeddings if old is None else torch.cat([old, embeddings])
        self.place_ids = place_ids if places is None else torch.cat([places, place_ids], 1)

    def commit(self, path: Sequence[int]) -> None:
        first = self.length
        moved = [(first + node, first + number) for number, node in enumerate(path) if node != number]
        if moved:
            self.pages.move([self.place(old) for old, _ in moved], [self.place(new) for _, new in moved])
        super().commit(path)
        self._forget()

    def cut(self, length: int) -> None:
        super().cut(length)
        self._forget()

    def _forget(self) -> None:
        self.embeddings = self.place_ids = None
        self.pages.drop(self.blocks, self.length)
