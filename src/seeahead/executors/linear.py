"""Linear layers for CPUs, where a pass over few tokens is bound by reading weights.

Packed: weights lie in memory as oneDNN reads them, since rows of a matrix are not the order in which a processor reads
fastest. The product is the same, in bfloat16 to the last bit; a token costs a quarter less, eight tokens a third.
Rounded: weights in half of their bits, so half of the bytes: 8 where they had 16, 16 where they had 32. What a rounded
model says is a little off, so it is for drafters, which may be wrong, and never for targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_FEW = 8
"""Tokens for whose number the layout is chosen, and up to which 8 bits are faster: reading is what these cost."""
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
_STRIDE = 16
_LARGEST, _LEAST = 127, 1e-30
"""Of 8 bits with a sign; and in the place of a scale of zero."""
_HALVES = ("linear_prepack_fp16", "linear_dynamic_fp16")
"""FBGEMM's products, which torch has on x86 processors alone."""


class PackedLinear(nn.Module):
    """y = x W^T + b, W packed once. Not for training, and not to be moved or saved."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight` [out, in], copied; `bias` [out]. Raises ValueError where `can_pack` says no."""
        super().__init__()
        if not can_pack(weight):
            raise ValueError(f"weights in {weight.dtype} on {weight.device} cannot be packed")
        self.out_features, self.in_features = weight.shape
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _FEW)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return result


class RoundedLinear(PackedLinear):
    """As PackedLinear, but few tokens read W rounded to 8 bits, a scale per row."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(weight, bias)
        exact = weight.detach().float()
        scale = (exact.abs().amax(1) / _LARGEST).clamp_min(_LEAST).to(weight.dtype)
        rounded = (exact / scale.float()[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        self.rounded: Tensor
        self.scale: Tensor
        self.register_buffer("rounded", rounded, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if len(rows) > _FEW:
            return super().forward(x)
        result: Tensor = torch._weight_int8pack_mm(rows, self.rounded, self.scale)
        if self.bias is not None:
            result += self.bias
        return result.view(*x.shape[:-1], self.out_features)


class HalfLinear(nn.Module):
    """y = x W^T + b in float32, W in float16: exact where W was bfloat16 once, but for the tiniest of its numbers."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight` [out, in] and `bias` [out], both copied."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.detach().contiguous(), bias)
        # Only their number is asked of these.
        self.weight = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(torch.empty_like(bias, device="meta"), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return result


def can_pack(weight: Tensor) -> bool:
    """On a CPU for whose type torch has such products: all that are called here, since none of them is public."""
    ops = torch.ops.mkldnn
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()
        and all(hasattr(ops, name) for name in _OPERATORS)
        and (weight.dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported()))
    )


def can_round(weight: Tensor) -> bool:
    """bfloat16: products of 8 bits with float32 are slower than those of float32 itself. torch reads `_STRIDE` numbers
    of a row at a time, and where they are no multiple of it, beyond the weight's end."""
    is_whole = weight.shape[1] % _STRIDE == 0
    return can_pack(weight) and weight.dtype == torch.bfloat16 and is_whole and hasattr(torch, "_weight_int8pack_mm")


def can_halve(weight: Tensor) -> bool:
    """float32 that float16 can hold, on a processor that FBGEMM has products for."""
    return (
        can_pack(weight)
        and weight.dtype == torch.float32
        and torch.backends.quantized.engine in ("x86", "fbgemm")
        and all(hasattr(torch.ops.quantized, name) for name in _HALVES)
        and bool(weight.detach().abs().max() <= torch.finfo(torch.float16).max)
    )


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """y = x W^T + b; `weight` [out, in] is not copied."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def packed_linear(weight: Tensor, bias: Tensor | None = None, *, may_round: bool = False) -> nn.Module:
    """y = x W^T + b, packed where this machine can, and rounded where that is faster and it may be."""
    if may_round and can_round(weight):
        return RoundedLinear(weight, bias)
    if may_round and can_halve(weight):
        return HalfLinear(weight, bias)
    return PackedLinear(weight, bias) if can_pack(weight) else linear(weight, bias)


def pack(module: nn.Module, *, may_round: bool = False) -> None:
    """Packs the linear layers directly below `module` where this machine can; a drafter's may be rounded."""
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and can_pack(child.weight):
            setattr(module, name, packed_linear(child.weight, child.bias, may_round=may_round))


def share(*parts: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one linear layer of all rows; the parts' own become views of it, so none is held twice, and
    who changes them changes it too. They stay what they were for who trains them."""
    biases = [part.bias for part in parts if part.bias is not None]
    with torch.inference_mode(False), torch.no_grad():
        return _shared([part.weight for part in parts]), _shared(biases) if biases else None


def _shared(weights: Sequence[Tensor]) -> Tensor:
    first, sizes = weights[0].data, [len(weight) for weight in weights]
    ends = [weight.data_ptr() + weight.numel() * weight.element_size() for weight in weights]
    storages = {weight.untyped_storage().data_ptr() for weight in weights}
    if len(storages) == 1 and ends[:-1] == [weight.data_ptr() for weight in weights[1:]]:  # joined before
        return first.as_strided((sum(sizes), *first.shape[1:]), first.stride())
    joint = torch.cat([weight.data for weight in weights])
    for weight, view in zip(weights, joint.split(sizes), strict=True):
        weight.data = view
    return joint
