"""Keys and values of a session: allocated once, written in place, rolled back by one gather.

A transformers cache on the outside, so that its models write into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from seeahead.compat import Cache, CacheLayerMixin, DynamicCache
from seeahead.errors import ModelError

_RECURRENT_LAYERS = ("linear", "mamba", "recurrent", "ssm", "conv", "hybrid")


class _Block:
    """Equal-shaped buffers of several layers in one tensor [slots, batch, heads, capacity, width], gathered at once."""

    def __init__(self, like: torch.Tensor, num_slots: int, capacity: int) -> None:
        batch, heads, _, width = like.shape
        self.data = like.new_empty(num_slots, batch, heads, capacity, width)
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


class _Layer(CacheLayerMixin):
    is_sliding = False
    is_compileable = False

    def __init__(self, cache: SessionCache) -> None:
        super().__init__()
        self._cache = cache
        self._slots: tuple[tuple[_Block, int], tuple[_Block, int]] | None = None
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self._slots = self._cache.slot_for(key_states), self._cache.slot_for(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [batch, heads, tokens, width] after the cached ones; return all of them as views."""
        if self._slots is None:
            self.lazy_initialization(key_states, value_states)
        assert self._slots is not None
        start, self.length = self.length, self.length + key_states.shape[2]
        self._cache.reserve(self.length)
        views = []
        for (block, slot), states in zip(self._slots, (key_states, value_states), strict=True):
            buffer = block.data[slot]
            buffer[:, :, start : self.length] = states
            views.append(buffer[:, :, : self.length])
        return views[0], views[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1


class SessionCache(Cache):
    """A transformers cache with absolute rollback. Sliding layers keep everything too: the mask hides what is old."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        """`capacity`: tokens to make room for at once; more is allocated when they run out."""
        self._capacity = capacity
        self._blocks: list[_Block] = []
        self._num_slots = 2 * num_layers
        self._own_layers = [_Layer(self) for _ in range(num_layers)]
        super().__init__(layers=list(self._own_layers))

    @property
    def length(self) -> int:
        """Number of tokens in the cache."""
        return self.get_seq_length()

    def slot_for(self, states: torch.Tensor) -> tuple[_Block, int]:
        for block in self._blocks:
            if block.fits(states):
                return block, block.take()
        self._blocks.append(_Block(states, self._num_slots, self._capacity))
        # Layers of another shape than the first are rare: they get blocks of their own.
        self._num_slots = 1
        return self._blocks[-1], self._blocks[-1].take()

    def reserve(self, length: int) -> None:
        if length > self._capacity:
            self._capacity = max(length, 2 * self._capacity)
            for block in self._blocks:
                block.grow(self._capacity)

    def keep(self, start: int, rows: Sequence[int]) -> None:
        """Keep the first `start` tokens, then those at `start + row` for each row (ascending); drop the others."""
        if list(rows) != list(range(len(rows))):
            for block in self._blocks:
                block.gather(start, torch.tensor(rows, device=block.data.device))
        for layer in self._own_layers:
            layer.length = start + len(rows)


def batch_cache() -> DynamicCache:
    """transformers' own cache, for batches whose rows may leave (`batch_select_indices`)."""
    return DynamicCache()


def check_can_roll_back(config: Any) -> None:
    """Refuse models with layers whose state cannot be cut back to an earlier token.

    Raises ModelError naming the layer types: a drafted token that is refused must leave no trace.
    """
    types = {str(name) for name in getattr(config, "layer_types", None) or ()}
    recurrent = sorted(name for name in types if any(word in name for word in _RECURRENT_LAYERS))
    if recurrent or getattr(config, "is_encoder_decoder", False):
        kind = ", ".join(recurrent) or "encoder-decoder"
        raise ModelError(
            f"model type '{config.model_type}' has {kind} layers, whose cache cannot roll back refused tokens; "
            "use a decoder whose layers are all attention"
        )
