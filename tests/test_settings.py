"""Settings of an answer through the engine: seeds, special tokens, and everything that cannot be, in one line."""

from functools import cache

import numpy as np
import pytest
import torch

import seeahead
from seeahead.errors import InputError
from seeahead.testing import tiny_model, tiny_processor

PROMPT = "one two one two"
PROCESSOR = tiny_processor("llama")


@cache
def engine():
    return seeahead.load((tiny_model("llama"), PROCESSOR))


@cache
def plain():
    return engine().generate(PROMPT, max_new_tokens=12).token_ids


def test_filters_of_a_draw_without_a_draw_are_told():
    named = {
        "top_k": 5,
        "top_p": 0.5,
        "min_p": 0.1,
        "typical_p": 0.2,
        "epsilon_cutoff": 0.1,
        "eta_cutoff": 0.1,
        "top_h": 0.5,
    }
    for settings in ({name: value} for name, value in named.items()):
        with pytest.raises(InputError, match="has no effect: this model answers greedily; give a temperature"):
            engine().generate(PROMPT, **settings)
        assert engine().generate(PROMPT, max_new_tokens=12, temperature=0, **settings).token_ids == plain()


@pytest.mark.parametrize("number", [int, np.float32, np.int64, np.float64])
def test_whole_numbers_and_numpys_are_numbers(number):
    settings = {"temperature": 2.0, "repetition_penalty": 3.0}
    given = {name: number(value) for name, value in settings.items()}
    settings, given = {**settings, "top_k": 7}, {**given, "top_k": np.int64(7)}
    asked = {"max_new_tokens": 12, "seed": 5}
    assert (
        engine().generate(PROMPT, **asked, **given).token_ids
        == engine().generate(PROMPT, **asked, **settings).token_ids
    )


def test_without_a_seed_answers_differ_and_the_reply_says_which_it_had():
    replies = [engine().generate(PROMPT, max_new_tokens=12, temperature=2.0) for _ in range(3)]
    assert len({reply.token_ids for reply in replies}) == len({reply.seed for reply in replies}) == 3
    for reply in replies:
        again = engine().generate(PROMPT, max_new_tokens=12, temperature=2.0, seed=reply.seed)
        assert (again.token_ids, again.seed) == (reply.token_ids, reply.seed)


def test_special_tokens_are_shown_on_request_and_end_answers_as_stop_texts():
    said = plain()[4]
    text = PROCESSOR.convert_ids_to_tokens(said)
    special = tiny_processor("llama")
    special.add_special_tokens({"additional_special_tokens": [text]})
    own = seeahead.load((tiny_model("llama"), special))
    hidden, shown = (own.generate(PROMPT, max_new_tokens=12, special_tokens=wanted).text for wanted in (False, True))
    assert text in shown
    assert text not in hidden
    stopped = own.generate(PROMPT, max_new_tokens=12, stop=text)
    assert stopped.token_ids == plain()[: plain().index(said) + 1]
    assert stopped.generation.finish_reason == "end"


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": "0.5"}, {"temperature": float("inf")}, {"temperature": float("nan")}, {"temperature": 1e-39},
        {"temperature": True}, {"top_k": 2.5, "temperature": 1.0}, {"top_p": 0, "temperature": 1.0},
        {"seed": 2**64}, {"seed": -1}, {"seed": "1"}, {"seed": 1.0}, {"max_new_tokens": 0}, {"max_new_tokens": 1.5},
        {"max_new_tokens": "3"}, {"max_new_tokens": True}, {"stop": [3]}, {"stop": 3}, {"stop": [""]},
        {"repetition_penalty": 0}, {"suppress_tokens": "x"}, {"bad_words_ids": []},
        {"temperature": 1.0, "top_h": 9.0}, {"watermarking_config": 5},
        {"stop_strings": [1]}, {"sequence_bias": {"x": 1}},
        {"forced_eos_token_id": 99999}, {"forced_bos_token_id": -1}, {"bad_words_ids": [[99999]]},
        {"sequence_bias": {(99999,): 1.0}},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_one_line(settings):
    with pytest.raises(InputError) as caught:
        engine().generate(PROMPT, **settings)
    assert "\n" not in str(caught.value)


def test_none_is_a_setting_left_out():
    nothing = dict.fromkeys(("temperature", "top_k", "seed", "stop", "suppress_tokens"))
    assert engine().generate(PROMPT, max_new_tokens=12, **nothing).token_ids == plain()
    assert engine().generate(PROMPT, max_new_tokens=12, stop=None).token_ids == plain()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_told(value, temperature):
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[50:] = value
    if temperature == 0 and value == float("inf"):
        return
    with pytest.raises(seeahead.ModelError, match="logits are not finite numbers in float32; load it with dtype"):
        seeahead.load((model, PROCESSOR)).generate(PROMPT, temperature=temperature)


def test_suppressing_every_token_is_told():
    with pytest.raises(InputError, match="the settings leave no token to choose"):
        engine().generate(PROMPT, suppress_tokens=list(range(160)))


def test_a_model_that_never_ends_answers_as_generate_does():
    """Its config says -1, by which some switch the end off."""
    own = seeahead.load((tiny_model("llama"), PROCESSOR), "none")
    own.family.model.generation_config.eos_token_id = -1
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == plain()


def test_a_stop_text_with_a_special_token_and_more_is_refused():
    special = PROCESSOR.all_special_tokens[0]
    with pytest.raises(InputError, match="which no text shows; give the token alone"):
        engine().generate(PROMPT, stop=[f"{special} User"])
    assert engine().generate(PROMPT, max_new_tokens=12, stop=f"{special} User", special_tokens=True).text
