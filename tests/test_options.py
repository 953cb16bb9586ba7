"""Every field of transformers' GenerationConfig, through every door: honoured as `generate` does, or refused."""

import random

import pytest
import torch
from transformers import (
    GenerationConfig,
    StoppingCriteriaList,
    StopStringCriteria,
    SynthIDTextWatermarkingConfig,
    WatermarkingConfig,
)

import seeahead
from seeahead.errors import InputError
from seeahead.generation_config import Known, prepare
from seeahead.option_table import NEVER_READ, OPTIONS
from seeahead.prompt import make_prompt
from seeahead.testing import ScriptedDrafter, random_tree, tiny_model, tiny_processor
from tests.scripts import sometimes_right

PROMPT = "one two one two"
MODEL, PROCESSOR = tiny_model("llama"), tiny_processor("llama")
ENGINE = seeahead.load((MODEL, PROCESSOR))
IDS = ENGINE.family.encode(make_prompt(PROMPT)).token_ids
LENGTH = IDS.shape[1]


def generate(ids=IDS, **settings):
    """The answer of transformers' own loop; whole, where `settings` do not limit it."""
    limits = {} if settings.keys() & {"max_length", "max_new_tokens"} else {"max_new_tokens": 12}
    output = MODEL.generate(
        ids, attention_mask=torch.ones_like(ids), tokenizer=PROCESSOR, **{"do_sample": False, **limits, **settings}
    )
    return tuple(output[0, ids.shape[1] :].tolist())


PLAIN = generate()
WORD = PLAIN[3]
ENDS = {"eos_token_id": PLAIN[2]}

GREEDY = {
    "max_length": {"max_length": LENGTH + 5},
    "max_new_tokens": {"max_new_tokens": 4},
    "min_length": {"min_length": LENGTH + 8, **ENDS},
    "min_new_tokens": {"min_new_tokens": 8, **ENDS},
    "max_time": {"max_time": 1e-9},
    "stop_strings": {"stop_strings": [PROCESSOR.decode(PLAIN[3:5])]},
    "repetition_penalty": {"repetition_penalty": 1.6},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 0.3},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1, "sequence_bias": {(int(IDS[0, -1]),): 50.0}},
    "bad_words_ids": {"bad_words_ids": [[WORD]]},
    "sequence_bias": {"sequence_bias": {(PLAIN[0], PLAIN[5]): 60.0}},
    "suppress_tokens": {"suppress_tokens": [PLAIN[0], WORD]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [PLAIN[0]]},
    "forced_bos_token_id": {"forced_bos_token_id": 77},
    "forced_eos_token_id": {"forced_eos_token_id": 77},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (2, 3.0), "eos_token_id": 99},
    "watermarking_config": {"watermarking_config": WatermarkingConfig(bias=8.0)},
    "eos_token_id": {"eos_token_id": [3, PLAIN[2]]},
}
"""Settings under which greedy answers change."""

SAMPLED = {
    "do_sample": {},
    "temperature": {"temperature": 3.0},
    "top_k": {"top_k": 7},
    "top_p": {"top_p": 0.4},
    "min_p": {"min_p": 0.3},
    "top_h": {"top_h": 0.3},
    "typical_p": {"typical_p": 0.3},
    "epsilon_cutoff": {"epsilon_cutoff": 0.1},
    "eta_cutoff": {"eta_cutoff": 0.3},
    "renormalize_logits": {"renormalize_logits": True, "top_k": 5},
    "remove_invalid_values": {"remove_invalid_values": True},
    "repetition_penalty": {"repetition_penalty": 1.6},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "watermarking_config": {"watermarking_config": WatermarkingConfig(bias=8.0)},
}

WITHOUT_EFFECT = {
    "bos_token_id": 5,
    "pad_token_id": 6,
    "decoder_start_token_id": 7,
    "early_stopping": True,
    "length_penalty": 2.0,
    "diversity_penalty": 0.5,
    "num_beam_groups": 1,
    "use_cache": False,
    "cache_config": {},
    "max_cache_len": 64,
    "prefill_chunk_size": 3,
    "compile_config": None,
    "disable_compile": True,
    "low_memory": True,
    "continuous_batching_config": None,
    "output_attentions": False,
    "output_hidden_states": True,
    "output_scores": True,
    "output_logits": True,
    "return_dict_in_generate": False,
    "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "heuristic",
    "assistant_confidence_threshold": 0.9,
    "assistant_lookbehind": 3,
    "target_lookbehind": 3,
    "assistant_ensemble_weight": None,
    "max_matching_ngram_size": 3,
}

REFUSED = {
    "cache_implementation": "quantized",
    "num_beams": 2,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "constraints": [object()],
    "force_words_ids": [[5]],
    "guidance_scale": 1.5,
    "num_return_sequences": 2,
    "token_healing": True,
    "is_assistant": True,
    "use_mtp": True,
    "prompt_lookup_num_tokens": 3,
    "assistant_early_exit": 2,
    "speculation_type": "mtp",
}


def drafters(truth):
    return (
        "none",
        "lookup",
        ScriptedDrafter("tree", random_tree()),
        ScriptedDrafter("sometimes", sometimes_right(truth)),
    )


def here(names):
    """Those of the fields that the installed transformers has."""
    return [name for name in names if name in vars(GenerationConfig())]


def test_every_field_has_a_row_and_every_row_a_test():
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert fields <= OPTIONS.keys() | set(NEVER_READ)
    by_treatment = {"honoured": GREEDY.keys() | SAMPLED.keys(), "no effect": WITHOUT_EFFECT.keys()}
    by_treatment["refused"] = REFUSED.keys()
    for name, option in OPTIONS.items():
        assert name in by_treatment[option.treatment], f"{name} has no example"


@pytest.mark.parametrize("name", here(GREEDY))
def test_a_greedy_answer_is_that_of_generate(name, monkeypatch):
    settings = GREEDY[name]
    ids = IDS[:, :1] if name == "forced_bos_token_id" else IDS
    expected = generate(ids, **settings)
    assert expected != generate(ids, **({"eos_token_id": settings["eos_token_id"]} if name.startswith("min_") else {}))
    door = settings
    if name == "stop_strings":
        criteria = [StopStringCriteria(PROCESSOR, settings[name])]
        door = {"stopping_criteria": StoppingCriteriaList(criteria)}
    for drafter in drafters(expected):
        assert generate(ids, custom_generate=seeahead.custom_generate(drafter), **door) == expected
        if ids is IDS:
            own = ENGINE.with_drafter(drafter)
            limit = {} if name in ("max_length", "max_new_tokens") else {"max_new_tokens": 12}
            assert own.generate(PROMPT, **limit, **settings).token_ids == expected
            # The same, stated by the model instead of the caller.
            stated = GenerationConfig(**{**vars(MODEL.generation_config), **settings})
            with monkeypatch.context() as patch:
                patch.setattr(MODEL, "generation_config", stated)
                assert own.generate(PROMPT, **limit).token_ids == expected


@pytest.mark.parametrize("name", here(SAMPLED))
def test_what_is_drawn_from_is_what_generate_draws_from(name):
    settings = {"do_sample": True, **SAMPLED[name]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = MODEL.generate(
            IDS,
            attention_mask=torch.ones_like(IDS),
            max_new_tokens=8,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **settings,
        )
    answer = theirs.sequences[0, LENGTH:].tolist()
    sampler = prepare(MODEL, IDS, PROCESSOR, {"max_new_tokens": 8, **settings}).sampler(1)
    for place, (logits, scores) in enumerate(zip(theirs.logits, theirs.scores, strict=True)):
        ours = sampler.distribution(logits[0], answer[:place])
        assert torch.equal(ours, scores[0].softmax(-1))
        assert int((ours > 0).sum()) <= (50 if name != "top_k" else 7), "top_k is 50 where nobody says otherwise"
    drawn = {ENGINE.generate(PROMPT, max_new_tokens=8, seed=3, **settings).token_ids for _ in range(2)}
    tree = ENGINE.with_drafter(ScriptedDrafter("tree", random_tree()))
    assert drawn == {tree.generate(PROMPT, max_new_tokens=8, seed=3, **settings).token_ids}


@pytest.mark.parametrize("num_at_once", [3, 16])
def test_requests_of_one_batch_have_settings_of_their_own(num_at_once):
    greedy = [{"do_sample": False, "max_new_tokens": 12, **GREEDY[name]} for name in here(GREEDY)]
    drawn = [{"do_sample": True, "max_new_tokens": 12, **SAMPLED[name]} for name in here(SAMPLED)]
    for one in greedy:
        if "max_length" in one:
            del one["max_new_tokens"]
    asked = [{"prompt": PROMPT, "seed": number, **one} for number, one in enumerate([*greedy, *drawn])]
    random.Random(0).shuffle(asked)
    plain = ENGINE.with_drafter("none")
    alone = [plain.generate(**one).token_ids for one in asked]
    for number, (one, truth) in enumerate(zip(asked, alone, strict=True)):
        one["drafter"] = drafters(truth)[number % 4]
    replies = ENGINE.generate_batch(asked, num_at_once=num_at_once)
    assert [reply.error for reply in replies] == [None] * len(asked)
    assert [reply.token_ids for reply in replies] == alone
    assert any(step.num_accepted for reply in replies for step in reply.steps)


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in (GREEDY, SAMPLED) for name in here(table)])
def test_settings_that_are_known_are_those_of_the_prompt(table, name):
    settings = {"do_sample": table is SAMPLED, "max_new_tokens": 12, **table[name]}
    known, logits = Known(), torch.randn(MODEL.config.vocab_size, generator=torch.Generator().manual_seed(1))
    for ids in (IDS, torch.cat([IDS, IDS + 1], 1), IDS[:, 2:]):
        made, anew = (read(MODEL, ids, PROCESSOR, settings) for read in (known.prepare, prepare))
        assert torch.equal(made.prompt_ids, ids)
        assert made.max_length == anew.max_length
        rules = made.stop_rule(50), anew.stop_rule(50)
        assert rules[0].limit == rules[1].limit
        assert rules[0].end_tokens == rules[1].end_tokens
        answers = [one.sampler(3).distribution(logits, [4, 5]) for one in (made, anew)]
        assert torch.equal(*answers)
    assert bool(known._held) == (name in FIT_ANY_PROMPT)


FIT_ANY_PROMPT = (
    *("do_sample", "max_new_tokens", "max_length", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff", "renormalize_logits", "remove_invalid_values"),
)


@pytest.mark.parametrize("name", here(WITHOUT_EFFECT))
def test_what_has_no_effect_changes_nothing(name):
    settings = {name: WITHOUT_EFFECT[name]}
    assert generate(custom_generate=seeahead.custom_generate(), **settings) == PLAIN
    if settings[name] is not None:
        assert ENGINE.generate(PROMPT, max_new_tokens=12, **settings).token_ids == PLAIN


@pytest.mark.parametrize("name", here(REFUSED))
def test_what_is_refused_is_refused_in_every_door(name):
    settings = {name: REFUSED[name]} | ({"top_k": 4} if name == "penalty_alpha" else {})
    more = {"temperature": 0.0} if name == "penalty_alpha" else {}
    with pytest.raises(InputError, match=f"{name}=|not supported|transformers refuses") as caught:
        ENGINE.generate(PROMPT, **settings, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in here(REFUSED) if name not in ("constraints", "force_words_ids")])
def test_what_is_refused_is_refused_by_custom_generate(name):
    settings = {name: REFUSED[name]} | ({"top_k": 4} if name == "penalty_alpha" else {})
    if name == "num_return_sequences":
        settings["do_sample"] = True
    with pytest.raises((ValueError, NotImplementedError, TypeError, ImportError)):
        generate(custom_generate=seeahead.custom_generate(), **settings)


def test_a_field_that_nobody_knows_is_refused(monkeypatch):
    config = GenerationConfig(**{**vars(MODEL.generation_config), "sampling_of_tomorrow": 0.5})
    monkeypatch.setattr(MODEL, "generation_config", config)
    for ask in (
        lambda: ENGINE.generate(PROMPT),
        lambda: generate(custom_generate=seeahead.custom_generate()),
    ):
        with pytest.raises(InputError, match=r"sampling_of_tomorrow=0\.5, which is unknown here"):
            ask()
    with pytest.raises(InputError, match="unknown setting 'top_q'; did you mean 'top_p'"):
        ENGINE.generate(PROMPT, top_q=0.5)


def test_keys_that_published_checkpoints_carry_are_no_reason_to_refuse(monkeypatch):
    config = GenerationConfig(**{**vars(MODEL.generation_config), "chat_format": "chatml", "max_window_size": 6144})
    monkeypatch.setattr(MODEL, "generation_config", config)
    assert ENGINE.generate(PROMPT, max_new_tokens=12).token_ids == PLAIN


def test_a_watermark_with_a_state_is_refused():
    config = SynthIDTextWatermarkingConfig(keys=[1, 2, 3], ngram_len=5)
    with pytest.raises(InputError, match="SynthIDTextWatermarkLogitsProcessor keeps a state"):
        ENGINE.generate(PROMPT, watermarking_config=config, temperature=1.0)
