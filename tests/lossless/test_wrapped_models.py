"""A model inside another, compiled, quantised or offloaded: seen through, or refused in one line."""

import copy

import pytest
import torch
from torch import nn

import seeahead
from seeahead.errors import ModelError
from seeahead.executors.hooks import num_hooks
from seeahead.families import family_for
from seeahead.families.inspection import is_customised
from seeahead.testing import ScriptedDrafter, answer, random_tree, tiny_inputs, tiny_model, tiny_processor

# Between releases of PEFT and transformers each warns of the other's old names.
between_releases = pytest.mark.filterwarnings("ignore::FutureWarning")


@between_releases
@pytest.mark.parametrize("model_type", ["llama", "qwen2_vl", "llava"])
def test_adapters_around_a_model_are_seen_through(model_type):
    peft = pytest.importorskip("peft")
    model, inputs = tiny_model(model_type), tiny_inputs(model_type, int(model_type != "llama"))
    config = peft.LoraConfig(target_modules=["q_proj"], r=4, init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(model, config).eval()
    family = family_for(wrapped)
    mask = torch.ones_like(inputs.token_ids)
    output = wrapped.generate(
        input_ids=inputs.token_ids, attention_mask=mask, max_new_tokens=12, do_sample=False, **inputs.extras
    )
    said = answer(family, inputs, ScriptedDrafter("tree", random_tree()), max_new_tokens=12)
    assert said.token_ids == tuple(output[0, inputs.token_ids.shape[1] :].tolist())


@between_releases
def test_a_learned_prompt_before_the_prompt_is_refused():
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = peft.get_peft_model(tiny_model("llama"), config)
    with pytest.raises(ModelError, match="has a learned prompt before its own"):
        family_for(wrapped)


def test_a_compiled_model_is_seen_through():
    model, inputs = tiny_model("llama"), tiny_inputs("llama")
    plain = answer(family_for(model), inputs)
    compiled = torch.compile(model, backend="eager")
    assert answer(family_for(compiled), inputs, ScriptedDrafter("t", random_tree())).token_ids == plain.token_ids


@pytest.mark.filterwarnings("ignore")
def test_activations_quantised_over_all_rows_are_refused():
    quantised = torch.ao.quantization.quantize_dynamic(tiny_model("llama"), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ModelError, match="quantises activations over all rows of a pass"):
        family_for(quantised)


def test_what_is_no_model_is_told():
    for thing in (None, 3, nn.Linear(2, 2), "x"):
        with pytest.raises(ModelError, match="give a transformers model with its language head"):
            seeahead.load((thing, None))


def test_an_offloaded_model_answers_as_generate():
    accelerate = pytest.importorskip("accelerate")
    model, inputs = tiny_model("llama"), tiny_inputs("llama")
    expected = model.generate(inputs.token_ids, max_new_tokens=12)[0, inputs.token_ids.shape[1] :].tolist()
    offloaded = accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    said = answer(family_for(offloaded), inputs, ScriptedDrafter("t", random_tree()), max_new_tokens=12)
    assert list(said.token_ids) == expected


# ---- what is set from outside the layers


@between_releases
def test_adapters_that_go_by_the_prompt_are_refused():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=4, task_type="CAUSAL_LM", alora_invocation_tokens=[5, 6])
    with pytest.raises(ModelError, match="goes by what the prompt says"):
        family_for(peft.get_peft_model(tiny_model("llama"), config))


@between_releases
def test_an_adapter_that_is_switched_is_a_change():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=4, init_lora_weights=False)
    wrapped = peft.get_peft_model(tiny_model("llama"), config).eval()
    wrapped.add_adapter("other", config)
    wrapped.eval()
    family = family_for(wrapped)
    assert not family.follow()
    for change in (lambda: wrapped.set_adapter("other"), wrapped.base_model.disable_adapter_layers):
        change()
        assert family.follow()
        assert not family.follow()
    wrapped.base_model.enable_adapter_layers()
    assert family.follow()


@between_releases
def test_a_part_in_training_of_a_model_that_is_not_is_refused():
    """As what is put around a model has it, until it is told."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=4, lora_dropout=0.1)
    wrapped = peft.get_peft_model(tiny_model("llama").eval(), config)
    with pytest.raises(ModelError, match=r"a part of it, is in training mode and .* is random there; call model.eval"):
        family_for(wrapped)
    assert family_for(wrapped.eval())


@pytest.mark.parametrize("name", ["layerdrop", "router_jitter_noise"])
def test_passes_that_are_random_by_other_names_are_refused(name):
    model = tiny_model("llama")
    setattr(model.model.layers[0].mlp, name, 0.1)
    assert family_for(model)
    with pytest.raises(ModelError, match="is random there"):
        family_for(model.train())


def test_one_scale_for_all_of_a_pass_is_refused():
    model = tiny_model("llama")
    family = family_for(model)

    class PerTensor:
        pass

    weight = model.model.layers[0].mlp.down_proj.weight
    weight.act_quant_kwargs = type("Settings", (), {"granularity": PerTensor()})()
    with pytest.raises(ModelError, match="one scale for the activations of a whole pass"):
        family_for(model)
    del weight.act_quant_kwargs
    assert not family.follow()


@between_releases
def test_a_generation_config_of_the_outermost_counts():
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(tiny_model("llama"), peft.LoraConfig(target_modules=["q_proj"], r=4)).eval()
    engine = seeahead.load((wrapped, tiny_processor("llama")), "none")
    first = engine.generate("one two", max_new_tokens=12)
    own = copy.deepcopy(wrapped.get_base_model().generation_config)
    own.suppress_tokens = [first.token_ids[0]]
    wrapped.generation_config = own
    assert first.token_ids[0] not in engine.generate("one two", max_new_tokens=12).token_ids


def test_a_forward_that_was_put_into_a_class_is_one_of_somebodys_own(monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    model = tiny_model("llama")
    assert not is_customised(model)
    assert family_for(model).fuse()
    forward = LlamaMLP.forward

    def patched(self, x):
        return forward(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", patched)
    assert is_customised(model)
    assert not family_for(model).fuse()
    assert num_hooks(model.model.layers[0].mlp) == 1


def test_a_hook_between_language_model_and_head_is_not_fused_away():
    model = tiny_model("llava")
    assert family_for(model).fuse()
    model.model.register_forward_hook(lambda module, args, output: output)
    assert not family_for(model).fuse()
