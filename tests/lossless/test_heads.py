"""Published drafters change no token of an answer, in any dialect: greedy, sampled, in a batch."""

from functools import cache

import pytest

from seeahead.decode import run, run_step, start
from seeahead.drafters.heads import HeadSpec
from seeahead.drafters.merged import MergedDrafter
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer
from tests.drafters.head_folders import write_head
from tests.lossless.cases import prompt, target
from tests.scripts import sometimes_right

LAYERS = 8
PAIRS = (
    ("msd llava", "llava"),
    ("msd qwen2_vl", "qwen2_vl"),
    ("eagle llava", "llava fused"),
    ("eagle qwen2_5_vl", "qwen2_5_vl"),
    ("vispec llava", "llava_next"),
    ("vispec qwen2_5_vl", "qwen2_5_vl"),
    ("vispec nemo", "llava"),
    ("eagle3 specforge", "qwen2_5_vl"),
    ("eagle3 angelslim", "qwen3_vl"),
    ("eagle3 speculators", "llava_next"),
    ("eagle3 newer", "llava fused"),
    ("eagle3 specforge 1-d", "qwen3_vl graphs"),
    ("eagle3 newer", "llava openvino"),
)
SAMPLED = SamplingParams(temperature=0.8, top_k=30, seed=5)


@cache
def own(model_type):
    return target(model_type, num_hidden_layers=LAYERS)


@pytest.fixture
def drafter(tmp_path, request):
    name, model_type = request.param
    settings = {"depth": 3, "width": 2, "num_nodes": 8, "min_probability": 0.0}
    spec = HeadSpec(source=write_head(name, tmp_path / "head"), probe=False, **settings)
    return spec.bind(Target.of(own(model_type))), model_type


@pytest.mark.parametrize("drafter", PAIRS, indirect=True, ids=" on ".join)
def test_a_published_drafter_changes_nothing(drafter):
    made, model_type = drafter
    counts = []
    for num_images, params in ((2, SamplingParams()), (0, SamplingParams()), (1, SAMPLED)):
        inputs = prompt(model_type, num_images)
        truth = answer(own(model_type), inputs, params=params)
        # A random head is right by chance alone: with another drafter's tokens it goes on from paths of several.
        knowing = ScriptedDrafter("sometimes right", sometimes_right(truth.token_ids), is_alone=False)
        drafted = answer(own(model_type), inputs, MergedDrafter((made, knowing), num_nodes=12), params=params)
        assert_same_answer(drafted, truth)
        counts += [(step.num_drafted, step.num_accepted) for step in drafted.steps]
    drafted, accepted = map(sum, zip(*counts))
    assert 0 < accepted < drafted, "drafts that are never right, or never wrong, prove little"
    assert max(number for _, number in counts) > 1


def asked(model_type, made, number):
    inputs = prompt(model_type, (2, 0, 1)[number], (8, 30, 12)[number])
    params = SamplingParams(temperature=(0.0, 0.9, 0.0)[number], seed=number)
    rule = StopRule((20, 9, 14)[number])
    model = own(model_type)
    sampler = Sampler(params, inputs.token_ids[0].tolist())
    return Request(model.executor, made, sampler, rule, model.image_token_ids).ask(inputs)


@pytest.mark.parametrize("drafter", PAIRS, indirect=True, ids=" on ".join)
def test_three_at_once_say_what_each_says_alone(drafter):
    made, model_type = drafter
    together = [asked(model_type, made, number) for number in range(3)]
    for _ in run(iter(together), 3):
        pass
    for number, request in enumerate(together):
        assert request.error is None
        alone = asked(model_type, made, number)
        plain = answer(
            own(model_type), alone.inputs, max_new_tokens=alone.stop.limit, params=request.sampler.params
        ).token_ids
        assert tuple(request.answer) == plain


@pytest.mark.parametrize("drafter", [("eagle3 angelslim", "qwen3_vl"), ("vispec llava", "llava_next")], indirect=True)
def test_a_step_without_a_draft_and_one_with_follow_each_other(drafter):
    """Tokens that came without a draft are read later, all at once."""
    made, model_type = drafter
    inputs = prompt(model_type, 2)
    truth = answer(own(model_type), inputs, max_new_tokens=20).token_ids
    request = asked(model_type, made, 0)
    start(request, request.inputs)
    number = 0
    while request.finish_reason is None:
        request.most_nodes = 0 if number % 3 < 2 else None
        run_step([request])
        number += 1
    assert tuple(request.answer) == truth
