"""A vision-language model as drafter: it sees what its target sees, and changes no token."""

from functools import cache

import pytest
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
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import VISION_FAMILIES, tiny_model
from tests.families.processors import SQUARE, WIDE, processor_or_skip
from tests.lossless.cases import WIDE as WIDE_TREES

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
    return EnsembleDrafter((shown,), limits=WIDE_TREES, **settings)


def asked(model_type, prompt, drafter, params=None, is_known=True, limit=16):
    target = family(model_type)
    inputs = target.encode(prompt)
    sampler = Sampler(params or SamplingParams(), inputs.token_ids[0].tolist())
    request = Request(target.executor, drafter, sampler, StopRule(limit), target.image_token_ids)
    return request.ask(inputs, prompt if is_known else None)


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
@pytest.mark.parametrize("is_known", [True, False])
def test_the_target_as_its_own_drafter_accepts_every_token(model_type, is_known):
    """With the prompt, which is encoded anew, or by the target's own inputs alone."""
    requests = [
        asked(model_type, prompt, vlm(model_type, 0, limits=CHAIN), is_known=is_known) for prompt in PROMPTS.values()
    ]
    assert answered(*requests) == [plain(model_type, name) for name in PROMPTS]
    for request in requests:
        assert not refused(request)
        assert len(request.records[-2].emitted) == 5


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
