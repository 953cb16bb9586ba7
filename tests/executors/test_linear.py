"""Packed layers compute what plain ones compute, to the bit, and only where the machine can."""

import pytest
import torch
from torch import nn

from seeahead.executors.fuse import fused_decoder
from seeahead.executors.linear import (
    HalfLinear,
    PackedLinear,
    RoundedLinear,
    can_halve,
    can_pack,
    can_round,
    pack,
    packed_linear,
)
from seeahead.testing import tiny_model

WEIGHT = torch.linspace(-1, 1, 96 * 64).reshape(96, 64)

needs_halves = pytest.mark.skipif(not can_halve(WEIGHT), reason="no products with float16 weights of FBGEMM here")
needs_bfloat16 = pytest.mark.skipif(not can_pack(WEIGHT.bfloat16()), reason="no bfloat16 products of oneDNN here")


@needs_bfloat16
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 2, 7, 33])
def test_the_product_is_the_same(num_tokens, bias):
    plain = nn.Linear(64, 96, bias=bias, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(num_tokens)
    x = torch.randn(2, num_tokens, 64, generator=generator).bfloat16()
    layer = PackedLinear(plain.weight, plain.bias)
    with torch.no_grad():
        assert torch.equal(layer(x), plain(x))
        assert torch.equal(layer(x[:, -1:]), plain(x)[:, -1:])
    assert (layer.in_features, layer.out_features) == (64, 96)
    assert sum(weight.numel() for weight in layer.parameters()) == 64 * 96 + 96 * bias


@needs_bfloat16
@pytest.mark.parametrize("bias", [False, True])
def test_few_tokens_read_rounded_weights_and_many_the_exact_ones(bias):
    plain = nn.Linear(64, 96, bias=bias, dtype=torch.bfloat16)
    x = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    layer = RoundedLinear(plain.weight, plain.bias)
    with torch.no_grad():
        few, exact = layer(x[:, :8]), plain(x)
        assert torch.equal(layer(x), exact)
    assert few.shape == (1, 8, 96)
    assert not torch.equal(few, exact[:, :8])
    assert (few - exact[:, :8]).norm() < 0.02 * exact[:, :8].norm()
    assert sum(weight.numel() for weight in layer.parameters()) == 64 * 96 + 96 * bias


@pytest.mark.parametrize("width", [4, 12, 24, 40, 328])
def test_rows_that_torch_would_read_beyond_are_not_rounded(width):
    """Its product with 8 bits reads 16 numbers at a time: others have been wrong, or ended the process."""
    weight = torch.randn(33, width, generator=torch.Generator().manual_seed(width)).bfloat16()
    assert not can_round(weight)
    layer = packed_linear(weight, may_round=True)
    x = torch.ones(1, 3, width).bfloat16()
    torch.testing.assert_close(layer(x), nn.functional.linear(x, weight))


@needs_bfloat16
def test_a_row_of_zeros_stays_one():
    weight = torch.zeros(8, 64).bfloat16()
    weight[1] = 1
    assert packed_linear(weight, may_round=True)(torch.ones(1, 64).bfloat16()).tolist() == [[0, 64, *[0] * 6]]


def test_other_types_are_left_alone():
    assert not can_pack(WEIGHT.double())
    with pytest.raises(ValueError, match=r"float64 on cpu cannot be packed"):
        PackedLinear(WEIGHT.double())
    holder = nn.Sequential(nn.Linear(8, 8, bias=False, dtype=torch.float64))
    pack(holder)
    assert type(holder[0]) is nn.Linear


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 33])
def test_in_float32_packed_weights_differ_by_rounding_alone_and_never_are_8_bits(num_tokens):
    plain = nn.Linear(64, 96)
    holder = nn.Sequential(plain)
    pack(holder)
    assert type(holder[0]) is PackedLinear
    x = torch.randn(2, num_tokens, 64, generator=torch.Generator().manual_seed(num_tokens))
    with torch.no_grad():
        torch.testing.assert_close(holder(x), plain(x))
    assert not can_round(WEIGHT)


@needs_halves
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 2, 7, 33])
def test_a_drafters_float32_weights_lie_in_16_bits(num_tokens, bias):
    plain = nn.Linear(63, 97, bias=bias)
    holder = nn.Sequential(plain)
    pack(holder, may_round=True)
    assert type(holder[0]) is HalfLinear
    x = torch.randn(2, num_tokens, 63, generator=torch.Generator().manual_seed(num_tokens))
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(holder(x), expected, atol=2e-3, rtol=1e-3)
        assert not torch.equal(holder(x), expected)
        plain.weight.copy_(plain.weight.bfloat16())
        torch.testing.assert_close(HalfLinear(plain.weight, plain.bias)(x), plain(x), atol=1e-5, rtol=1e-5)
    assert sum(weight.numel() for weight in holder.parameters()) == 63 * 97 + 97 * bias


@needs_halves
def test_weights_that_16_bits_cannot_hold_stay_in_32():
    weight = WEIGHT.clone()
    weight[3, 5] = 1e5
    assert type(packed_linear(weight, may_round=True)) is PackedLinear
    assert type(packed_linear(WEIGHT, may_round=True)) is HalfLinear


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
def test_a_fused_decoder_on_a_cpu_is_packed_and_the_model_left_alone(dtype):
    model = tiny_model("llava")
    for (
        weight
    ) in model.parameters():  # `to` would round the rotary frequencies too, which are then not those of the config
        weight.data = weight.data.to(dtype)
    before = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    fused = fused_decoder(model)
    assert fused is not None
    decoder = fused.decoder
    layers = [*decoder.layers[0].children(), decoder.head]
    assert all(isinstance(layer, PackedLinear) for layer in layers)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == before
