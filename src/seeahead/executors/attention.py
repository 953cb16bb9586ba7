"""Attention of our own decoders: over what a slot holds, or over what a pass brings alone."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.executors.slots import Packed, SlotCache, TorchSlot

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


class FirstPass:
    """A prompt: causal, into an empty slot."""

    def __init__(self, slot: TorchSlot) -> None:
        self._cache = slot.cache

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, *self._cache.update(key, value, index), None)


class OneSlot:
    """One slot's tree, with its mask."""

    def __init__(self, trees: Packed) -> None:
        self._cache = trees.slots[0].cache
        self._mask = None if trees.visible is None else trees.visible[:, None]

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, *self._cache.update(key, value, index), self._mask)


class SeveralSlots:
    """Each slot's queries attend over its own keys and values, wherever these lie: nothing is padded or copied."""

    def __init__(self, trees: Packed) -> None:
        assert trees.visible is not None
        self._parts: list[tuple[SlotCache, slice, Tensor | None]] = []
        for slot, first, end in trees.parts:
            mask = trees.visible[:, None, first:end, : slot.length + slot.num_pending]
            self._parts.append((slot.cache, slice(first, end), None if slot.is_chain(end - first) else mask))

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        gathered = []
        for cache, rows, mask in self._parts:
            keys, values = cache.update(key[:, :, rows], value[:, :, rows], index)
            gathered.append(attend(query[:, :, rows], keys, values, mask))
        return torch.cat(gathered, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of `query` [batch, heads, new, width] over [batch, kv heads, all, width]; without a mask causal.

    `mask` [batch or 1, 1, new, all], true where seen. On a CPU torch is several times slower for one query row than for
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
    if mask is not None:
        mask = mask.expand(-1, num_shared, -1, -1).reshape(mask.shape[0], 1, num_shared * length, -1)
    return F.scaled_dot_product_attention(rows, key, value, mask).view(batch, heads, length, width)
