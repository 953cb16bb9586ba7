"""The fused decoder runs on the model's own weights, and only where everything is plain Llama; see also lossless/."""

import pytest
import torch

from seeahead.executor import FEATURES, Want
from seeahead.executors.fuse import fused_decoder
from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import answer, tiny_inputs, tiny_model
from seeahead.tree import ROOT


@pytest.fixture
def unpacked(monkeypatch):
    """As on a GPU, or where a second copy of the weights is too much."""
    monkeypatch.setattr("seeahead.executors.fuse.can_pack", lambda weight: False)


def test_the_weights_are_shared_and_the_model_computes_what_it_did(unpacked):
    model = tiny_model("llava")
    inputs = tiny_inputs("llava", 1)
    with torch.no_grad():
        before = model(input_ids=inputs.token_ids, **inputs.extras).logits
    assert family_for(model).fuse()
    layer, fused = model.get_decoder().layers[0], fused_decoder(model)
    with torch.no_grad():
        assert torch.equal(before, model(input_ids=inputs.token_ids, **inputs.extras).logits)
    assert fused is not None
    ours = fused.decoder.layers[0]
    assert ours.qkv.weight.data_ptr() == layer.self_attn.q_proj.weight.data_ptr()
    assert ours.gate_up.weight.data_ptr() == layer.mlp.gate_proj.weight.data_ptr()
    assert ours.down.weight is layer.mlp.down_proj.weight
    assert fused.decoder.head is model.lm_head


@pytest.mark.parametrize("model_type", ["llava", "llava_next", "idefics3", "smolvlm", "llama", "mistral"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_plain_llamas_answer_as_before(model_type, is_packed, request):
    if not is_packed:
        request.getfixturevalue("unpacked")
    changes = {"sliding_window": None} if model_type in ("mistral", "llava_next") else {}
    family = family_for(tiny_model(model_type, **changes))
    inputs = tiny_inputs(model_type, 0 if model_type in ("llama", "mistral") else 1)
    before = answer(family, inputs, max_new_tokens=16).token_ids
    assert family.fuse()
    assert answer(family, inputs, max_new_tokens=16).token_ids == before


def test_features_are_those_of_the_model():
    family = family_for(tiny_model("llama"))
    inputs = tiny_inputs("llama")
    found = []
    for _ in range(2):
        session = Session(family.executor, 16)
        prefilled = session.prefill(inputs, Want(FEATURES))
        scores = session.score([50], [ROOT], Want(FEATURES))
        found.append((prefilled.features[-1], scores.features[-1]))
        assert family.fuse()
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "gemma3_text", "qwen2_vl", "gemma3", "internvl"])
def test_other_decoders_are_left_to_transformers(model_type):
    assert not family_for(tiny_model(model_type)).fuse()


def _with_bias(model):
    layer = model.get_decoder().layers[1].self_attn
    layer.q_proj = torch.nn.Linear(layer.q_proj.in_features, layer.q_proj.out_features)


def _with_hook(model):
    model.get_decoder().layers[0].register_forward_hook(lambda module, given, result: None)


def _with_adapter(model):
    class Adapted(torch.nn.Linear):
        pass

    mlp = model.get_decoder().layers[0].mlp
    mlp.up_proj = Adapted(mlp.up_proj.in_features, mlp.up_proj.out_features, bias=False)


def _in_two_dtypes(model):
    model.get_decoder().layers[0].bfloat16()


@pytest.mark.parametrize("change", [_with_bias, _with_hook, _with_adapter, _in_two_dtypes])
def test_a_llama_that_is_not_plain_is_left_alone(change):
    model = tiny_model("llama")
    change(model)
    assert fused_decoder(model) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": 8, "model": "mistral"},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ],
)
def test_a_config_that_is_not_plain_is_left_alone(changes):
    model_type = changes.pop("model", "llama")
    assert fused_decoder(tiny_model(model_type, **changes)) is None
