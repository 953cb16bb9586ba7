"""Slots of executors that run in torch: keys and values written in place, rolled back by one gather, and pending trees.

A transformers cache on the outside, so that its models write into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from seeahead.compat import Cache, CacheLayerMixin
from seeahead.executor import Slot
from seeahead.tree import ROOT


class _Block:
    """Equal-shaped buffers of several layers in a tensor [places, batch, heads, capacity, width], gathered at once."""

    def __init__(self, like: torch.Tensor, num_places: int, capacity: int) -> None:
        batch, heads, _, width = like.shape
        self.data = like.new_empty(num_places, batch, heads, capacity, width)
        self.num_used = 0

    def fits(self, states: torch.Tensor) -> bool:
        _, batch, heads, _, width = self.data.shape
        # Layers of one shape may lie on several devices.
        is_like = (states.device, states.dtype) == (self.data.device, self.data.dtype)
        shape = (*states.shape[:2], states.shape[3])
        return is_like and self.num_used < len(self.data) and (batch, heads, width) == shape

    def take(self) -> int:
        self.num_used += 1
        return self.num_used - 1

    def grow(self, capacity: int) -> None:
        old = self.data
        self.data = old.new_empty(*old.shape[:3], capacity, old.shape[4])
        self.data[:, :, :, : old.shape[3]] = old

    def gather(self, start: int, rows: torch.Tensor) -> None:
        self.data[:, :, :, start : start + len(rows)] = self.data.index_select(3, rows + start)


class LayerViews(NamedTuple):
    """One layer's keys and values as views [batch, heads, tokens, width]: of newest tokens, to be written, and all."""

    new_keys: torch.Tensor
    new_values: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


class _Layer(CacheLayerMixin):
    is_sliding = False
    is_compileable = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache
        self.parts: tuple[tuple[_Block, int], tuple[_Block, int]] | None = None
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.parts = self._cache.place_for(key_states), self._cache.place_for(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [batch, heads, tokens, width] after the cached ones; return all of them as views."""
        if self.parts is None:
            self.lazy_initialization(key_states, value_states)
        assert self.parts is not None
        start, self.length = self.length, self.length + key_states.shape[2]
        self._cache.reserve(self.length)
        for (block, place), states in zip(self.parts, (key_states, value_states), strict=True):
            block.data[place][:, :, start : self.length] = states
        return self.views()

    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The cached states, as views."""
        assert self.parts is not None
        keys, values = (block.data[place][:, :, : self.length] for block, place in self.parts)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """A transformers cache with absolute rollback. Sliding layers keep everything too: the mask hides what is old."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        """`capacity`: tokens to make room for at once; more is allocated when they run out."""
        self._capacity = capacity
        self._blocks: list[_Block] = []
        self._num_places = 2 * num_layers
        self._own_layers = [_Layer(self) for _ in range(num_layers)]
        self.places: torch.Tensor | None = None
        super().__init__(layers=list(self._own_layers))

    @property
    def length(self) -> int:
        """Number of tokens in the cache."""
        return self._own_layers[0].length

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """The length; or `places`, where a model reads tokens' places off the cache (`Family.reads_places`)."""
        return self._own_layers[layer_idx].length if self.places is None else self.places

    def place_for(self, states: torch.Tensor) -> tuple[_Block, int]:
        for block in self._blocks:
            if block.fits(states):
                return block, block.take()
        self._blocks.append(_Block(states, self._num_places, self._capacity))
        # Layers of another shape than the first are rare: they get blocks of their own.
        self._num_places = 1
        return self._blocks[-1], self._blocks[-1].take()

    def reserve(self, length: int) -> None:
        if length > self._capacity:
            self._capacity = max(length, 3 * self._capacity // 2)
            for block in self._blocks:
                block.grow(self._capacity)

    def extend(self, count: int) -> list[LayerViews]:
        """Room for `count` more tokens in every layer of a cache that holds some: a few calls for all layers."""
        start, end = self.length, self.length + count
        self.reserve(end)
        views = {
            block: (block.data[:, :, :, start:end].unbind(), block.data[:, :, :, :end].unbind())
            for block in self._blocks
        }
        found = []
        for layer in self._own_layers:
            layer.length = end
            assert layer.parts is not None, "a prompt comes first"
            (keys, key), (values, value) = layer.parts
            (new_keys, all_keys), (new_values, all_values) = views[keys], views[values]
            found.append(LayerViews(new_keys[key], new_values[value], all_keys[key], all_values[value]))
        return found

    def keep(self, start: int, rows: Sequence[int]) -> None:
        """Keep the first `start` tokens, then those at `start + row` for each row (ascending); drop the others."""
        if list(rows) != list(range(len(rows))):
            for block in self._blocks:
                block.gather(start, torch.tensor(rows, device=block.data.device))
        for layer in self._own_layers:
            layer.length = start + len(rows)


class TreeSlot:
    """One sequence: the trees that hang off its last committed token.

    M-RoPE models number an image by its grid, so text after it does not sit at its index: position = index + `shift`.
    """

    def __init__(self) -> None:
        self.length = 0
        self.shift = 0
        self._depths: list[int] = []
        self._ancestors: list[list[int]] = []

    @property
    def num_pending(self) -> int:
        return len(self._depths)

    def add(self, parents: Sequence[int]) -> None:
        """Record new pending nodes."""
        for parent in parents:
            node = len(self._depths)
            assert ROOT <= parent < node, "parents come before children"
            self._depths.append(0 if parent == ROOT else self._depths[parent] + 1)
            self._ancestors.append([node] if parent == ROOT else [*self._ancestors[parent], node])

    def positions(self, number: int) -> list[int]:
        """Of the newest `number` pending nodes."""
        return [self.length + self.shift + depth for depth in self._depths[-number:]]

    def is_chain(self, number: int) -> bool:
        """Whether the newest `number` nodes are one that sees all others: no mask is needed then."""
        return number == 1 and len(self._ancestors[-1]) == len(self._depths)

    def ancestors(self, number: int) -> list[list[int]]:
        """Of each of the newest `number` pending nodes, itself last."""
        return self._ancestors[-number:]

    def visible(self, number: int) -> torch.Tensor:
        """[number, pending] bool: which pending nodes each of the newest `number` sees."""
        visible = np.zeros((number, len(self._depths)), np.bool_)
        for row, seen in zip(visible, self._ancestors[-number:], strict=True):
            row[seen] = True
        return torch.from_numpy(visible)

    def commit(self, path: Sequence[int]) -> None:
        """Keep the pending nodes of `path`, drop the others."""
        self.length += len(path)
        self._depths.clear()
        self._ancestors.clear()

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens."""
        self.length = length


class TorchSlot(TreeSlot):
    """A slot whose keys and values lie in a cache of transformers' kind."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        super().__init__()
        self.cache = SlotCache(num_layers, capacity)

    def forget(self, number: int) -> None:
        """Drop the newest `number` pending nodes and whatever a pass may have left of them."""
        kept = self.num_pending - number
        del self._depths[kept:], self._ancestors[kept:]
        self.cache.keep(self.length, range(kept))

    def commit(self, path: Sequence[int]) -> None:
        with torch.inference_mode():
            self.cache.keep(self.length, path)
        super().commit(path)

    def cut(self, length: int) -> None:
        self.cache.keep(length, ())
        super().cut(length)


class OnTorchSlots:
    """What executors do with such slots between passes."""

    def close(self, slot: Slot) -> None:
        """Memory goes with the last reference to the slot."""

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        assert isinstance(slot, TorchSlot)
        slot.commit(path)

    def cut(self, slot: Slot, length: int) -> None:
        assert isinstance(slot, TorchSlot)
        slot.cut(length)
