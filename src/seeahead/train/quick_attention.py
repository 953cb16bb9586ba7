"""Attention that does not slow down for single tokens, lent to transformers while it writes whole batches on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.models.llama.modeling_llama import LlamaModel

from seeahead.models.decoder import attend

_NAME = "seeahead"


def is_plain(model: PreTrainedModel) -> bool:
    """A Llama inside, whose positions are those of its tokens."""
    return type(model.get_decoder()) is LlamaModel


@contextmanager
def quick_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a plain Llama on a CPU attends through `attend`; other models are left as they are."""
    language = model.get_decoder()
    if model.device.type != "cpu" or not is_plain(model) or language.config._attn_implementation != "sdpa":
        yield
        return
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    language.config._attn_implementation = _NAME
    try:
        yield
    finally:
        language.config._attn_implementation = "sdpa"


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """As transformers calls it; a plain Llama scales and shares heads as `attend` does, and drops nothing here."""
    return attend(query, key, value, attention_mask).transpose(1, 2).contiguous(), None
