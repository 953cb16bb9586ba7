"""Rotary positions that are scaled: where the factors change, how far the context reaches, two threads at once."""

from threading import Thread
from types import SimpleNamespace

import pytest
import torch

import seeahead
from seeahead.decode import Batch
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.errors import InputError, ModelError
from seeahead.executors.exact import exact_executor
from seeahead.executors.graphs import GraphsExecutor
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.executors.reading import language_inputs
from seeahead.executors.transformers import TransformersExecutor
from seeahead.families import family_for
from seeahead.families.inspection import context_of
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
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


def side_by_side(ask, number):
    """Calls `ask` with 0, 1, … in a thread each, and waits for all."""
    threads = [Thread(target=ask, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


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


@pytest.mark.parametrize(
    ("ropes", "reach"),
    [
        ({"rope_type": "llama3", "factor": 32.0, "original_max_position_embeddings": 8192}, 131_072),
        (
            {"full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {"rope_type": "default"}},
            131_072,
        ),
        ({"rope_type": "linear", "factor": 8.0}, 1_048_576),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}, 131_072),
    ],
)
def test_a_context_that_is_stated_scaled_is_not_scaled_again(ropes, reach):
    """Llama 3.2 and Gemma 3 state what they reach."""
    assert context_of(SimpleNamespace(max_position_embeddings=131_072, rope_parameters=ropes)) == reach


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

    side_by_side(ask, 2)
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


def executors(family):
    yield "transformers", TransformersExecutor(family)
    yield "graphs", GraphsExecutor(family)
    yield "exact", exact_executor(family)


def together(executor, prompts, drafter, num_tokens=24, **settings):
    """Answers of requests that share steps, which are read as a server reads them."""
    rules = [(Sampler(SamplingParams(), ()), StopRule(num_tokens)) for _ in prompts]
    asked = [Request(executor, drafter, *rule).ask(inputs) for rule, inputs in zip(rules, prompts, strict=True)]
    batch = Batch(**settings)
    for request in asked:
        batch.join(request)
    while batch.requests:
        for request, _ in batch.step():
            request.check()
    return [tuple(request.answer) for request in asked]


@pytest.mark.parametrize(
    ("kind", "lengths"), [("longrope", (ORIGINAL + 6, 10)), ("longrope", (ORIGINAL - 9, 12)), ("dynamic", (50, 57))]
)
@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_answers_on_both_sides_of_a_border_do_not_share_factors(model_type, kind, lengths):
    model = scaled(model_type, kind, 256 if kind == "longrope" else ORIGINAL)
    prompts = [tiny_inputs(model_type, num_words=length, seed=length) for length in lengths]
    expected = [generate(model, inputs) for inputs in prompts]
    for name, executor in executors(family_for(model)):
        for drafter in (EmptyDrafter(), LookupDrafter(min_match=1), ScriptedDrafter("tree", random_tree())):
            assert together(executor, prompts, drafter) == expected, (name, drafter.name)


def test_a_prompt_over_the_border_is_read_at_once_by_every_executor(monkeypatch):
    monkeypatch.setattr(GraphsExecutor, "most_read", 32)
    model, inputs = scaled("llama", "longrope"), tiny_inputs("llama", num_words=ORIGINAL + 6)
    expected = [generate(model, inputs)]
    for name, executor in executors(family_for(model)):
        assert together(executor, [inputs], EmptyDrafter()) == expected, name
        assert together(executor, [inputs], EmptyDrafter(), prompt_tokens=48, cuts=True) == expected, name


def test_openvino_refuses_factors_that_change():
    for kind in ("longrope", "dynamic"):
        with pytest.raises(ModelError, match="its rotary factors change along a text; use executor transformers"):
            OpenVinoExecutor(family_for(scaled("llama", kind, ORIGINAL)))


@pytest.mark.parametrize("make", [GraphsExecutor, exact_executor])
def test_answers_of_several_threads_keep_their_keys(make):
    family = family_for(tiny_model("llama"))
    family.executor = make(family)
    prompts = [tiny_inputs("llama", num_words=length, seed=length) for length in (5, 40, 300)]
    alone, wrong = [answer(family, inputs).token_ids for inputs in prompts], []

    def ask(number):
        for seed in range(4):
            drafter = ScriptedDrafter("tree", random_tree(), seed=seed)
            try:
                if answer(family, prompts[number], drafter).token_ids != alone[number]:
                    wrong.append(number)
            except Exception as error:  # noqa: BLE001 - of a thread, which nobody would see
                wrong.append(error)

    side_by_side(ask, len(prompts))
    assert not wrong


def test_nothing_hangs_on_the_model_while_another_pass_runs():
    family = family_for(model := tiny_model("llama"))
    decoder, found = model.get_decoder(), []
    thread = Thread(target=lambda: found.append(language_inputs(family, tiny_inputs("llama"))))
    with family.alone():
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert not decoder._forward_pre_hooks
    thread.join()
    assert len(found) == 1
    assert not decoder._forward_pre_hooks


def test_the_users_own_passes_are_not_stopped_while_a_prompt_is_read():
    family = family_for(model := tiny_model("llama"))
    decoder, inputs, own = model.get_decoder(), tiny_inputs("llama"), []

    def between(module, args, kwargs):
        """Another thread's pass, while the hook that stops ours is there."""
        if not own:
            own.append(None)
            thread = Thread(target=lambda: own.append(model(inputs.token_ids).logits.shape[1]))
            thread.start()
            thread.join()

    handle = decoder.register_forward_pre_hook(between, with_kwargs=True)
    found = language_inputs(family, inputs)
    handle.remove()
    assert own == [None, inputs.length]
    assert found.embeddings.shape[1] == inputs.length
