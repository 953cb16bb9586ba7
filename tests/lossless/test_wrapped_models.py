"""A model inside another, compiled, quantised or offloaded: seen through, or refused in one line."""

import pytest
import torch
from torch import nn

import seeahead
from seeahead.errors import ModelError
from seeahead.families import family_for
from seeahead.testing import ScriptedDrafter, answer, random_tree, tiny_inputs, tiny_model

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
