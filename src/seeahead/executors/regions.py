"""Keys and values of all slots in fixed buffers, where a captured pass finds them: each slot has columns of its own.

A slot's tokens lie in their order from its first column on; pending ones follow. So what a row sees is two numbers and
its ancestors, and a mask is made of these on the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from seeahead.compat import Cache
from seeahead.executors.attending import PassLayer
from seeahead.executors.language import StateShape, with_places
from seeahead.executors.slots import TreeSlot

LEAST_COLUMNS = 256
"""Of the buffers at first, and in a pass."""


def power_of_two(least: int) -> int:
    """The smallest one from `least` and LEAST_COLUMNS on."""
    return 1 << (max(least, LEAST_COLUMNS) - 1).bit_length()


class RegionSlot(TreeSlot):
    """A slot in the columns `first` to `first + room`; without room it holds nothing."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.first = self.room = 0

    @property
    def end(self) -> int:
        """After its last column in use."""
        return self.first + self.length + self.num_pending


class Regions:
    """Buffers [places, heads, columns + 1, width] for each shape of states, a place for each layer's keys or values.

    The last column takes what padded rows write. No number in it is infinite or none at all: masked columns of one slot
    take part in another's sums, with weight 0.
    """

    def __init__(self, shapes: Sequence[StateShape], dtype: torch.dtype, device: torch.device) -> None:
        """`shapes`: of each layer's keys and values, one after the other."""
        self.num_layers = len(shapes) // 2
        self.num_columns = LEAST_COLUMNS
        self._slots: WeakSet[RegionSlot] = WeakSet()
        self._places = with_places(shapes)
        self._blocks = {
            shape: torch.zeros(number, shape.heads, self.num_columns + 1, shape.width, dtype=dtype, device=device)
            for shape, number in Counter(shapes).items()
        }

    def open(self, capacity: int) -> RegionSlot:
        slot = RegionSlot(capacity)
        self._slots.add(slot)
        return slot

    def states(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [heads, columns + 1, width] of a layer."""
        keys, values = (self._blocks[shape][place] for shape, place in self._places[2 * layer : 2 * layer + 2])
        return keys, values

    def make_room(self, slot: RegionSlot, needed: int, *, at_front: bool) -> None:
        """Columns for so many tokens of the slot in all; `at_front`: from column 0 on."""
        room = slot.room if needed <= slot.room else max(needed, slot.capacity, 3 * slot.room // 2)
        if at_front:
            for other in self._others(slot):
                if other.first < room:
                    self._move(other, self._gap(self._others(other), other.room, room), other.room)
            self._move(slot, 0, room)
        elif room > slot.room:
            self._move(slot, self._gap(self._others(slot), room, 0), room)

    def keep(self, slot: RegionSlot, path: Sequence[int]) -> None:
        """Of the pending tokens keep those of `path`, in order; drop the others."""
        first = slot.first + slot.length
        if list(path) != list(range(len(path))):
            for block in self._blocks.values():
                columns = torch.tensor([first + node for node in path], device=block.device)
                block[:, :, first : first + len(path)] = block.index_select(2, columns)
        slot.commit(path)

    def reserve(self, num_columns: int) -> None:
        """So many columns at least. Buffers that grow lie elsewhere: nothing captured before can be replayed. All grow,
        or, where memory ends, none."""
        if num_columns <= self.num_columns:
            return
        old, new = self.num_columns, power_of_two(num_columns)
        grown = {
            shape: block.new_zeros(*block.shape[:2], new + 1, block.shape[3]) for shape, block in self._blocks.items()
        }
        for shape, block in self._blocks.items():
            grown[shape][:, :, :old] = block[:, :, :old]
        self._blocks, self.num_columns = grown, new

    def _others(self, slot: RegionSlot) -> list[RegionSlot]:
        """Those that hold columns, by these."""
        return sorted((one for one in self._slots if one.room and one is not slot), key=lambda one: one.first)

    @staticmethod
    def _gap(others: Sequence[RegionSlot], room: int, least: int) -> int:
        """First of the first `room` free columns from `least` on."""
        first = least
        for other in others:
            if other.first >= first + room:
                break
            first = max(first, other.first + other.room)
        return first

    def _move(self, slot: RegionSlot, first: int, room: int) -> None:
        self.reserve(first + room)
        number = min(slot.length + slot.num_pending, slot.room)  # what was not written yet has no column
        if first != slot.first and number:
            for block in self._blocks.values():
                block[:, :, first : first + number] = block[:, :, slot.first : slot.first + number].clone()
        slot.first, slot.room = first, room


class RegionCache(Cache):
    """The buffers in one pass: new states go to `columns` [new], the columns of `span` are looked at."""

    def __init__(
        self,
        regions: Regions,
        columns: Tensor,
        span: tuple[int, int],
        kernels: Any = None,
        bounds: Tensor | None = None,
    ) -> None:
        """`kernels`: the module of that name, which writes; `bounds` [2]: the columns of `span` that any row sees."""
        self.regions, self.columns, self.span, self.kernels, self.bounds = regions, columns, span, kernels, bounds
        self.newest = -1
        """The layer that has written last, whose attention comes next."""
        layers = [PassLayer(partial(self._write, index), span[1] - span[0]) for index in range(regions.num_layers)]
        super().__init__(layers=list(layers))

    def _write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """States of a layer go to the columns of the pass."""
        self.newest = layer
        shown = []
        for states, new in zip(self.regions.states(layer), (keys, values), strict=True):
            if self.kernels is None:
                states.index_copy_(1, self.columns, new[0].nan_to_num(0.0, 0.0, 0.0))
            else:
                self.kernels.put(new[0], states, self.columns)
            shown.append(states[None, :, slice(*self.span)])
        return shown[0], shown[1]
