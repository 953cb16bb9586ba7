"""Kernels say what torch says; a model's parts become kernels for the captured passes alone, and answers stay.

Kernels themselves run where Triton is installed, in its interpreter on a CPU (TRITON_INTERPRET=1). Elsewhere the same
functions in torch take their place, which is how the parts are tested everywhere.
"""

import contextlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seeahead.errors import ModelError
from seeahead.executor import ModelInputs
from seeahead.executors import graphs
from seeahead.executors.capture import on_device
from seeahead.executors.graphs import GraphsExecutor, kernels_executor
from seeahead.executors.language import Language
from seeahead.executors.linear import share
from seeahead.families import family_for
from seeahead.testing import answer, assert_same_answer, tiny_model
from tests.executors.agreement import assert_family_agrees

MODULES = ("seeahead.executors.kernels", "seeahead.executors.kernel_parts")
FAMILIES = ("llava", "qwen2_5_vl", "gemma3", "qwen3")
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET")),
    reason="needs Triton, and a GPU or its interpreter",
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def in_torch():
    """The functions of `seeahead.executors.kernels`, in torch."""
    module = ModuleType(MODULES[0])
    module.MOST_ROWS = 64

    def rms_norm(x, weight, eps, offset=0.0):
        return F.rms_norm(x.float(), weight.shape, weight.float() + offset, eps).to(x.dtype)

    def attention(query, keys, values, mask, bounds, scale):
        first, end = bounds.tolist()
        shared = len(query) // len(keys)
        seen = [states[:, first:end].repeat_interleave(shared, 0) for states in (keys, values)]
        return F.scaled_dot_product_attention(query, *seen, mask[:, first:end], scale=scale).transpose(0, 1)

    def rotated(query, key, cosines, sines):
        half = query.shape[-1] // 2
        turned = [torch.cat([-one[..., half:], one[..., :half]], -1) for one in (query, key)]
        return tuple(one * cosines + other * sines for one, other in zip((query, key), turned, strict=True))

    def put(new, buffer, columns):
        buffer.index_copy_(1, columns, new.nan_to_num())

    module.product, module.rms_norm, module.attention = F.linear, rms_norm, attention
    module.rotated, module.put = rotated, put
    module.is_near = lambda found, expected: bool((found - expected).norm() <= 0.02 * expected.norm())
    module.runs_on = lambda tensor: True
    return module


@pytest.fixture
def parts(monkeypatch):
    """`kernel_parts` on kernels in torch."""
    monkeypatch.setitem(sys.modules, MODULES[0], in_torch())
    monkeypatch.delitem(sys.modules, MODULES[1], raising=False)
    import seeahead.executors as package

    monkeypatch.setattr(package, "kernels", sys.modules[MODULES[0]], raising=False)
    from seeahead.executors import kernel_parts

    yield kernel_parts
    sys.modules.pop(MODULES[1], None)
    vars(package).pop("kernel_parts", None)


def with_parts(model, parts):
    family = family_for(model)
    family.executor = GraphsExecutor(family, make_parts=parts.KernelParts)
    return family


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_family_in_kernels_says_what_transformers_says(model_type, parts):
    assert_family_agrees(with_parts(tiny_model(model_type), parts), model_type)


@pytest.mark.parametrize(
    ("device", "entered"), [("cpu", []), ("cuda", []), ("cuda:0", []), ("cuda:1", [torch.device("cuda:1")])]
)
def test_another_device_is_made_the_current_one(device, entered, monkeypatch):
    found = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda one: found.append(one) or contextlib.nullcontext())
    with on_device(torch.device(device)):
        assert found == entered


def test_kernels_run_where_the_model_lies(parts, monkeypatch):
    """Triton launches on the current device, whichever device its tensors lie on."""
    module, inside, ran = sys.modules[MODULES[0]], [], set()
    module.work_on = lambda device, dtype: True
    names = ("product", "rms_norm", "attention", "rotated", "put", "work_on")

    @contextlib.contextmanager
    def entered(device):
        inside.append(device)
        yield
        inside.pop()

    def watched(name, function):
        def run(*args, **kwargs):
            assert inside, f"{name} runs on whatever device is current"
            ran.add(name)
            return function(*args, **kwargs)

        return run

    for name in names:
        setattr(module, name, watched(name, getattr(module, name)))
    monkeypatch.setattr(graphs, "on_device", entered)
    monkeypatch.setattr(graphs, "find_spec", lambda name: True)
    family = family_for(tiny_model("llava"))
    family.executor = kernels_executor(family)
    answer(family, ModelInputs(torch.tensor([[5, 6, 7, 8, 9]])), max_new_tokens=4)
    assert ran == set(names)


def test_parts_are_kernels_within_a_pass_alone(parts):
    model = tiny_model("llava")
    language = Language(model, ("full_attention",))
    made, layer = parts.KernelParts(language), model.get_decoder().layers[0]
    rotation = sys.modules[type(layer.self_attn).__module__].apply_rotary_pos_emb
    x = torch.randn(1, 3, model.config.text_config.hidden_size)
    expected = [layer.mlp(x), layer.self_attn.k_proj(x), layer.input_layernorm(x)]
    with made.in_use():
        assert "forward" in vars(layer.mlp.up_proj)
        assert sys.modules[type(layer.self_attn).__module__].apply_rotary_pos_emb is not rotation
        found = [layer.mlp(x), layer.self_attn.k_proj(x), layer.input_layernorm(x)]
    for one, known in zip(found, expected, strict=True):
        torch.testing.assert_close(one, known)
    with contextlib.suppress(KeyError), made.in_use():
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())
    assert sys.modules[type(layer.self_attn).__module__].apply_rotary_pos_emb is rotation


def test_a_layer_of_another_kind_keeps_its_forward(parts):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = tiny_model("llama")
    attention = model.get_decoder().layers[1].self_attn
    old = attention.k_proj
    attention.k_proj = Doubled(old.in_features, old.out_features, bias=False)
    attention.k_proj.weight = old.weight
    prompt = ModelInputs(torch.tensor([[5, 6, 7, 8, 9]]))
    expected = answer(family_for(model), prompt, max_new_tokens=12)
    assert_same_answer(answer(with_parts(model, parts), prompt, max_new_tokens=12), expected)


@pytest.mark.parametrize("bias", [False, True])
def test_joined_weights_are_held_once(bias):
    layers = [nn.Linear(6, size, bias=bias) for size in (4, 2, 3)]
    expected = torch.cat([layer.weight.detach().clone() for layer in layers])
    weight, added = share(*layers)
    assert torch.equal(weight, expected)
    assert (added is None) is not bias
    assert len({layer.weight.untyped_storage().data_ptr() for layer in layers}) == 1
    again, _ = share(*layers)
    assert again.data_ptr() == weight.data_ptr()


def test_without_a_gpu_it_is_refused_in_one_line():
    if DEVICE == "cuda":
        pytest.skip("there is one")
    with pytest.raises(ModelError, match="executor kernels needs a GPU"):
        kernels_executor(family_for(tiny_model("llama")))


def near(found, expected, dtype):
    error = (found.float() - expected.float()).norm() / expected.float().norm()
    assert error < (2e-5 if dtype == torch.float32 else 1e-2)


def drawn(*shape, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, dtype)


@needs_triton
@pytest.mark.filterwarnings("ignore:Conversion of an array")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
class TestKernels:
    @pytest.mark.parametrize(("outs", "width"), [(48, 80), (130, 2100), (64, 4224)])
    @pytest.mark.parametrize("rows", [1, 2, 16, 17, 33, 64])
    def test_product(self, outs, width, rows, dtype):
        from seeahead.executors import kernels

        x, weight, bias = drawn(1, rows, width, dtype=dtype), drawn(outs, width, dtype=dtype), drawn(outs, dtype=dtype)
        near(kernels.product(x, weight, bias), F.linear(x.float(), weight.float(), bias.float()), dtype)
        near(kernels.product(x, weight), F.linear(x.float(), weight.float()), dtype)

    @pytest.mark.parametrize(
        ("kv_heads", "shared", "rows", "widths", "columns", "bounds"),
        [(4, 1, 1, (16, 16), 100, (3, 97)), (2, 7, 5, (64, 64), 300, (0, 260)), (1, 8, 40, (96, 80), 130, (10, 129))],
    )
    def test_attention(self, kv_heads, shared, rows, widths, columns, bounds, dtype):
        from seeahead.executors import kernels

        query = drawn(rows, kv_heads * shared, widths[0], dtype=dtype).transpose(0, 1)
        keys, values = (drawn(kv_heads, columns, width, dtype=dtype) for width in widths)
        visible = drawn(rows, columns, dtype=torch.float32) < 0.3
        visible[:, bounds[1] - 1] = True
        visible[:, : bounds[0]] = visible[:, bounds[1] :] = False
        mask = torch.zeros(rows, columns, dtype=dtype, device=DEVICE).masked_fill(~visible, torch.finfo(dtype).min)
        found = kernels.attention(query, keys, values, mask, torch.tensor(bounds, device=DEVICE), 0.3)
        copies = [states.float().repeat_interleave(shared, 0) for states in (keys, values)]
        expected = F.scaled_dot_product_attention(query.float(), *copies, mask.float(), scale=0.3)
        near(found, expected.transpose(0, 1), dtype)

    def test_rotation_norm_and_writing(self, dtype):
        from seeahead.executors import kernels

        theirs = in_torch()
        query = drawn(1, 5, 3, 16, dtype=dtype).transpose(1, 2)
        key = drawn(1, 5, 2, 16, dtype=dtype).transpose(1, 2)
        turns = [drawn(1, 5, 16, dtype=dtype), drawn(1, 5, 16, dtype=dtype) * 0.5]
        for found, expected in zip(
            kernels.rotated(query, key, *turns), theirs.rotated(query, key, *turns), strict=True
        ):
            near(found, expected, dtype)
        weight = drawn(48, dtype=dtype)
        for offset in (0.0, 1.0):
            x = drawn(1, 5, 48, dtype=dtype)
            near(kernels.rms_norm(x, weight, 1e-5, offset), theirs.rms_norm(x, weight, 1e-5, offset), dtype)
        buffer, columns = torch.zeros(2, 20, 16, device=DEVICE, dtype=dtype), torch.tensor([3, 4, 9, 1, 19])
        new = key[0].clone()
        new[0, 0, 0] = float("nan")
        kernels.put(new, buffer, columns.to(DEVICE))
        assert torch.equal(buffer[:, columns], new.nan_to_num())
