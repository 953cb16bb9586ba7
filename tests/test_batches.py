"""Many answers at a time: each is what its request alone gets, whoever drafts, whenever it joins, whoever fails."""

from dataclasses import replace
from itertools import count

import pytest
from PIL import Image

import seeahead
from seeahead.decode import run, run_step
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.spec import DrafterSpec
from seeahead.errors import DrafterError, FaultError, InputError
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, answer, random_tree, tiny_model, tiny_processor
from seeahead.tree import Draft, TokenTree
from tests.lossless.cases import DRAFTERS, WIDE, image_counts, language, msd, prompt, tabed, target
from tests.one_request import start, steps
from tests.scripts import sometimes_right

PICTURE = Image.new("RGB", (30, 30), "red")
PROMPTS = ((0, 8), (1, 8), (0, 3), (1, 12), (0, 20), (2, 9))
LENGTHS = (12, 5, 1, 20, 9, 16)


def inputs_of(model_type):
    most = image_counts(model_type)[0]
    return [prompt(model_type, min(images, most), words) for images, words in PROMPTS]


def request(family, inputs, drafter, length, params=None, **rules):
    sampler = Sampler(params or SamplingParams(), inputs.token_ids[0].tolist())
    return Request(family.executor, drafter, sampler, StopRule(length, **rules), family.image_token_ids).ask(inputs)


def drafters(family):
    """One for each prompt; the language model is the same for two of them, and so are its passes."""
    shared = language()
    return [
        LookupDrafter(min_match=1),
        shared,
        EmptyDrafter(),
        msd(family),
        shared,
        ScriptedDrafter("tree", random_tree()),
    ]


@pytest.mark.parametrize("num_at_once", [1, 2, 4, 8])
@pytest.mark.parametrize("model_type", ["llava", "qwen2_vl", "gemma3", "llava fused"])
def test_answers_are_those_of_each_request_alone(model_type, num_at_once):
    family = target(model_type)
    asked = list(zip(inputs_of(model_type), drafters(family), LENGTHS, strict=True))
    alone = [answer(family, inputs, max_new_tokens=length).token_ids for inputs, _, length in asked]
    requests = [request(family, *one) for one in asked]
    seen = [one for one, _ in run(iter(requests), num_at_once)]
    assert [tuple(one.answer) for one in requests] == alone
    assert set(seen) == set(requests)
    assert all(one.generation().token_ids == tokens for one, tokens in zip(requests, alone, strict=True))


def test_sampled_answers_depend_on_their_own_seed_alone():
    family = target("llava")
    params = [SamplingParams(0.9, top_k=40, seed=number) for number in range(len(LENGTHS))]
    asked = list(zip(inputs_of("llava"), drafters(family), LENGTHS, params, strict=True))
    alone = [answer(family, one[0], max_new_tokens=one[2], params=one[3]).token_ids for one in asked]
    requests = [request(family, *one) for one in asked]
    for _ in run(iter(requests), 4):
        pass
    assert [tuple(one.answer) for one in requests] == alone


def test_drafts_that_are_planned_share_the_passes_of_their_model(monkeypatch):
    family, drafter = target("llava"), LanguageDrafter(Target.of(target("llama", 7)))
    executor, passes = drafter.language.executor, []
    forward = executor.forward
    monkeypatch.setattr(executor, "forward", lambda trees, want: passes.append(len(trees)) or forward(trees, want))
    requests = [request(family, inputs, drafter, 12) for inputs in inputs_of("llava")[:3]]
    for one in requests:
        start(one, one.inputs)
    run_step(requests)  # in which each reads its prompt
    passes.clear()
    run_step(requests)
    assert passes[0] == 3


@pytest.mark.parametrize("drafter", ["language", "vision", "msd", "eagle", "tabed"])
@pytest.mark.parametrize("model_type", ["llava", "llava fused", "llava openvino", "llava graphs"])
def test_a_drafter_proposes_in_a_batch_the_trees_that_it_proposes_alone(model_type, drafter):
    """Answers would be the same with others: drafts of a slot that holds somebody else's tokens are only worse."""
    family, trees = target(model_type), []
    drafting = language(limits=WIDE) if drafter == "language" else DRAFTERS[drafter](family, ())
    for num_at_once in (1, 4):
        requests = [request(family, *one) for one in zip(inputs_of("llava"), [drafting] * 6, LENGTHS, strict=True)]
        told = {one: [] for one in requests}
        for one, step in run(iter(requests), num_at_once):
            if step is not None:
                told[one].append(one.draft.tree)
        trees.append(list(told.values()))
    assert trees[0] == trees[1]
    assert sum(len(tree) for own in trees[0] for tree in own) > 300


def test_short_prompts_that_join_at_once_are_read_in_one_pass(monkeypatch):
    family, passes = target("llava fused"), []
    decoder = family.executor._fused.decoder
    read = decoder.read
    monkeypatch.setattr(decoder, "read", lambda slots, *rest: passes.append(len(slots)) or read(slots, *rest))
    long = prompt("llava", 0, 500)
    inputs = [*inputs_of("llava")[:3], long, *inputs_of("llava")[3:4]]
    requests = [request(family, one, EmptyDrafter(), 3) for one in inputs]
    for _ in run(iter(requests), 8):
        pass
    assert passes == [3, 1, 1]
    assert [tuple(one.answer) for one in requests] == [
        answer(family, one, max_new_tokens=3).token_ids for one in inputs
    ]


def test_a_prompt_that_its_model_refuses_takes_no_other_with_it():
    family = target("llava fused")
    well, second = inputs_of("llava")[1:3]
    wrong = replace(well, token_ids=well.token_ids[:, 1:].clone().fill_(20))  # pixels without placeholders
    requests = [request(family, one, EmptyDrafter(), 5) for one in (well, wrong, second)]
    for _ in run(iter(requests), 3):
        pass
    assert [one.finish_reason for one in requests] == ["length", "error", "length"]
    assert requests[1].answer == []
    for one, inputs in ((requests[0], well), (requests[2], second)):
        assert tuple(one.answer) == answer(family, inputs, max_new_tokens=5).token_ids


def test_requests_with_an_ensemble_and_a_language_model_run_side_by_side():
    family, inputs = target("llava"), prompt("llava", 2)
    truth = answer(family, inputs, max_new_tokens=16).token_ids
    requests = [request(family, inputs, one, 16) for one in (tabed(family.width, "MT"), language(), msd(family))]
    for _ in run(iter(requests), 3):
        pass
    assert [tuple(one.answer) for one in requests] == [truth] * 3


def too_many(answer, budget, random):
    return Draft(TokenTree.chain([50] * (budget + 1)))


def unknown(answer, budget, random):
    return Draft(TokenTree.chain([10**6]))


def failing(answer, budget, random):
    raise DrafterError("it fails here; try another")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (too_many, "drafted 16 nodes, its budget was 15"),
        (unknown, "drafted token 1000000, which"),
        (failing, "it fails here"),
    ],
)
def test_a_request_that_fails_ends_with_its_error_and_the_others_go_on(script, told):
    family, inputs = target("llava"), prompt("llava", 1)
    truth = answer(family, inputs, max_new_tokens=17).token_ids
    good = ScriptedDrafter("good", sometimes_right(truth))
    requests = [request(family, inputs, one, 17) for one in (good, ScriptedDrafter("bad", script), good)]
    ended = [one for one, step in run(iter(requests), 3) if one.finish_reason is not None]
    assert [tuple(one.answer) for one in requests] == [truth, truth[:1], truth]
    assert [one.finish_reason for one in requests] == ["length", "error", "length"]
    assert told in str(requests[1].error)
    assert set(ended) == set(requests)
    alone = request(family, inputs, ScriptedDrafter("bad", script), 17)
    start(alone, inputs)
    with pytest.raises(DrafterError, match=told):
        list(steps(alone))


# ---- through the engine


@pytest.fixture(scope="module")
def engine():
    return seeahead.load((tiny_model("llava"), tiny_processor("llava")))


def test_replies_are_those_of_generate_in_the_order_asked(engine):
    requests = [
        {"prompt": "What is 7?", "max_new_tokens": 9},
        {"prompt": "What is this?", "images": PICTURE, "max_new_tokens": 14, "drafter": "none"},
        {"prompt": "one two one two", "max_new_tokens": 20, "temperature": 0.8, "seed": 5},
        {"prompt": "And this?", "images": [PICTURE, PICTURE], "max_new_tokens": 3},
    ]
    replies = engine.generate_batch(iter(requests), num_at_once=2)
    for asked, reply in zip(requests, replies, strict=True):
        settings = {name: value for name, value in asked.items() if name != "drafter"}
        alone = engine.with_drafter(asked.get("drafter", engine.drafter)).generate(**settings)
        assert (reply.text, reply.token_ids, reply.seed) == (alone.text, alone.token_ids, alone.seed)
        assert reply.error is None
        assert reply.generation.drafter == alone.generation.drafter


class Broken(DrafterSpec):
    def bind(self, target):
        raise ZeroDivisionError


def test_what_is_wrong_with_one_request_is_in_its_reply(engine):
    wrong = [{"images": PICTURE}, 3, {"prompt": "hi", "temperature": -1}, {"prompt": "hi", "drafter": "lokup"}]
    wrong += [{"prompt": "hi", "forced_bos_token_id": "5"}, {"prompt": "hi", "drafter": Broken()}]
    good = {"prompt": "What is 7?", "max_new_tokens": 4}
    replies = engine.generate_batch([good, *wrong, good], num_at_once=3)
    kinds = [InputError, InputError, InputError, DrafterError, InputError, FaultError]
    assert [type(reply.error) for reply in replies[1:7]] == kinds
    assert all("\n" not in str(reply.error) for reply in replies[1:7])
    assert replies[0].token_ids == replies[7].token_ids
    assert len(replies[0].token_ids) == 4
    assert all((reply.text, reply.token_ids, reply.steps) == ("", (), ()) for reply in replies[1:7])
    with pytest.raises(InputError, match="temperature"):
        _ = replies[3].generation


def test_a_pass_that_fails_ends_those_that_share_it_and_those_that_wait_are_answered(engine, monkeypatch):
    plain, passes = engine.with_drafter("none"), count(1)
    requests = [{"prompt": f"What is {number}?", "max_new_tokens": 6} for number in range(4)]
    alone = [plain.generate(**one) for one in requests]
    plain.prover.before_batch()
    executor = plain.target.executor
    forward = executor.forward

    def failing(trees, want):
        if next(passes) == 3:
            raise RuntimeError("out of memory")
        return forward(trees, want)

    monkeypatch.setattr(executor, "forward", failing)
    replies = plain.generate_batch(requests, num_at_once=2)
    assert [type(reply.error) for reply in replies] == [FaultError, FaultError, type(None), type(None)]
    assert [str(reply.error.raised) for reply in replies[:2]] == ["out of memory"] * 2
    assert [reply.token_ids for reply in replies[:2]] == [one.token_ids[:3] for one in alone[:2]]
    assert [(one.text, one.token_ids) for one in replies[2:]] == [(one.text, one.token_ids) for one in alone[2:]]
    passes = count(3)
    with pytest.raises(RuntimeError, match="out of memory"):
        plain.generate(**requests[0])


def test_pieces_carry_the_number_of_their_request_and_add_up(engine):
    requests = [{"prompt": f"What is {number}?", "max_new_tokens": 4 + number} for number in range(5)]
    texts, replies = [""] * 5, {}
    for number, piece in engine.stream_batch(requests, num_at_once=2):
        assert number not in replies, "nothing comes after the reply"
        texts[number] += piece.text
        if piece.reply is not None:
            replies[number] = piece.reply
    assert texts == [replies[number].text for number in range(5)]


def test_a_request_is_read_when_it_joins(engine):
    read = []

    def requests():
        for number in range(4):
            read.append(number)
            yield {"prompt": "What is 7?", "max_new_tokens": 6}

    pieces = engine.stream_batch(requests(), num_at_once=2)
    assert read == []
    next(pieces)
    assert read == [0, 1]
    list(pieces)
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize("requests", [None, 3, "what", {"prompt": "what"}])
def test_what_is_no_list_of_requests_is_refused_at_the_call(engine, requests):
    with pytest.raises(InputError, match="give a list of mappings with a prompt each"):
        engine.stream_batch(requests)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2", None])
def test_a_wrong_number_at_once_is_refused_at_the_call(engine, number):
    with pytest.raises(InputError, match=r"num_at_once is .*; it must be a whole number of at least 1"):
        engine.stream_batch([], num_at_once=number)


def test_every_request_gets_the_drafter_it_names(engine):
    """Specs that are made for one request and dropped after it."""
    requests = (
        {"prompt": "What is 7?", "max_new_tokens": 2, "drafter": LookupDrafter(name=f"lookup {number}")}
        for number in range(40)
    )
    replies = engine.generate_batch(requests, num_at_once=1)
    assert [reply.generation.drafter for reply in replies] == [f"lookup {number}" for number in range(40)]


def test_one_at_a_time_no_shared_pass_is_proven(engine, monkeypatch):
    proven = []
    monkeypatch.setattr(engine.prover, "before_batch", lambda: proven.append(True))
    engine.generate_batch([{"prompt": "hi", "max_new_tokens": 1}], num_at_once=1)
    assert proven == []
    engine.generate_batch([{"prompt": "hi", "max_new_tokens": 1}], num_at_once=2)
    assert proven == [True]
