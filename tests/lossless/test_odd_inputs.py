"""What callers of `generate` hand over in other forms than usual: followed as transformers follows it, or refused."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    EosTokenCriteria,
    LogitsProcessor,
    MaxLengthCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
)

import seeahead
from seeahead.errors import InputError, ModelError
from seeahead.families import family_for
from seeahead.testing import ScriptedDrafter, answer, random_tree, tiny_inputs, tiny_model, tiny_processor
from tests.scripts import sometimes_right

MODEL, INPUTS = tiny_model("llama"), tiny_inputs("llama")
IDS = INPUTS.token_ids
LENGTH = IDS.shape[1]


def generate(model=MODEL, ids=IDS, **settings):
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "do_sample": False, **settings}
    return model.generate(ids, **settings)[0, ids.shape[1] :].tolist()


PLAIN = generate()
END = PLAIN[3]
assert PLAIN.index(END) == 3
TREE = ScriptedDrafter("tree", random_tree())


def loop(truth=PLAIN):
    return seeahead.custom_generate(ScriptedDrafter("sometimes", sometimes_right(truth)))


ENDS = {
    "tensor": torch.tensor([END]),
    "tensor of no dimension": torch.tensor(END),
    "tensors": [torch.tensor(END)],
    "numpy": np.array([END, 3]),
    "number of numpy": np.int64(END),
    "whole float": float(END),
}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.filterwarnings("ignore")
def test_end_tokens_of_every_form_end_an_answer(kind, monkeypatch):
    ends, expected = ENDS[kind], PLAIN[:4]
    assert generate(eos_token_id=ends, custom_generate=loop()) == expected
    monkeypatch.setattr(MODEL.generation_config, "eos_token_id", ends)
    engine = seeahead.load((MODEL, tiny_processor("llama")))
    first = engine.generate("one two", max_new_tokens=1).token_ids[0]
    monkeypatch.setattr(MODEL.generation_config, "eos_token_id", torch.tensor([first]))
    assert engine.generate("one two", max_new_tokens=8).token_ids == (first,)


class OverAt(StoppingCriteria):
    def __init__(self, length, value):
        self.length, self.value = length, value

    def __call__(self, input_ids, scores, **kwargs):
        return self.value(input_ids.shape[1] >= self.length)


@pytest.mark.parametrize(
    "criterion",
    [
        MaxLengthCriteria(LENGTH + 3),
        EosTokenCriteria(eos_token_id=END),
        OverAt(LENGTH + 6, bool),
        OverAt(LENGTH + 6, lambda value: torch.tensor([value])),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_criteria_of_the_caller_take_the_place_of_the_configs(criterion):
    criteria = {"stopping_criteria": StoppingCriteriaList([criterion])}
    expected = generate(**criteria)
    assert len(expected) < 12
    assert generate(**criteria, custom_generate=loop()) == expected


def test_a_processor_is_known_by_its_class_and_not_by_its_name():
    class TopKLogitsWarper(LogitsProcessor):
        def __call__(self, input_ids, scores):
            scores = scores.clone()
            scores[:, input_ids[0]] -= 100
            return scores

    settings = {"logits_processor": [TopKLogitsWarper()]}
    expected = generate(**settings)
    assert expected != PLAIN
    assert generate(**settings, custom_generate=loop(expected)) == expected


def test_settings_that_contradict_each_other_are_decided_as_in_generate_or_refused():
    engine = seeahead.load((MODEL, tiny_processor("llama")))
    greedy = engine.generate("one two", max_new_tokens=8).token_ids
    assert engine.generate("one two", max_new_tokens=8, do_sample=False, temperature=5.0).token_ids == greedy
    with pytest.raises(InputError, match="do_sample is on and temperature is 0"):
        engine.generate("one two", do_sample=True, temperature=0)


@pytest.mark.parametrize("positions", [list(range(LENGTH))[::-1], [0, 1, 2, 3, 3, 3, 3, 1]])
def test_positions_out_of_order_are_refused(positions):
    with pytest.raises(InputError, match="position_ids out of order"):
        generate(position_ids=torch.tensor([positions]), custom_generate=loop())


def test_positions_that_start_later_are_followed():
    settings = {"position_ids": torch.arange(5, 5 + LENGTH)[None]}
    assert generate(**settings, custom_generate=loop(generate(**settings))) == generate(**settings)


def made(model_type, **values):
    config = AutoConfig.for_model(model_type, vocab_size=160, **values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.4)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None
    return model


def test_drafts_end_where_learned_positions_end():
    model = made("gpt2", n_positions=64, n_embd=32, n_layer=2, n_head=2)
    ids = tiny_inputs("llama", num_words=50).token_ids
    criteria = {"stopping_criteria": StoppingCriteriaList([OverAt(63, bool)]), "max_new_tokens": 500}
    expected = generate(model, ids, **criteria)
    for script in (random_tree(), sometimes_right(expected)):
        drafter = seeahead.custom_generate(ScriptedDrafter("drafter", script))
        assert generate(model, ids, **criteria, custom_generate=drafter) == expected
    with pytest.raises(InputError, match="token_type_ids; allowed: a text model"):
        generate(model, ids, token_type_ids=torch.ones_like(ids), custom_generate=loop())


def test_windows_that_count_cache_columns_are_refused():
    model = made("gpt_neo", hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]])
    with pytest.raises(ModelError, match="has local attention whose window counts cache columns"):
        family_for(model)


def test_a_model_that_reads_anew_at_its_border_ends_there():
    rope = {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [3.0] * 8,
        "original_max_position_embeddings": 64, "factor": 4.0, "partial_rotary_factor": 1.0,
    }  # fmt: skip
    changes = {"max_position_embeddings": 256, "original_max_position_embeddings": 64, "sliding_window": None}
    model, inputs = tiny_model("phi3", rope_parameters=rope, **changes), tiny_inputs("phi3", num_words=50)
    expected = generate(model, inputs.token_ids, max_new_tokens=14)
    assert generate(model, inputs.token_ids, max_new_tokens=14, custom_generate=loop(expected)) == expected
    with pytest.raises(InputError, match="reads everything anew at 64"):
        generate(model, inputs.token_ids, max_new_tokens=30, custom_generate=loop(expected))
    beyond = tiny_inputs("phi3", num_words=70).token_ids
    expected = generate(model, beyond)
    assert generate(model, beyond, custom_generate=loop(expected)) == expected


@pytest.mark.parametrize("length", [30, 40, 64])
def test_borders_of_every_layer_type_count(length):
    long = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "factor": 4.0}
    ropes = {
        "sliding_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        "full_attention": {**long, "long_factor": [4.0] * 8, "original_max_position_embeddings": length},
    }
    model = tiny_model("gemma3_text", rope_parameters=ropes, max_position_embeddings=256)
    inputs = tiny_inputs("gemma3_text", num_words=length - 10)
    expected = tuple(generate(model, inputs.token_ids, max_new_tokens=24))
    family = family_for(model)
    for script in (random_tree(), sometimes_right(expected)):
        assert answer(family, inputs, ScriptedDrafter("drafter", script)).token_ids == expected


def test_training_with_dropout_by_a_number_is_refused():
    model = made(
        "opt",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
        dropout=0.5,
        word_embed_proj_dim=32,
    )
    assert generate(model, custom_generate=seeahead.custom_generate(TREE))
    model.train()
    with pytest.raises(ModelError, match="is random there"):
        generate(model, custom_generate=seeahead.custom_generate(TREE))
