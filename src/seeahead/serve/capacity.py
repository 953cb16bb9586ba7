"""How many tokens the slots of a server hold where nobody says it: what a GPU has memory for."""

from __future__ import annotations

import logging

import torch

from seeahead.errors import ModelError
from seeahead.executors.language import state_shapes
from seeahead.families.base import Family
from seeahead.serve.settings import LEAST_CACHE

MOST_CACHE = 65_536
"""Tokens; as many on a CPU."""
_SHARES = 2
"""Keys and values have one of so many equal shares of the free memory. Buffers that grow lie there twice for a moment,
and drafters, images and passes need memory as well."""

logger = logging.getLogger(__name__)


def tokens_that_fit(family: Family) -> int:
    """MOST_CACHE, or the power of two below it that fits on a GPU: buffers of captured passes grow by doubling.

    Raises ModelError where it would be less than LEAST_CACHE."""
    if family.device.type != "cuda" or (size := _bytes_per_token(family)) is None:
        return MOST_CACHE
    free, _ = torch.cuda.mem_get_info(family.device)
    fitting = free // (_SHARES * size)
    if fitting < LEAST_CACHE:
        raise ModelError(
            f"{family.device} has {free / 1e9:.1f} GB of free memory, half of which holds {fitting} tokens of prompts "
            f"and answers; {LEAST_CACHE} are needed at least: free more of it, take a smaller model or dtype, or set "
            "--cache-tokens"
        )
    number = min(MOST_CACHE, 1 << (fitting.bit_length() - 1))
    if number < min(MOST_CACHE, family.max_length or MOST_CACHE):
        logger.warning(
            "half of the free memory of %s (%.1f GB) holds %d tokens of prompts and answers, fewer than the model's "
            "context: longer requests are refused; set --cache-tokens, or take a smaller dtype",
            family.device,
            free / 1e9,
            number,
        )
    return number


def _bytes_per_token(family: Family) -> int | None:
    """Of keys and values; None where the language model does not take an embedding alone."""
    try:
        with torch.inference_mode(), family.alone():
            shapes = state_shapes(family.model)
    except Exception:  # noqa: BLE001 - whatever a model's own code makes of that
        return None
    return sum(shape.heads * shape.width for shape in shapes) * family.dtype.itemsize
