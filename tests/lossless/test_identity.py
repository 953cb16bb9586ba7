"""Greedy, float32: with any drafter the answer is, token by token, the target's own, and that of transformers."""

from functools import cache

import pytest
import torch
from PIL import Image

from seeahead.api import Engine
from seeahead.drafters.none import EmptyDrafter
from seeahead.families import family_for
from seeahead.sampling import SamplingParams
from seeahead.target import Target
from seeahead.testing import answer, assert_same_answer, tiny_model, tiny_processor
from tests.lossless.cases import (
    DRAFTERS,
    FAMILIES,
    KINDS,
    NUM_TOKENS,
    OTHERS,
    WITH_EVERY_DRAFTER,
    image_counts,
    one_of_each_kind,
    plain,
    prompt,
    tabed,
    target,
)

# Above 1 what was said becomes less likely, below 1 more.
PENALTIES = (1.3, 0.7)


def generate(model_type, inputs, **settings):
    """The answer of transformers' own greedy loop."""
    output = target(model_type).model.generate(
        inputs.token_ids,
        attention_mask=torch.ones_like(inputs.token_ids),
        max_new_tokens=NUM_TOKENS,
        do_sample=False,
        **settings,
        **inputs.extras,
    )
    return tuple(output[0, inputs.token_ids.shape[1] :].tolist())


@pytest.mark.parametrize("model_type", FAMILIES)
def test_plain_is_what_transformers_generates(model_type):
    is_changed = False
    for num_images in image_counts(model_type):
        inputs, own = prompt(model_type, num_images), plain(model_type, num_images)
        assert own.token_ids == generate(model_type, inputs)
        assert len(set(own.token_ids)) > NUM_TOKENS // 3, "an answer of one repeated token proves nothing"
        for penalty in PENALTIES[: 1 if model_type in OTHERS else None]:
            params = SamplingParams(repetition_penalty=penalty)
            penalised = answer(target(model_type), inputs, max_new_tokens=NUM_TOKENS, params=params)
            assert penalised.token_ids == generate(model_type, inputs, repetition_penalty=penalty)
            is_changed |= penalised.token_ids != own.token_ids
    assert is_changed, "the penalty changed nothing, so it is not tested"


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("model_type", WITH_EVERY_DRAFTER)
def test_a_drafter_changes_nothing(model_type, drafter):
    family, counts = target(model_type), image_counts(model_type)
    for num_images in counts:
        inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
        whole = answer(family, inputs, DRAFTERS[drafter](family, truth.token_ids), max_new_tokens=NUM_TOKENS)
        assert_same_answer(whole, truth)

    # Where an answer ends hangs on the drafts and not on the images: pairs take turns with the numbers of these.
    turn = WITH_EVERY_DRAFTER.index(model_type) + list(DRAFTERS).index(drafter)
    num_images = counts[turn % len(counts)]
    inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
    drafting = DRAFTERS[drafter](family, truth.token_ids)

    # Limits inside a draft, right after one, and too small for any (budget 0).
    for limit in (1, 2, 3, 8):
        cut = answer(family, inputs, drafting, max_new_tokens=limit)
        assert (cut.token_ids, cut.finish_reason) == (truth.token_ids[:limit], "length")

    # The end token as first token, inside an accepted path, as bonus: every place of the first steps.
    for place in (index for index in range(8) if truth.token_ids.index(truth.token_ids[index]) == index):
        end = truth.token_ids[place]
        ended = answer(family, inputs, drafting, max_new_tokens=NUM_TOKENS, end_tokens=[end])
        assert (ended.token_ids, ended.finish_reason) == (truth.token_ids[: place + 1], "end")


@cache
def penalised(model_type):
    """The target's own answer to a prompt of one token under a penalty, and what that is."""
    params = SamplingParams(repetition_penalty=PENALTIES[FAMILIES.index(model_type) % len(PENALTIES)])
    return answer(target(model_type), prompt(model_type, 0, 1), params=params), params


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("model_type", WITH_EVERY_DRAFTER)
def test_one_token_prompt_and_a_penalty(model_type, drafter):
    family = target(model_type)
    inputs, truth = prompt(model_type, 0, 1), plain(model_type, 0, 1)
    assert inputs.token_ids.shape == (1, 1)
    drafting = DRAFTERS[drafter](family, truth.token_ids)
    assert_same_answer(answer(family, inputs, drafting, max_new_tokens=NUM_TOKENS), truth)

    alone, params = penalised(model_type)
    assert_same_answer(answer(family, inputs, DRAFTERS[drafter](family, alone.token_ids), params=params), alone)


@pytest.mark.parametrize("drafter", ["none", "lookup", "all right", "sometimes right"])
def test_every_end_token_that_the_model_names_ends_an_answer(drafter):
    """Through the engine, which reads the model's generation config; whichever of them comes first, as transformers."""
    model, processor = tiny_model("llama"), tiny_processor("llama")
    family = family_for(model, processor)
    truth = Engine(family, EmptyDrafter()).generate("What is 7?", max_new_tokens=NUM_TOKENS).token_ids
    engine = Engine(family, DRAFTERS[drafter](family, truth))
    never = next(token for token in range(100, 160) if token not in truth)
    for place in (index for index in range(6) if truth.index(truth[index]) == index):
        for ends in ([truth[place], never], [never, truth[place]], [truth[-1], never, truth[place]]):
            model.generation_config.eos_token_id = ends
            reply = engine.generate("What is 7?", max_new_tokens=NUM_TOKENS)
            first = min(truth.index(end) for end in ends if end in truth)
            assert reply.token_ids == truth[: first + 1]
            assert reply.generation.finish_reason == "end"


@pytest.mark.parametrize("model_type", OTHERS)
def test_a_drafter_of_every_kind_changes_nothing(model_type):
    family, num_images = target(model_type), image_counts(model_type)[0]
    inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
    for drafter in one_of_each_kind(model_type):
        drafting = DRAFTERS[drafter](family, truth.token_ids)
        assert_same_answer(answer(family, inputs, drafting, max_new_tokens=NUM_TOKENS), truth)
    drafting = DRAFTERS["sometimes right"](family, truth.token_ids)
    for limit in (1, 3):
        cut = answer(family, inputs, drafting, max_new_tokens=limit)
        assert (cut.token_ids, cut.finish_reason) == (truth.token_ids[:limit], "length")
    end = truth.token_ids[4]
    ended = answer(family, inputs, drafting, max_new_tokens=NUM_TOKENS, end_tokens=[end])
    assert (ended.token_ids, ended.finish_reason) == (truth.token_ids[: truth.token_ids.index(end) + 1], "end")
    words, truth = prompt(model_type, 0, 1), plain(model_type, 0, 1)
    drafting = DRAFTERS["sometimes right"](family, truth.token_ids)
    assert_same_answer(answer(family, words, drafting, max_new_tokens=NUM_TOKENS), truth)


def test_every_drafter_meets_some_of_the_families_tested_briefly():
    assert sorted(name for kind in KINDS for name in kind) == sorted(DRAFTERS)
    assert {name for model_type in OTHERS for name in one_of_each_kind(model_type)} == set(DRAFTERS)


@pytest.mark.parametrize("model_type", WITH_EVERY_DRAFTER)
def test_drafters_are_what_their_names_say(model_type):
    """Without this, a matrix of drafts that are never accepted would prove little."""
    family, num_images = target(model_type), image_counts(model_type)[0]
    inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)

    def accepted(drafter):
        steps = answer(family, inputs, DRAFTERS[drafter](family, truth.token_ids), max_new_tokens=NUM_TOKENS).steps
        return sum(step.num_accepted for step in steps), sum(step.num_drafted for step in steps)

    right, drafted = accepted("all right")
    assert right == drafted == 20 - 1
    assert accepted("all wrong")[0] == 0
    some, drafted = accepted("sometimes right")
    assert 0 < some < drafted
    assert accepted("random tree")[1] > 50


@pytest.mark.parametrize("model_type", FAMILIES)
def test_sampled_answers_of_fixed_drafts_are_those_of_the_target_alone(model_type):
    family, inputs = target(model_type), prompt(model_type, image_counts(model_type)[0])
    params = SamplingParams(temperature=0.8, top_k=30, top_p=0.95, seed=5)
    alone = answer(family, inputs, params=params)
    drafters = ("random tree", "sometimes right", "lookup", "language", "all right")
    for drafter in drafters[: 2 if model_type in OTHERS else None]:
        drafted = answer(family, inputs, DRAFTERS[drafter](family, alone.token_ids), params=params)
        assert_same_answer(drafted, alone)
    other = answer(family, inputs, params=SamplingParams(temperature=0.8, top_k=30, top_p=0.95, seed=6))
    assert other.token_ids != alone.token_ids


@pytest.mark.parametrize("drafter", [name for name in DRAFTERS if name != "none"])
def test_drafts_are_made_and_some_are_right(drafter):
    """Otherwise the tests above would be about plain decoding."""
    made = [
        answer(family, prompt(model_type, 1), DRAFTERS[drafter](family, truth.token_ids), max_new_tokens=NUM_TOKENS)
        for model_type in ("llava", "smolvlm")
        for family, truth in [(target(model_type), plain(model_type, 1))]
    ]
    assert all(sum(step.num_drafted for step in one.steps) > 0 for one in made)
    if drafter not in ("all wrong", "random chain", "random tree"):
        assert any(step.num_accepted for one in made for step in one.steps)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("rule", ["static", "grid"])
def test_four_views_of_a_prompt_with_captions_change_no_token(rule, temperature):
    """Through the engine, since captions come with the prompt."""
    family = family_for(tiny_model("llava"), tiny_processor("llava"))
    picture = Image.new("RGB", (30, 30), "red")
    asked = {"max_new_tokens": NUM_TOKENS, "temperature": temperature, "seed": 3}
    question = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is 7?"}]},
        {"role": "assistant", "content": "It is red."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "And 8?"}]},
    ]
    alone = Engine(family, EmptyDrafter()).generate(question, [picture] * 2, **asked)
    drafter = tabed(family.width, "MTCP", rule=rule, target=Target.of(family))
    drafted = Engine(family, drafter).generate(question, [picture] * 2, captions=["What", "is that"], **asked)
    assert drafted.token_ids == alone.token_ids
    assert sum(step.num_drafted for step in drafted.steps) > 0
