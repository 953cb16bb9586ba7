"""Our decoder computes what transformers' Llama computes, from the same checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from seeahead.errors import ModelError
from seeahead.executor import ModelInputs
from seeahead.executors.attention import NoMemory, attend, folded
from seeahead.executors.checkpoint import load_llama
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.session import Session
from seeahead.tree import ROOT


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=request.param,
        initializer_range=0.3,
    )
    # Of numbers in bfloat16, which a drafter's weights keep in 16 bits of another kind.
    LlamaForCausalLM(config).bfloat16().float().save_pretrained(tmp_path)
    return tmp_path


def _load(folder: Path) -> Llama:
    config = LlamaShape.from_json(json.loads((folder / "config.json").read_text()))
    return load_llama(folder, config, torch.float32, torch.device("cpu"))


def test_prefill_and_trees_equal_transformers(folder: Path) -> None:
    theirs, ours = LlamaForCausalLM.from_pretrained(folder).eval(), _load(folder)
    prompt = [5, 9, 20, 31, 2, 2, 40]
    session = Session(ours, 8)
    first = session.prefill(ModelInputs(torch.tensor([prompt]))).logits[-1]
    scores = session.score([7, 8, 9, 10], [ROOT, 0, 0, 2]).logits
    with torch.no_grad():
        torch.testing.assert_close(first, theirs(torch.tensor([prompt])).logits[0, -1], atol=1e-5, rtol=1e-4)
        for row, path in enumerate([[7], [7, 8], [7, 9], [7, 9, 10]]):
            expected = theirs(torch.tensor([prompt + path])).logits[0, -1]
            torch.testing.assert_close(scores[row], expected, atol=1e-5, rtol=1e-4)
        session.commit([0, 2])
        after = session.score([11], [ROOT]).logits[-1]
        expected = theirs(torch.tensor([[*prompt, 7, 9, 11]])).logits[0, -1]
        torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-4)


def test_missing_and_unknown_tensors_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state["stray"] = state.pop("model.layers.1.mlp.down_proj.weight")
    save_file(state, path)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.down_proj\.weight.*stray"):
        _load(folder)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ModelError, match="plain Llama"):
        LlamaShape.from_json({"model_type": "gpt2"})


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (4, 4)])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("is_masked", [True, False])
def test_attention_is_the_same_however_its_rows_are_laid_out(heads, kv_heads, length, is_masked):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, length, heads, 8, generator=generator).transpose(1, 2)
    key, value = torch.randn(2, 2, kv_heads, 10, 8, generator=generator).unbind(0)
    mask = torch.rand(1, 1, length, 10, generator=generator) > 0.4 if is_masked else None
    if mask is not None:
        mask[..., -1] = True
    elif length > 1:
        key, value = key[:, :, :length], value[:, :, :length]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None and length > 1, enable_gqa=True
    )
    mask = None if mask is None else folded(mask, query, key)
    torch.testing.assert_close(attend(query, key, value, mask), expected)


@torch.inference_mode()
def test_some_places_of_one_layer_alone_are_what_they_are_among_all():
    config = LlamaShape(40, 16, 32, 1, 2, 1, 8, 64)
    torch.manual_seed(0)
    decoder = Llama(config).eval()
    x = torch.randn(3, 7, 16)
    rows, columns = torch.tensor([0, 0, 2]), torch.tensor([1, 6, 3])
    positions = torch.arange(7)[None]
    everywhere = decoder.run(x, positions, NoMemory())
    torch.testing.assert_close(decoder.run_at(x, positions, NoMemory(), rows, columns), everywhere[rows, columns])
