"""Several slots in one pass of a transformers model: one row of tokens, whose attention is called slot by slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from seeahead.compat import Cache, attention_of
from seeahead.executors.attending import PassLayer, attention_by, attention_function
from seeahead.executors.rows import Packed


class PackedCache(Cache):
    """The caches of a row's slots, as one for a pass."""

    def __init__(self, row: Packed) -> None:
        self.row = row
        self.places: torch.Tensor | None = None
        self.original = ""
        self._newest: tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]] | None = None
        self._num_appended = self._num_attended = 0
        num_layers = len(row.slots[0].cache.layers)
        super().__init__(layers=[PassLayer(partial(self._append, index)) for index in range(num_layers)])

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        return 0 if self.places is None else self.places

    def _append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the tokens of each slot to that slot; what attends over them is `_attend`."""
        parts = [slot.cache.update(key[:, :, a:b], value[:, :, a:b], index) for slot, a, b in self.row.parts]
        self._newest = key, parts
        self._num_appended += 1
        return key, value

    def taken(self, key: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each slot, for an attention that was given `key`."""
        if self._newest is None or self._newest[0] is not key:
            raise NotImplementedError("this attention does not read what was appended last")
        self._num_attended += 1
        return self._newest[1]

    def was_attended(self) -> bool:
        return self._num_appended == self._num_attended == len(self.layers)


@contextmanager
def per_slot_attention(config: Any, cache: PackedCache) -> Iterator[None]:
    """Inside, the model's attention is called slot by slot."""
    cache.original = attention_of(config) or "eager"
    with attention_by(config, partial(_attend, cache)):
        yield


def _attend(
    cache: PackedCache,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: [1, heads, tokens, width] of all slots; returns [1, tokens, heads, width]."""
    if attention_mask is None:
        raise NotImplementedError("packed slots are attended to within a packed pass, with its mask")
    attend = attention_function(module, cache.original)
    gathered = []
    for (keys, values), (_, first, end) in zip(cache.taken(key), cache.row.parts, strict=True):
        mask = attention_mask[:, :, first:end, : keys.shape[2]]
        gathered.append(attend(module, query[:, :, first:end], keys, values, mask, **settings)[0])
    return torch.cat(gathered, 1), None
