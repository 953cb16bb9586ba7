"""A vision-language model as drafter: it sees what its target sees, and changes no token."""

from functools import cache

import pytest
import torch
from PIL import Image

from seeahead.decode import run
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.tabed import ViewsDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vlm import VlmDrafter
from seeahead.families import family_for
from seeahead.prompt import Message, Prompt
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import VISION_FAMILIES, answer, assert_same_answer, tiny_family, tiny_inputs, tiny_model
from tests.families.processors import SQUARE, WIDE, processor_or_skip
from tests.lossless.cases import WIDE as WIDE_TREES
from tests.lossless.test_distribution import assert_distributed

CHAIN = TreeLimits(4, 1, 4, 0.0)
RED = Image.new("RGB", (30, 30), "red")
ONE = Prompt((Message("user", (SQUARE, "What is 7?")),), ("a square",))
FIVE = Prompt((Message("user", (SQUARE, WIDE, "And", RED, SQUARE, RED, "this?")),), tuple("abcde"))
TURNS = Prompt(
    (Message("user", (WIDE, "What is 7?")), Message("assistant", ("It is 3.",)), Message("user", (RED, "And 8?"))),
    ("wide", "red"),
)
TEXT = Prompt((Message("user", ("What is 7?",)),))
PROMPTS = {"one image": ONE, "five images": FIVE, "two turns": TURNS, "text": TEXT}


@cache
def family(model_type, seed=0):
    return family_for(tiny_model(model_type, seed), processor_or_skip(model_type))


def vlm(model_type, seed=7, **settings):
    """Another model of the same family; seed 0 is the target itself."""
    target = Target.of(family(model_type))
    return VlmDrafter.beside(Target.of(family(model_type, seed)), target, **{"limits": WIDE_TREES, **settings})


def views(model_type, letters, seed=7, **settings):
    target = Target.of(family(model_type))
    shown = ViewsDrafter(drafter=vlm(model_type, seed), views=letters, pooled=1, target=target)
    return EnsembleDrafter((shown,), **{"limits": WIDE_TREES, **settings})


def asked(model_type, prompt, drafter, params=None, limit=16):
    target = family(model_type)
    inputs = target.encode(prompt)
    sampler = Sampler(params or SamplingParams(), inputs.token_ids[0].tolist())
    request = Request(target.executor, drafter, sampler, StopRule(limit), target.image_token_ids)
    return request.ask(inputs, prompt)


def answered(*requests):
    """Their answers, `requests` at once."""
    for _ in run(iter(requests), len(requests)):
        pass
    for request in requests:
        if request.error is not None:
            raise request.error
    return [tuple(request.answer) for request in requests]


@cache
def plain(model_type, name, params=None):
    [answer] = answered(asked(model_type, PROMPTS[name], EmptyDrafter(), params))
    return answer


def refused(request):
    """Steps that refused a token, but for those whose target said what stands for an image, which is never drafted."""
    steps = [step for step in request.records if step.emitted[-1] not in request.image_token_ids]
    return [step for step in steps if step.num_accepted < step.num_drafted]


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_the_target_as_its_own_drafter_accepts_every_token(model_type):
    """It encodes each prompt anew; all are under way at once."""
    requests = [asked(model_type, prompt, vlm(model_type, 0, limits=CHAIN)) for prompt in PROMPTS.values()]
    assert answered(*requests) == [plain(model_type, name) for name in PROMPTS]
    for request in requests:
        assert not refused(request)
        assert len(request.records[-2].emitted) == 5


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_inputs_alone_are_enough_where_the_drafter_reads_the_same(model_type):
    """Without a processor: of Pixtral's there is none without torchvision."""
    target = Target.of(tiny_family(model_type))
    itself = VlmDrafter.beside(Target.of(tiny_family(model_type)), target, limits=CHAIN)
    other = VlmDrafter.beside(Target.of(tiny_family(model_type, 7)), target, limits=WIDE_TREES)
    for num_images in (5, 0):
        inputs = tiny_inputs(model_type, num_images)
        truth = answer(target, inputs, max_new_tokens=16)
        seeing = answer(target, inputs, itself, max_new_tokens=16)
        assert [step.num_accepted for step in seeing.steps] == [4, 4, 4]
        for drafted in (seeing, answer(target, inputs, other, max_new_tokens=16)):
            assert_same_answer(drafted, truth)


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_another_model_of_the_family_changes_no_token(model_type):
    """Alone; in views; three at once, each with another prompt."""
    for name in ("five images", "two turns"):
        assert answered(asked(model_type, PROMPTS[name], vlm(model_type))) == [plain(model_type, name)]
    in_views = views(model_type, "MTC")
    names = ("one image", "two turns", "five images")
    for drafter in (vlm(model_type), in_views):
        requests = [asked(model_type, PROMPTS[name], drafter) for name in names]
        assert answered(*requests) == [plain(model_type, name) for name in names]
        assert all(step.num_drafted for request in requests for step in request.records[:2])


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_sampled_answers_of_fixed_drafts_are_those_of_the_target_alone(model_type):
    params = SamplingParams(temperature=0.8, top_k=30, seed=5)
    for drafter in (vlm(model_type), views(model_type, "MT")):
        assert answered(asked(model_type, TURNS, drafter, params)) == [plain(model_type, "two turns", params)]


NUM_SAMPLES = 300


def following(model_type, prompt, said):
    """Probability of each token after the answer `said`, by a fresh prefill of everything."""
    target = family(model_type)
    inputs = target.encode(prompt).extended(said, target.answer_type)
    logits = Session(target.executor, inputs.length + 1).prefill(inputs).logits[-1].double()
    best = logits.topk(3)
    return dict(zip(best.indices.tolist(), best.values.softmax(-1).tolist(), strict=True))


@cache
def expected(model_type):
    """Of the first three tokens of an answer, with the three likeliest at each place."""
    found = {(): 1.0}
    for _ in range(3):
        found = {
            (*said, token): share * own
            for said, share in found.items()
            for token, own in following(model_type, ONE, said).items()
        }
    return found


def cousin(model_type):
    """A model that is often right, and never sure of the same: the target's weights with some of another's."""
    model, other = tiny_model(model_type), tiny_model(model_type, 7)
    with torch.no_grad():
        for own, theirs in zip(model.parameters(), other.parameters(), strict=True):
            own.lerp_(theirs, 0.05)
    return Target.of(family_for(model, processor_or_skip(model_type)))


@pytest.mark.parametrize(("model_type", "letters"), [("llava", "MT"), ("qwen2_5_vl", "")])
def test_drawn_drafts_have_the_targets_distribution(model_type, letters):
    drawing, target = {"draws": True, "limits": TreeLimits(3, 1, 3, 0.0)}, Target.of(family(model_type))
    drafter = VlmDrafter.beside(cousin(model_type), target, **drawing)
    if letters:
        drafter = EnsembleDrafter((ViewsDrafter(drafter=drafter, views=letters, target=target),), **drawing)
    requests = [
        asked(model_type, ONE, drafter, SamplingParams(temperature=1.0, top_k=3, seed=seed), limit=5)
        for seed in range(NUM_SAMPLES)
    ]
    for _ in run(iter(requests), 16):
        pass
    first = [request.records[0] for request in requests]
    assert 0.2 < sum(step.num_accepted for step in first) / sum(step.num_drafted for step in first) < 0.9
    assert_distributed([tuple(request.answer[:3]) for request in requests], expected(model_type))
