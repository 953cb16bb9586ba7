"""The norm of Llama-type decoders."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square norm over the last side, rounded where transformers' Llama rounds.

    On a CPU torch's own is put together from twice as many calls."""
    if x.device.type != "cpu":
        return F.rms_norm(x, weight.shape, weight, eps)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = torch.rsqrt(torch.addcmul(_constant(eps), norm, norm, value=1 / len(weight)))
    return weight * (x * scale).to(x.dtype)


@cache
def _constant(value: float) -> Tensor:
    """As a tensor on the CPU: one call adds it to a product, where it would take three of torch's."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=torch.float32, device="cpu")
