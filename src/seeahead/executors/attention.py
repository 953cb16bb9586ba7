"""Attention of our own decoders: over what a slot holds, or over what a pass brings alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.executors.rows import Packed
from seeahead.executors.slots import TorchSlot

_FEW = 4
"""Query rows from which on attention runs at its full pace on a CPU."""


class Memory(Protocol):
    """What a pass remembers of earlier ones: gets the new queries, keys and values of a layer, attends over all."""

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[batch, heads, new, width], from `query` of that shape and [batch, kv heads, new, width]."""
        ...


class NoMemory:
    """What a pass brings alone, causal: for training."""

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, key, value, None)


class Prompts:
    """Prompts, or parts of them, side by side: each causal, after what its own slot holds."""

    def __init__(self, slots: Sequence[TorchSlot], lengths: Sequence[int]) -> None:
        self._caches, self._lengths = [slot.cache for slot in slots], list(lengths)
        self._masks: list[Tensor | None] = []
        for slot, length in zip(slots, lengths, strict=True):
            # torch counts causal rows from the first key on: a later part says itself what it sees.
            is_later = slot.length > 0 and length > 1
            seen = torch.ones(1, 1, length, slot.length + length, dtype=torch.bool) if is_later else None
            self._masks.append(None if seen is None else seen.tril(slot.length))

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if index == 0:  # the same for every layer
            self._masks = [None if mask is None else folded(mask, query, key) for mask in self._masks]
        parts = zip(*(_parted(states, self._lengths) for states in (query, key, value)), strict=True)
        gathered = [
            attend(own_query, *cache.update(own_key, own_value, index), mask)
            for cache, mask, (own_query, own_key, own_value) in zip(self._caches, self._masks, parts, strict=True)
        ]
        return _joined(gathered)


class Trees:
    """Each slot's queries attend over its own keys and values, wherever these lie: nothing is padded or copied."""

    def __init__(self, trees: Packed) -> None:
        self._counts = [end - first for _, first, end in trees.parts]
        self._layers = [slot.cache.extend(count) for slot, count in zip(trees.slots, self._counts, strict=True)]
        self._masks: list[Tensor | None] = []
        for slot, first, end in trees.parts:
            visible = None if slot.is_chain(end - first) else trees.visible
            length = slot.length + slot.num_pending
            self._masks.append(None if visible is None else visible[:, None, first:end, :length])

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if index == 0:  # the same for every layer
            self._masks = [None if mask is None else folded(mask, query, key) for mask in self._masks]
        parts = zip(*(_parted(states, self._counts) for states in (query, key, value)), strict=True)
        gathered = []
        for layers, mask, (own_query, own_key, own_value) in zip(self._layers, self._masks, parts, strict=True):
            views = layers[index]
            views.new_keys.copy_(own_key)
            views.new_values.copy_(own_value)
            gathered.append(attend(own_query, views.keys, views.values, mask))
        return _joined(gathered)


def _parted(states: Tensor, lengths: list[int]) -> Sequence[Tensor]:
    """Of each slot [batch, heads, its tokens, width]."""
    return [states] if len(lengths) == 1 else states.split(lengths, 2)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def folded(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """A mask [batch or 1, 1, new, all], true where seen, as `attend` takes it for such queries and keys."""
    if query.device.type != "cpu":
        return mask.to(query.device)
    added = mask.to(query.dtype).log_()  # 1 to 0, 0 to minus infinity
    num_shared = query.shape[1] // key.shape[1]
    return added if num_shared == 1 else added.repeat(1, 1, num_shared, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of `query` [batch, heads, new, width] over [batch, kv heads, all, width]; without a mask causal.

    `mask` is a `folded` one. On a CPU torch is several times slower for one query row than for
    a few, and slower for grouped heads than for as many rows: heads that share keys become rows, a lone row is repeated
    (it comes out the same).
    """
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    num_shared = heads // kv_heads
    if query.device.type != "cpu" or (mask is None and length > 1):
        is_causal = mask is None and length > 1
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=is_causal, enable_gqa=num_shared > 1)
    if num_shared == length == 1:
        return F.scaled_dot_product_attention(query.expand(-1, -1, _FEW, -1), key, value, mask)[:, :, :1]
    rows = query.reshape(batch, kv_heads, num_shared * length, width)
    return F.scaled_dot_product_attention(rows, key, value, mask).view(batch, heads, length, width)
