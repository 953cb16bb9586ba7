"""Published drafters change no token of an answer, in any dialect: greedy, sampled, in a batch."""

from functools import cache

import pytest
import torch

from seeahead.decode import run, run_step
from seeahead.drafters.dialects import TargetFacts
from seeahead.drafters.features import FeatureDrafter
from seeahead.drafters.head_networks import spoken
from seeahead.drafters.heads import HeadSpec
from seeahead.drafters.published import read_published
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.executor import ModelInputs
from seeahead.executors.linear import linear
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer
from tests.drafters.head_folders import WIDTH, config_of, write_head
from tests.lossless.cases import prompt, target
from tests.lossless.test_distribution import PROMPT, assert_distributed
from tests.one_request import start
from tests.scripts import Both, sometimes_right

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
        drafted = answer(own(model_type), inputs, Both(made, knowing), params=params)
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


# ---- drawn drafts: the distribution of the first three tokens of an answer, on a target of six tokens

SMALL, NUM_SAMPLES, HOT = 6, 500, SamplingParams(temperature=0.8)


@cache
def small_target():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        decoder = Llama(LlamaShape(SMALL, WIDTH, 96, 3, 4, 2, 16, 256, tie_word_embeddings=False)).eval()
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return Target(decoder)


@cache
def expected_triples():
    def following(tokens):
        logits = Session(small_target().executor, 9).prefill(ModelInputs(torch.tensor([[*PROMPT, *tokens]]))).logits[-1]
        return (logits.double() / HOT.temperature).softmax(-1).tolist()

    first = following(())
    found = {}
    for one in range(SMALL):
        second = following((one,))
        for two in range(SMALL):
            third = following((one, two))
            found |= {(one, two, three): first[one] * second[two] * third[three] for three in range(SMALL)}
    return found


@pytest.mark.parametrize("name", ["eagle3 specforge", "vispec llava", "msd llava"])
def test_drawn_drafts_leave_the_targets_distribution(name, tmp_path):
    folder = write_head(name, tmp_path)
    found = read_published(folder, config_of(name), TargetFacts(3), WIDTH)
    network = spoken(found.network.float().eval(), found.choice.first)
    head = linear(torch.randn(SMALL, WIDTH, generator=torch.Generator().manual_seed(1)) * 0.1)
    ready = network.decoder.for_head(head)
    made = FeatureDrafter.on(small_target(), network, None, ready, name="head", limits=TreeLimits(depth=3), draws=True)
    samples = []
    for seed in range(NUM_SAMPLES):
        params = SamplingParams(temperature=HOT.temperature, seed=seed)
        # Answers go on, so that no draft is cut short by a limit.
        request = Request(small_target().executor, made, Sampler(params, PROMPT), StopRule(12))
        start(request, ModelInputs(torch.tensor([PROMPT])))
        while len(request.answer) < 3:
            run_step([request])
        samples.append(tuple(request.answer[:3]))
    assert_distributed(samples, expected_triples())
