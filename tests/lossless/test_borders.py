"""Rotary positions that are scaled: where the factors change, how far the context reaches, two threads at once."""

from threading import Thread

import pytest
import torch

import seeahead
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.errors import InputError
from seeahead.families import family_for
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, SelfDrafter, answer, random_tree, tiny_inputs, tiny_model, tiny_processor
from tests.scripts import all_right, sometimes_right

ORIGINAL = 64
FACTORS = torch.linspace(1.0, 6.0, 8).tolist()
ROPES = {
    "longrope": {"short_factor": [1.0] * 8, "long_factor": FACTORS, "factor": 8.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0},
    "linear": {"factor": 4.0},
}


def scaled(model_type, kind, longest=256):
    rope = {"rope_type": kind, "rope_theta": 10000.0, "original_max_position_embeddings": ORIGINAL, **ROPES[kind]}
    return tiny_model(model_type, max_position_embeddings=longest, rope_parameters=rope)


def generate(model, inputs, num_tokens=24):
    mask = torch.ones_like(inputs.token_ids)
    output = model.generate(inputs.token_ids, attention_mask=mask, max_new_tokens=num_tokens, do_sample=False)
    return tuple(output[0, inputs.token_ids.shape[1] :].tolist())


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        *(("longrope", length) for length in (ORIGINAL - 12, ORIGINAL - 1, ORIGINAL, ORIGINAL + 5)),
        *(("dynamic", length) for length in (ORIGINAL - 12, ORIGINAL - 1)),
    ],
)
@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_no_step_crosses_the_border_where_factors_change(model_type, kind, length):
    longest = 256 if kind == "longrope" else ORIGINAL
    model, inputs = scaled(model_type, kind, longest), tiny_inputs(model_type, num_words=length)
    family, expected = family_for(model), generate(model, inputs)
    for drafter in (
        LookupDrafter(min_match=1),
        LanguageDrafter(Target.of(family)),
        ScriptedDrafter("tree", random_tree()),
        ScriptedDrafter("right", all_right(expected)),
        ScriptedDrafter("sometimes", sometimes_right(expected)),
        SelfDrafter(family.executor),
    ):
        assert answer(family, inputs, drafter).token_ids == expected
        ours = model.generate(
            inputs.token_ids,
            attention_mask=torch.ones_like(inputs.token_ids),
            max_new_tokens=24,
            do_sample=False,
            custom_generate=seeahead.custom_generate(drafter),
        )
        assert tuple(ours[0, length:].tolist()) == expected
    crossed = answer(family, inputs, ScriptedDrafter("right", all_right(expected)))
    if length < ORIGINAL - 1 or kind == "longrope":
        assert any(step.num_accepted for step in crossed.steps), "drafts are made on the sides of the border"


def test_a_prompt_whose_positions_depend_on_earlier_ones_is_refused():
    family = family_for(scaled("llama", "dynamic", ORIGINAL))
    with pytest.raises(InputError, match=f"has {ORIGINAL} tokens; from {ORIGINAL} on, its dynamic rotary"):
        answer(family, tiny_inputs("llama", num_words=ORIGINAL))


@pytest.mark.parametrize("kind", ["yarn", "linear"])
def test_the_context_reaches_as_far_as_scaled_positions_do(kind):
    """Qwen's recipe leaves max_position_embeddings at the original length."""
    model, inputs = scaled("qwen3", kind, ORIGINAL), tiny_inputs("qwen3", num_words=3 * ORIGINAL)
    expected = generate(model, inputs)
    made = answer(family_for(model), inputs, ScriptedDrafter("right", all_right(expected)))
    assert made.token_ids == expected
    engine = seeahead.load((model, tiny_processor("qwen3")))
    reply = engine.generate("one two " * 5, max_new_tokens=24)
    assert (len(reply.token_ids), reply.generation.finish_reason) == (24, "length")


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava"])
def test_two_answers_at_once_do_not_share_positions(model_type):
    """Prefills of unlike images interleaved at every pass: none may leave its shift on the model."""
    model = tiny_model(model_type)
    family = family_for(model)
    prompts = [tiny_inputs(model_type, number, seed=number) for number in (1, 2)]
    alone = [answer(family, inputs).token_ids for inputs in prompts]
    wrong = []

    def ask(number):
        for _ in range(6):
            if answer(family, prompts[number], LookupDrafter(min_match=1)).token_ids != alone[number]:
                wrong.append(number)

    threads = [Thread(target=ask, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_second_prefill_in_the_middle_of_an_answer_changes_nothing():
    """The schedule of two threads made certain: another prompt is prefilled right after ours."""
    model = tiny_model("qwen2_vl")
    family = family_for(model)
    inputs, other = tiny_inputs("qwen2_vl", 1), tiny_inputs("qwen2_vl", 2, seed=5)
    expected = answer(family, inputs).token_ids
    run = family.executor._run

    def interrupted(*given, **arguments):
        outputs = run(*given, **arguments)
        if "pixel_values" in arguments:
            model(other.token_ids, **other.extras)
        return outputs

    family.executor._run = interrupted
    assert answer(family, inputs, LookupDrafter(min_match=1)).token_ids == expected
