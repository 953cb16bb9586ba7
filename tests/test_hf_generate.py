"""`model.generate(..., custom_generate=...)`: transformers' own answers, with our loop in its place."""

from threading import Thread

import pytest
import torch
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

import seeahead
from seeahead.compat import cache_argument
from seeahead.errors import InputError
from seeahead.testing import (
    TEXT_FAMILIES,
    VISION_FAMILIES,
    ScriptedDrafter,
    SelfDrafter,
    random_tree,
    tiny_family,
    tiny_inputs,
    tiny_model,
    tiny_tokenizer,
)
from tests.lossless.cases import image_counts
from tests.scripts import all_right, sometimes_right


def generate(model, inputs, **settings):
    settings = {"max_new_tokens": 16, "do_sample": False, **settings}
    mask = torch.ones_like(inputs.token_ids)
    return model.generate(inputs.token_ids, attention_mask=mask, **inputs.extras, **settings)


@pytest.mark.parametrize("model_type", [*VISION_FAMILIES, *TEXT_FAMILIES])
def test_greedy_is_what_generate_says(model_type):
    family = tiny_family(model_type)
    for num_images in image_counts(model_type):
        inputs = tiny_inputs(model_type, num_images)
        expected = generate(family.model, inputs)
        truth = expected[0, inputs.token_ids.shape[1] :].tolist()
        for drafter in (
            "none",
            "lookup",
            ScriptedDrafter("tree", random_tree()),
            ScriptedDrafter("right", all_right(truth)),
            ScriptedDrafter("sometimes", sometimes_right(truth)),
            SelfDrafter(family.executor),
        ):
            ours = generate(family.model, inputs, custom_generate=seeahead.custom_generate(drafter))
            assert torch.equal(ours, expected)
            assert ours.dtype == expected.dtype
            assert not ours.is_inference()


@pytest.mark.parametrize("model_type", ["llava", "qwen3_vl", "gemma3"])
def test_sampling_follows_the_seed(model_type):
    model, inputs = tiny_model(model_type), tiny_inputs(model_type, 1)
    drafter = seeahead.custom_generate(ScriptedDrafter("tree", random_tree()))

    def sample(seed, custom):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return generate(model, inputs, do_sample=True, temperature=0.9, top_k=20, custom_generate=custom).tolist()

    assert sample(1, drafter) == sample(1, drafter) == sample(1, seeahead.custom_generate("none"))
    assert sample(1, drafter) != sample(2, drafter)


def test_sampling_has_the_filters_of_generate():
    """With top_k = 1 or a tiny top_p nothing is left to draw."""
    model, inputs = tiny_model("llama"), tiny_inputs("llama")
    expected = generate(model, inputs)
    for settings in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        drawn = generate(model, inputs, do_sample=True, **settings, custom_generate=seeahead.custom_generate())
        assert torch.equal(drawn, expected)


class OddOnly(LogitsProcessor):
    """Forbids even tokens after odd ones: looks at the tokens so far."""

    def __call__(self, input_ids, scores):
        if int(input_ids[0, -1]) % 2:
            scores = scores.clone()
            scores[:, ::2] = -torch.inf
        return scores


class AfterToken(StoppingCriteria):
    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids[:, -1] == self.token


@pytest.mark.parametrize("model_type", ["llava", "qwen2_vl"])
def test_processors_criteria_and_limits_are_those_of_generate(model_type):
    family, inputs = tiny_family(model_type), tiny_inputs(model_type, 1)
    length = inputs.token_ids.shape[1]
    whole = generate(family.model, inputs)[0].tolist()
    later = next(token for token in whole[length + 3 :] if token not in whole[length : length + 3])
    for settings in (
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2},
        {"logits_processor": LogitsProcessorList([OddOnly()])},
        {"stopping_criteria": StoppingCriteriaList([AfterToken(later)])},
        {"eos_token_id": [later, 3]},
        {"max_new_tokens": 1},
        {"max_new_tokens": None, "max_length": length + 5},
        {"min_new_tokens": 10, "eos_token_id": later},
        {"bad_words_ids": [[later]]},
    ):
        expected = generate(family.model, inputs, **settings)
        truth = expected[0, length:].tolist()
        for drafter in ("lookup", ScriptedDrafter("sometimes", sometimes_right(truth)), SelfDrafter(family.executor)):
            ours = generate(family.model, inputs, custom_generate=seeahead.custom_generate(drafter), **settings)
            assert torch.equal(ours, expected), settings


def test_a_streamer_hears_every_token():
    model, inputs = tiny_model("llava"), tiny_inputs("llava", 1)
    truth = generate(model, inputs)[0].tolist()
    streamer = TextIteratorStreamer(tiny_tokenizer("llava"), skip_prompt=True, timeout=1)
    drafter = ScriptedDrafter("right", all_right(truth[inputs.token_ids.shape[1] :]))
    generate(model, inputs, custom_generate=seeahead.custom_generate(drafter, streamer))
    assert "".join(streamer) == tiny_tokenizer("llava").decode(truth[inputs.token_ids.shape[1] :])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_beams": 2}, "num_beams=2 is not supported: beam search"),
        (
            {"do_sample": True, "num_return_sequences": 2},
            "num_return_sequences=2 is not supported: one answer at a time",
        ),
        ({"return_dict_in_generate": True}, "return_dict_in_generate; allowed: plain token ids"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5 is not supported"),
    ],
)
def test_what_it_does_not_do_is_told(settings, told):
    with pytest.raises(InputError, match=told):
        generate(tiny_model("llama"), tiny_inputs("llama"), custom_generate=seeahead.custom_generate(), **settings)


def test_padding_and_filled_caches_are_refused():
    model, inputs = tiny_model("llama"), tiny_inputs("llama")
    mask = torch.ones_like(inputs.token_ids)
    mask[0, 0] = 0
    with pytest.raises(InputError, match="padding; allowed: a prompt without padding"):
        model.generate(
            inputs.token_ids, attention_mask=mask, max_new_tokens=4, custom_generate=seeahead.custom_generate()
        )
    cache = DynamicCache()
    argument = cache_argument(model.forward)
    model(inputs.token_ids[:, :4], **{argument: cache})
    assert cache.get_seq_length() == 4
    with pytest.raises(InputError, match="a filled cache; allowed: the whole prompt"):
        generate(model, inputs, **{argument: cache}, custom_generate=seeahead.custom_generate())


def test_one_loop_in_two_threads_answers_each_with_its_own_model():
    """The other thread binds its model while this one waits for a pass of its own."""
    loop, one, other = seeahead.custom_generate("none"), tiny_model("llama"), tiny_model("qwen3")
    prover, _ = loop._bound(one)
    found = []
    thread = Thread(target=lambda: found.append(loop._bound(one)))
    with prover.family.alone():
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        loop._bound(other)
    thread.join()
    assert found[0][0].family.given is one


def test_a_prompt_beyond_the_context_is_answered_as_generate_does():
    """Rotary positions have no end; learned ones do."""
    model, inputs = tiny_model("llama", max_position_embeddings=64), tiny_inputs("llama", num_words=80)
    expected = generate(model, inputs)
    assert generate(model, inputs, custom_generate=seeahead.custom_generate("lookup", self_check=False)).equal(expected)
