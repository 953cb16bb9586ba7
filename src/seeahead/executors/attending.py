"""A function of ours in the place of a transformers model's attention, for one pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from seeahead.compat import CacheLayerMixin, attention_of, mask_functions, set_attention

Attention = Callable[..., tuple[torch.Tensor, None]]
"""Of (module, query, key, value [1, heads, tokens, width], mask, **settings): ([1, tokens, heads, width], None)."""

Shown = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""New keys and values [1, heads, new, width] -> those that a pass looks at."""

_NAME = "seeahead"
_given: ContextVar[Attention | None] = ContextVar("seeahead_attention", default=None)


class PassLayer(CacheLayerMixin):
    """A layer of a cache that itself remembers nothing: it hands a pass what `shown` makes of its states, else these.
    A mask has `num_columns`, else one for each token of the pass."""

    is_sliding = False
    is_compileable = False

    def __init__(self, shown: Shown | None = None, num_columns: int | None = None) -> None:
        super().__init__()
        self._shown, self._num_columns = shown, num_columns
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return (key_states, value_states) if self._shown is None else self._shown(key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length if self._num_columns is None else self._num_columns, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


@contextmanager
def attention_by(config: Any, attention: Attention) -> Iterator[None]:
    """Inside, the model whose config this is attends by `attention`."""
    original = attention_of(config)
    AttentionInterface.register(_NAME, _attend)
    masks, sdpa_mask = mask_functions()
    masks.register(_NAME, sdpa_mask)
    token = _given.set(attention)
    set_attention(config, _NAME)
    try:
        yield
    finally:
        set_attention(config, original)
        _given.reset(token)


def _attend(module: nn.Module, *states: Any, **settings: Any) -> tuple[torch.Tensor, None]:
    attention = _given.get()
    if attention is None:
        raise NotImplementedError("this attention is there within a pass")
    return attention(module, *states, **settings)


def attention_function(module: nn.Module, name: str) -> Callable[..., Any]:
    """Transformers' own attention of this name, for a layer of a model."""
    if name == "eager":  # every modelling file has its own
        eager: Callable[..., Any] = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
        return eager
    known: Callable[..., Any] = AttentionInterface()[name]
    return known
