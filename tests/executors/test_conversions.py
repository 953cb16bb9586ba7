"""What a conversion is found again by, where it is made, and what it leaves as it was."""

import os
import stat
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import seeahead
from seeahead.errors import ModelError
from seeahead.executor import Want
from seeahead.executors import compiled, converted
from seeahead.executors.graphs import GraphsExecutor
from seeahead.executors.linear import share
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families import choice, family_for
from seeahead.testing import tiny_model, tiny_processor

pytestmark = pytest.mark.usefixtures("openvino_in_32_bits")


class Adapted(nn.Linear):
    """As packages of adapters put them in the place of layers."""

    def __init__(self, like, **settings):
        super().__init__(like.in_features, like.out_features, bias=False)
        self.weight = like.weight
        self.scaling, self._active_adapter = {"a": 1.0, "b": 0.5}, settings["active"]


def key(model, precision="float32"):
    return converted._key(model, precision, ("full_attention",), 0, 1)


def adapted(**settings):
    model = tiny_model("llama")
    mlp = model.get_decoder().layers[0].mlp
    mlp.down_proj = Adapted(mlp.down_proj, **settings)
    return model


def test_everything_that_a_graph_says_is_part_of_its_key():
    plain = key(tiny_model("llama"))
    assert key(tiny_model("llama").train()) == plain, "training alone changes no graph"
    assert key(tiny_model("llama"), "int8") != plain
    rounded = tiny_model("llama")
    rotary = rounded.get_decoder().rotary_emb
    rotary.inv_freq = rotary.inv_freq.bfloat16().float() * 1.001  # as model.to(torch.bfloat16) leaves them
    assert key(rounded) != plain
    assert key(adapted(active="a")) == key(adapted(active="a"))
    assert len({plain, key(adapted(active="a")), key(adapted(active="b")), key(adapted(active=["a", "b"]))}) == 4


def test_a_model_that_was_changed_is_refused_at_every_answer():
    engine = seeahead.load((tiny_model("llama"), tiny_processor("llama")), "none", executor="openvino", dtype="int8")
    engine.generate("one two", max_new_tokens=2)
    hook = engine.family.model.get_decoder().layers[0].register_forward_hook(lambda *given: None)
    for _ in range(2):
        with pytest.raises(ModelError, match="changed after it was converted to OpenVINO; load it again"):
            engine.generate("one two", max_new_tokens=2)
    replies = engine.generate_batch([{"prompt": "one"}, {"prompt": "two"}], num_at_once=1)
    assert all(isinstance(reply.error, ModelError) for reply in replies)
    hook.remove()
    engine.generate("one two", max_new_tokens=2)  # it is again what was converted


@pytest.mark.parametrize("part", ["layer", "head"])
def test_a_model_with_a_hook_is_not_taken_for_the_one_that_was_converted(part):
    """Nor is its graph kept for those without."""
    model, processor = tiny_model("llama"), tiny_processor("llama")
    seeahead.load((model, processor), "none", executor="openvino", dtype="int8")
    where = model.lm_head if part == "head" else model.model.layers[0]
    where.register_forward_hook(lambda module, args, output: None)
    with pytest.raises(ModelError, match="something is hooked to it, or a forward was replaced"):
        seeahead.load((model, processor), "none", executor="openvino", dtype="int8")


def test_what_a_head_is_set_to_is_part_of_what_was_converted():
    model = tiny_model("llama")
    key = converted._key(model, "int8")

    class Head(nn.Linear):
        active = "a"

    model.lm_head.__class__ = Head
    keys = [key, converted._key(model, "int8")]
    for name in "ab":
        model.lm_head.active = name
        keys.append(converted._key(model, "int8"))
    model.lm_head.register_buffer("shift", torch.ones(3))
    keys.append(converted._key(model, "int8"))
    assert len({*keys}) == 5


def test_a_cache_that_takes_nothing_is_told_before_the_work_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    monkeypatch.setattr(converted, "traced", lambda *given: pytest.fail("it was converted"))
    mkdir = Path.mkdir

    def refused(path, *given, **more):
        if path.name.startswith(converted._MADE):
            raise PermissionError(13, "Permission denied")
        return mkdir(path, *given, **more)

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(ModelError, match=r"cannot be kept in .*: Permission denied; make room there"):
        OpenVinoExecutor(family_for(tiny_model("llama")))


def test_all_who_share_a_cache_may_read_and_what_killed_processes_left_goes(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    left, made_now = (tmp_path / "openvino" / f"{converted._MADE}{name}" for name in ("left", "now"))
    for folder in (left, made_now):
        folder.mkdir(parents=True)
        (folder / "graph.bin").write_bytes(b"half")
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    path = OpenVinoExecutor(family_for(tiny_model("llama")))._graphs.path
    (tmp_path / "as usual").mkdir()
    modes = {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, tmp_path / "as usual")}
    assert len(modes) == 1
    assert not left.exists()
    assert made_now.exists()


def test_graphs_compiled_later_compute_as_those_before(monkeypatch):
    """They share pages of keys and values, whose type stays, whatever becomes of torch's threads."""
    graphs = OpenVinoExecutor(family_for(tiny_model("llama")))._graphs
    monkeypatch.setattr(compiled, "arithmetic", lambda precision: pytest.fail("it was asked anew"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: pytest.fail("it was asked anew"))
    graphs._compiled.clear()
    page = graphs.of(0).page
    graphs.tell([1])
    assert graphs.of(0).page == page


def test_a_model_that_is_converted_stays_as_it_was():
    model = tiny_model("llama", attention_dropout=0.0)
    model.get_decoder().layers[1].train()
    before = [part.training for part in model.modules()]
    assert any(before)
    OpenVinoExecutor(family_for(model))
    assert [part.training for part in model.modules()] == before


def test_layers_that_share_their_numbers_can_be_trained_and_changed_in_place():
    parts = [nn.Linear(8, size) for size in (3, 4, 5)]
    x = torch.randn(2, 8)
    expected = torch.cat([part(x) for part in parts], -1).detach()
    with torch.inference_mode():
        weight, bias = share(*parts)
    torch.testing.assert_close(x @ weight.T + bias, expected)
    assert not any(value.is_inference() for part in parts for value in (part.weight, part.bias))
    sum(part(x).sum() for part in parts).backward()
    torch.optim.SGD([value for part in parts for value in (part.weight, part.bias)], 0.1).step()
    with torch.no_grad():
        parts[1].bias.add_(1.0)
    torch.testing.assert_close(x @ weight.T + bias, torch.cat([part(x) for part in parts], -1).detach())


@pytest.mark.parametrize("make", [GraphsExecutor, OpenVinoExecutor])
def test_layers_with_inputs_of_their_own_are_refused(make):
    family = family_for(tiny_model("llama"))
    family.text_config.hidden_size_per_layer_input = 8
    with pytest.raises(ModelError, match="its layers have inputs of their own beside embeddings; use "):
        make(family)


def test_a_quantised_checkpoint_is_not_converted():
    model = tiny_model("llama")
    model.hf_quantizer = object()
    with pytest.raises(ModelError, match="its checkpoint is quantised; use executor transformers"):
        OpenVinoExecutor(family_for(model))


def test_where_layers_share_keys_a_prompt_s_states_are_those_of_all_its_tokens():
    """transformers cuts these to the last token where the last logits alone are asked for."""
    executor = family_for(tiny_model("llama")).executor
    assert executor._last_logits(Want((0, -1))) == {"logits_to_keep": 1}
    executor.family.text_config.num_kv_shared_layers = 1
    assert executor._last_logits(Want((0, -1))) == {}
    assert executor._last_logits(Want()) == {"logits_to_keep": 1}


def products(executor):
    """The type of the weights of every product, by the name of its layer, as OpenVINO compiled them."""
    graph = executor._graphs.of(0)._request.get_compiled_model().get_runtime_model()
    found = {}
    for node in graph.get_ops():
        facts = node.get_rt_info()
        if "layerType" in facts and facts["layerType"].value == "FullyConnected":
            [weight, *_] = [port.get_node().get_rt_info() for port in node.input_values()[1:]]
            found[node.get_friendly_name().split("/")[0].split("layers.")[-1]] = weight["outputPrecisions"].value
    return found


def test_weights_that_lose_nothing_in_16_bits_are_read_in_16_and_others_in_32():
    """Scaled by a power of two they keep all that bfloat16 can say, but for one beside a far larger one."""
    model = tiny_model("llama")
    layers = model.get_decoder().layers
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16().float())
        layers[0].mlp.up_proj.weight[0, 0] = 2**-30
        layers[1].mlp.up_proj.weight[0, 0] += 2**-20  # bfloat16 has no such number
        layers[1].mlp.down_proj.weight[0, :2] = torch.tensor([2.0**14, 2**-30])
    family = family_for(model)
    executor = OpenVinoExecutor(family)
    kinds = products(executor)
    assert len(kinds) == 7 * len(layers) + 1
    assert {name for name, kind in kinds.items() if kind != "f16"} == {"1.mlp.down_proj", "1.mlp.up_proj"}
    words = list(range(3, 15))
    [expected] = choice._logits_of_trees(family.executor, family.device, words, [8])
    [found] = choice._logits_of_trees(executor, family.device, words, [8])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
