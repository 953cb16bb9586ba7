"""Several requests at once, joining and leaving at different steps: each answer is the one that it gets alone."""

from functools import cache
from itertools import zip_longest

import pytest
import torch
from PIL import Image

from seeahead.api import Engine
from seeahead.decode import Batch, run
from seeahead.drafters.none import EmptyDrafter
from seeahead.errors import InputError, ModelError
from seeahead.executor import ModelInputs
from seeahead.executors import packing
from seeahead.families import family_for
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import tiny_model, tiny_processor
from seeahead.tree import Draft, TokenTree
from tests.lossless.cases import DRAFTERS, FAMILIES, image_counts, plain, prompt, target
from tests.lossless.test_distribution import (
    DRAWN,
    ENSEMBLES,
    FIXED,
    NUM_SAMPLES,
    PROMPT,
    SETTINGS,
    TARGET,
    assert_distributed,
    expected,
)
from tests.one_request import start, steps

# (words, images, temperature, drafter, most tokens): rows of a pass have little in common.
REQUESTS = (
    (5, 0, 0.0, "lookup", 16),
    (440, 1, 0.0, "msd", 9),
    (12, 5, 0.8, "sometimes right", 20),
    (40, 0, 1.2, "tabed", 12),
    (8, 2, 0.0, "none", 3),
    (9, 3, 0.7, "language", 14),
    (100, 0, 0.0, "vision", 10),
    (20, 1, 0.0, "random tree", 18),
)


def asked(family, number, shared=None):
    """Request `number`, ready to take part; with a drafter of its own, unless one is `shared`."""
    num_words, num_images, temperature, drafter, limit = REQUESTS[number]
    sees = len(image_counts(family)) > 1 or image_counts(family)[0] > 0
    inputs = prompt(family, num_images if sees else 0, num_words)
    model = target(family)
    knows = drafter == "sometimes right"
    truth = plain(family, num_images if sees else 0, num_words).token_ids if knows else ()
    params = SamplingParams(temperature, seed=number)
    drafting = shared or DRAFTERS[drafter](model, truth)
    sampler = Sampler(params, inputs.token_ids[0].tolist())
    return Request(model.executor, drafting, sampler, StopRule(limit), model.image_token_ids).ask(inputs)


@cache
def alone(family, number):
    request = asked(family, number)
    start(request, request.inputs)
    for _ in steps(request):
        pass
    return tuple(request.answer), request.finish_reason


# Requests join and leave all the time where three are under way at once.
BATCHES = [(family, 8) for family in FAMILIES] + [
    (family, 3) for family in ("qwen2_vl", "gemma3", "llama", "llava fused")
]


@pytest.mark.parametrize(("family", "num_at_once"), BATCHES)
def test_each_request_of_a_batch_says_what_it_says_alone(family, num_at_once):
    order = range(len(REQUESTS)) if num_at_once == 8 else (3, 6, 1, 0, 7, 4, 2, 5)
    requests = [asked(family, number) for number in order]
    sizes = {id(request): 0 for request in requests}
    for request, step in run(iter(requests), num_at_once):
        sizes[id(request)] += step is not None
    for number, request in zip(order, requests, strict=True):
        assert (tuple(request.answer), request.finish_reason) == alone(family, number), f"request {number}"
    assert len(set(sizes.values())) > 2, "all requests had as many steps: nobody left early"
    assert getattr(target(family).executor, "can_pack", True) is not False, "the requests did not share passes"


@pytest.mark.parametrize("family", ["llava", "llava fused", "llava openvino", "gemma3 openvino", "gemma3 graphs"])
def test_requests_that_are_dropped_or_come_late_change_no_other_answer(family):
    """Dropped while they answer, and while their prompts are read; the places of their tokens go to others."""
    stay = [asked(family, number) for number in range(len(REQUESTS))]
    leave = [asked(family, number) for number in (2, 1, 7, 3, 5, 1)]
    coming = [one for pair in zip_longest(leave, stay) for one in pair if one is not None]
    batch, had = Batch(48, cuts=True), []
    while coming or batch.requests:
        for one in coming[:2]:
            batch.join(one)
        del coming[:2]
        list(batch.step())
        going = [one for one in batch.requests if one in leave and (len(had) % 2 == 0 or len(one.answer) > 1)]
        for one in going[:1]:
            had.append(len(one.answer))
            one.fail(InputError("the client has gone away"))
    for number, request in enumerate(stay):
        assert (tuple(request.answer), request.finish_reason) == alone(family, number), f"request {number}"
    assert {request.finish_reason for request in leave} == {"error"}
    assert min(had) == 0 < max(had)
    assert getattr(target(family).executor, "can_pack", True) is not False, "the requests did not share passes"


@pytest.mark.parametrize("num_at_once", [3, 8])
@pytest.mark.parametrize("drafter", ["auto", "auto, three", "auto, five"])
@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3", "llama", "llava openvino", "llava graphs"])
def test_each_request_says_what_it_says_alone_where_one_drafter_decides_over_all(family, drafter, num_at_once):
    shared = DRAFTERS[drafter](target(family), plain(family, 0, 5).token_ids)
    requests = [asked(family, number, shared) for number in range(len(REQUESTS))]
    num_drafted = 0
    for request, step in run(iter(requests), num_at_once):
        num_drafted += 0 if step is None else step.num_drafted
        assert request.error is None
    for number, request in enumerate(requests):
        assert (tuple(request.answer), request.finish_reason) == alone(family, number), f"request {number}"
    assert num_drafted > len(requests)


def test_requests_that_draft_with_one_model_share_its_passes(monkeypatch):
    family, calls = target("llava"), []
    drafting = DRAFTERS["language, trimmed"](family, ())
    executor = drafting.language.executor
    forward = executor.forward
    monkeypatch.setattr(executor, "forward", lambda trees, want: calls.append(len(trees)) or forward(trees, want))
    requests = []
    for words in (5, 9, 30):
        request = Request(
            family.executor, drafting, Sampler(SamplingParams(), ()), StopRule(12), family.image_token_ids
        )
        start(request, prompt("llava", 0, words))
        requests.append(request)
    for _ in run(iter(requests), 3):
        pass
    assert calls.count(3) > 3


class Greedy(EmptyDrafter):
    """Drafts more than it is asked for."""

    name: str = "greedy"

    def propose(self, budget):
        return Draft(TokenTree.chain([20] * (budget + 1)))


def test_one_that_fails_takes_no_other_with_it():
    """Not a number in one request's rows, a drafter over its budget, and one that is closed half way."""
    model = tiny_model("llava")
    with torch.no_grad():
        model.get_input_embeddings().weight[150] = torch.nan
    family = family_for(model)

    def request(tokens, drafter, limit):
        made = Request(family.executor, drafter, Sampler(SamplingParams(), ()), StopRule(limit), frozenset())
        start(made, ModelInputs(torch.tensor([tokens])))
        return made

    well = [20, 30, 40, 50, 60]
    single = request(well, EmptyDrafter(), 12)
    list(steps(single))
    bad = request(well, EmptyDrafter(), 12)
    bad.answer[-1] = 150  # the next token that it reads
    greedy, good = request(well, Greedy(), 4), request(well, EmptyDrafter(), 12)
    unread = Request(family.executor, EmptyDrafter(), Sampler(SamplingParams(), ()), StopRule(4), frozenset())
    unread.ask(ModelInputs(torch.tensor([[20, 150]])))
    for one, _ in run(iter([bad, unread, greedy, good]), 4):
        if one is good and len(good.answer) == 6:
            assert bad.finish_reason == greedy.finish_reason == "error"
    assert good.answer == single.answer
    assert good.error is None
    assert isinstance(bad.error, ModelError)
    assert isinstance(unread.error, ModelError)
    assert unread.answer == []
    assert "budget" in str(greedy.error)


def test_generate_batch_answers_as_generate_does():
    family = family_for(tiny_model("llava"), tiny_processor("llava"))
    engine = Engine(family, DRAFTERS["lookup"](family, ()))
    red, blue = Image.new("RGB", (30, 30), "red"), Image.new("RGB", (30, 30), "blue")
    asked = [
        {"prompt": "What is 7?", "max_new_tokens": 20, "temperature": 0},
        {"prompt": "And this?", "images": [red, blue], "max_new_tokens": 9, "temperature": 0.9, "seed": 4},
        {"prompt": "It is red.", "images": red, "max_new_tokens": 5, "drafter": "none", "temperature": 0},
        {"prompt": "What is 7?", "max_new_tokens": 20, "temperature": 0, "stop": ["e", "a"]},
    ]
    wrong = [
        {"prompt": "What?", "images": b"no image"},
        {"prompt": "What?", "tempratur": 1},
        {"images": red},
        {"prompt": "What?", "drafter": "lokup"},
    ]
    mixed = [one for pair in zip(asked, wrong, strict=True) for one in pair]
    replies = engine.generate_batch(mixed, num_at_once=3)
    for request, reply in zip(asked, replies[::2], strict=True):
        settings = {name: value for name, value in request.items() if name not in ("prompt", "images", "drafter")}
        one = engine.with_drafter(request.get("drafter", "lookup"))
        single = one.generate(request["prompt"], request.get("images"), **settings)
        assert (reply.text, reply.token_ids) == (single.text, single.token_ids)
        assert reply.error is None
        assert reply.generation.finish_reason == single.generation.finish_reason
    for reply in replies[1::2]:
        assert reply.error is not None
        assert (reply.text, reply.token_ids) == ("", ())
    pieces = [(number, piece) for number, piece in engine.stream_batch(asked, num_at_once=2)]
    for number, reply in enumerate(replies[::2]):
        assert "".join(piece.text for at, piece in pieces if at == number) == reply.text


DRAWING = ("drawn chain", "unlike siblings", "drawn beside fixed", "3 members, grid")


@pytest.mark.parametrize("drafter", [*DRAWING, "auto", "auto, three", "auto, five"])
def test_the_distribution_is_the_targets_inside_a_batch(drafter):
    """Eight at a time, among requests with other drafters and settings."""
    made, params = {**FIXED, **DRAWN, **ENSEMBLES}[drafter], SETTINGS["temperature"]
    decides_over_all = None if drafter in DRAWING else made(0)
    others = [FIXED["lookup"], FIXED["random tree"], DRAWN["mixture"], lambda seed: EmptyDrafter()]

    def request(drafting, settings, seed):
        sampler = Sampler(SamplingParams(**{**vars(settings), "seed": seed}), PROMPT)
        one = Request(Target.of(TARGET).executor, drafting, sampler, StopRule(3 + seed % 5))
        return one.ask(ModelInputs(torch.tensor([PROMPT])))

    wanted = [request(decides_over_all or made(seed + 10**6), params, seed) for seed in range(NUM_SAMPLES)]
    besides = [request(others[seed % 4](seed), SETTINGS["all"], seed) for seed in range(NUM_SAMPLES // 3)]
    joining = [
        one for place, one in enumerate(wanted) for one in ([one, besides[place // 3]] if place % 3 == 0 else [one])
    ]
    for _ in run(iter(joining), 8):
        pass
    assert_distributed([tuple(one.answer[:3]) for one in wanted], expected("temperature"))


def test_a_model_that_says_something_else_in_a_shared_pass_runs_its_requests_one_by_one(monkeypatch):
    attend = packing._attend
    monkeypatch.setattr(packing, "_attend", lambda *args, **more: (attend(*args, **more)[0] * 1.5, None))
    family = family_for(tiny_model("llava", 3), tiny_processor("llava"))
    engine = Engine(family, EmptyDrafter())
    asked = [{"prompt": text, "max_new_tokens": 8, "temperature": 0} for text in ("What is 7?", "It is red.")]
    replies = engine.generate_batch(asked)
    assert family.executor.can_pack is False
    assert [reply.text for reply in replies] == [engine.generate(**one).text for one in asked]
