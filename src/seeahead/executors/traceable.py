"""A decoder and its head as one function of tensors, written so that it can be traced: see `conversion`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead.compat import Cache, CacheLayerMixin, attention_of
from seeahead.executors.attending import attention_by, attention_function
from seeahead.executors.language import Language


class _Layer(CacheLayerMixin):
    """One layer's keys and values as tensors that grow, which is what tracing can follow."""

    is_sliding = False
    is_compileable = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, spread: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._spread = keys, values, spread
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = torch.cat([self.keys, _in_rows(key_states, self._spread)], 2)
        self.values = torch.cat([self.values, _in_rows(value_states, self._spread)], 2)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keys.shape[2] + query_length, 0

    def get_seq_length(self) -> int:
        return int(self.keys.shape[2])

    def get_max_length(self) -> int:
        return -1


def _in_rows(states: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Of `states` [1, heads, tokens, width] those that `spread` [rows, new] names: [rows, heads, new, width]."""
    heads, width = int(states.shape[1]), int(states.shape[3])  # the same in every pass
    named = states.index_select(2, spread.reshape(-1))
    return named.reshape(heads, spread.shape[0], -1, width).transpose(0, 1)


class Traceable(Language):
    """A language model as a function of tensors that keeps nothing between calls: of several slots at once."""

    def __init__(self, model: PreTrainedModel, kinds: Sequence[str], num_additions: int) -> None:
        super().__init__(model, kinds)
        self._num_additions = num_additions
        # Models that cap scores are eager, and no other attention does that.
        self._attention = "eager" if attention_of(self._config) == "eager" else "sdpa"

    def attend(
        self, layer: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **settings: Any
    ) -> tuple[torch.Tensor, None]:
        """As transformers' attention: `query` [1, heads, tokens, width] over rows: [1, tokens, heads, width]."""
        run = attention_function(layer, self._attention)
        found, _ = run(layer, _in_rows(query, self._spread), key, value, mask, **settings)
        heads, width = int(found.shape[2]), int(found.shape[3])
        return found.reshape(-1, heads * width).index_select(0, self._gathered).reshape(1, -1, heads, width), None

    def forward(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        rows: torch.Tensor,
        order: torch.Tensor,
        spread: torch.Tensor,
        gathered: torch.Tensor,
        masks: list[torch.Tensor],
        others: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """Logits of `rows`, the last hidden states, those before each layer but the first, then all keys and values.

        `order` [slots]: rows of the state that go on. `spread` [slots, new], `gathered` [tokens], `masks` [slots, 1,
        new, all]: see `columns.Table`. `others`: what is added after the first layers [1, tokens, width], then keys and
        values of what was read before, layer by layer.
        """
        self._spread, self._gathered = spread, gathered
        additions, past = others[: self._num_additions], others[self._num_additions :]
        kept = [states.index_select(0, order) for states in past]
        layers = [_Layer(*pair, spread) for pair in zip(kept[::2], kept[1::2], strict=True)]
        with attention_by(self._config, self.attend):
            last, before = self.states(embeddings, positions, masks, additions, Cache(layers=list(layers)))
        states = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
        return self.logits(last.index_select(1, rows)), last, *before[1:], *states
