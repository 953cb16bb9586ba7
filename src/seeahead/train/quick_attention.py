"""Attention that does not slow down for single tokens, lent to transformers while it writes whole batches on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from seeahead.compat import attention_of, mask_functions, plain_llama, set_attention
from seeahead.executors.llama import attend

_NAME = "seeahead"


def is_plain(model: PreTrainedModel) -> bool:
    """A Llama inside, whose positions are those of its tokens."""
    return plain_llama(model.get_decoder()) == "llama"


@contextmanager
def quick_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a plain Llama on a CPU attends through `attend`; other models are left as they are."""
    language = model.get_decoder()
    if model.device.type != "cpu" or not is_plain(model) or attention_of(language.config) != "sdpa":
        yield
        return
    AttentionInterface.register(_NAME, _attention)
    masks, sdpa_mask = mask_functions()
    masks.register(_NAME, sdpa_mask)
    set_attention(language.config, _NAME)
    try:
        yield
    finally:
        set_attention(language.config, "sdpa")


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """As transformers calls it; a plain Llama scales and shares heads as `attend` does, and drops nothing here."""
    return attend(query, key, value, attention_mask).transpose(1, 2).contiguous(), None
