"""A prompt read in parts, or from where the slot of another answer ended, is answered as one that is read at once."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from seeahead.decode import Batch
from seeahead.drafters.pace import Pace
from seeahead.executor import ModelInputs
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.testing import ScriptedDrafter, answer
from tests.lossless.cases import CONVERTED, DRAFTERS, FAMILIES, image_counts, prompt, target
from tests.lossless.test_batch import REQUESTS, alone, asked
from tests.scripts import all_right


def run_in_parts(requests, prompt_tokens):
    """All join at once; the sizes of the passes in which prompts are read, alone or with a step of others."""
    batch, sizes = Batch(prompt_tokens, cuts=True), []
    for request in requests:
        batch.join(request)
    with counting(requests[0].executor, "prefill", sizes), counting(requests[0].executor, "mixed", sizes):
        while batch.requests:
            list(batch.step())
    return sizes


@contextmanager
def counting(executor, name, sizes):
    """Tokens of the prompts that this method is given are added to `sizes`."""
    whole = getattr(executor, name, None)

    def counted(prompts, *others):
        sizes.append(sum(one.inputs.length for one in prompts))
        return whole(prompts, *others)

    if whole is not None:
        setattr(executor, name, counted)
    try:
        yield
    finally:
        vars(executor).pop(name, None)


# One of every way in which prompts are read: the rest is held by the proof of parts below.
WAYS = (
    "llava",
    "llava fused",
    "qwen2_vl",
    "gemma3",
    "idefics3",
    "llama4_text",
    "paligemma",
    "llama",
    "llama fused",
    "gemma2",
    *CONVERTED,
    "qwen3_vl graphs",
    "gemma3 graphs",
)


@pytest.mark.parametrize("family", WAYS)
def test_prompts_read_in_parts_between_steps_of_others_change_no_answer(family):
    requests = [asked(family, number) for number in range(len(REQUESTS))]
    sizes = run_in_parts(requests, 48)
    for number, request in enumerate(requests):
        assert (tuple(request.answer), request.finish_reason) == alone(family, number), f"request {number}"
    indivisible = max(request.executor.ready(request.inputs).indivisible for request in requests)
    assert max(sizes) <= max(48, indivisible)
    assert len(sizes) > 6


# Without drafts, with trees that are never right, and with what the target's prompt is read for.
@pytest.mark.parametrize("drafter", ["none", "random tree", "msd"])
@pytest.mark.parametrize("family", CONVERTED)
def test_a_step_that_reads_prompts_of_others_changes_no_answer(family, drafter):
    model, sees = target(family), max(image_counts(family)) > 0
    inputs = [prompt(family, number % 2 if sees else 0, 20 + 30 * number) for number in range(5)]
    requests, batch, passes = [request_for(model, one, drafter, 14) for one in inputs], Batch(40, cuts=True), []
    with counting(model.executor, "mixed", passes):
        for request in requests:  # each comes while those before it are answered
            batch.join(request)
            list(batch.step())
        while batch.requests:
            list(batch.step())
    assert len(passes) > 4
    for one, request in zip(inputs, requests, strict=True):
        assert tuple(request.answer) == answer(model, one, max_new_tokens=14).token_ids


def test_where_a_shared_pass_fails_prompts_and_steps_have_passes_of_their_own():
    model = target(CONVERTED[0])
    inputs = [prompt(CONVERTED[0], 0, words) for words in (20, 50, 80)]
    first, *others = [request_for(model, one, "random tree", 9) for one in inputs]
    batch = Batch(cuts=True)
    batch.join(first)
    list(batch.step())
    whole, failed = model.executor.mixed, []

    def failing(prompts, trees, want):
        whole(prompts, trees, want)  # slots hold what it leaves there
        failed.append(len(prompts))
        raise MemoryError("too much at once")

    model.executor.mixed = failing
    try:
        for one in others:
            batch.join(one)
        list(batch.step())
    finally:
        del model.executor.mixed
    assert failed == [2]
    while batch.requests:
        list(batch.step())
    for one, request in zip(inputs, (first, *others), strict=True):
        assert request.error is None
        assert tuple(request.answer) == answer(model, one, max_new_tokens=9).token_ids


def test_a_step_that_reads_whole_prompts_of_others_has_no_drafts_where_steps_are_shared():
    model, passes = target(CONVERTED[0]), []
    requests = [request_for(model, prompt(CONVERTED[0], 0, words), "random tree", 9) for words in (20, 30, 40)]
    batch = Batch(shares=Pace(model.executor, [one.drafter for one in requests]))
    with counting(model.executor, "mixed", passes):
        for number, one in enumerate(requests):
            batch.join(one)
            list(batch.step())
            assert len(passes) == number
            assert not number or requests[0].records[-1].num_drafted == 0
        list(batch.step())
    assert len(passes) == 2
    assert all(one.answer for one in requests)


def test_a_short_prompt_waits_for_few_parts_of_long_ones_that_came_before_it():
    model = target("llama")
    long, other, short = (request_for(model, prompt("llama", 0, words), "none", 2) for words in (200, 180, 6))
    batch = Batch(16, cuts=True)
    for one in (long, other):
        batch.join(one)
        list(batch.step())
    batch.join(short)
    for _ in range(2):  # one of which begins with the prompt that came first
        list(batch.step())
    assert short.answer
    assert (long.answer, other.answer) == ([], [])
    while batch.requests:
        list(batch.step())
    for one, words in ((long, 200), (other, 180), (short, 6)):
        assert tuple(one.answer) == answer(model, prompt("llama", 0, words), max_new_tokens=2).token_ids


def test_short_prompts_that_come_all_the_time_leave_a_long_one_half_of_the_passes():
    model, num_steps = target("llama"), 0
    long, batch = request_for(model, prompt("llama", 0, 160), "none", 2), Batch(16, cuts=True)
    batch.join(long)
    while not long.answer:
        for _ in range(3):  # more than one pass reads
            batch.join(request_for(model, prompt("llama", 0, 12), "none", 2))
        list(batch.step())
        num_steps += 1
    assert num_steps <= 2 * 160 / 16


# Drafters that read nothing of the target's prompt, its features, its embeddings, and both text and image views.
@pytest.mark.parametrize("drafter", ["none", "lookup", "language", "msd", "vision", "tabed", "random tree"])
@pytest.mark.parametrize("family", [*WAYS[:4], "llama", *CONVERTED, "gemma3 graphs"])
@pytest.mark.parametrize("is_read_ahead", [False, True])
def test_a_further_turn_in_a_kept_slot_is_answered_as_in_a_new_one(family, drafter, is_read_ahead):
    model, sees = target(family), max(image_counts(family)) > 0
    inputs = prompt(family, 1 if sees else 0, 30)
    first = request_for(model, inputs, drafter, 9)
    first.keeps = True
    run_in_parts([first], 512)
    kept = first.kept
    assert kept is not None
    assert kept.tokens == (*inputs.token_ids[0].tolist(), *first.answer)[: len(kept.tokens)]
    said = [*first.answer, 11, 12, 13, 14]
    if is_read_ahead:  # from within the answer, as where its text is written with other tokens
        length = inputs.length + 2
        kept = kept.followed_by(said[2:-2], length)
        assert kept.tokens[length:] == tuple(said[2:-2])
        assert kept.session.length == len(kept.tokens)
    longer = inputs.extended(said, model.answer_type)
    anew = request_for(model, longer, drafter, 12)
    anew.keeps = True
    run_in_parts([anew], 512)
    for layer, states in kept.features.items():
        torch.testing.assert_close(states, anew.kept.features[layer][: len(states)], rtol=1e-3, atol=1e-4)
    again = request_for(model, longer, drafter, 12)
    again.resume(kept, len(kept.tokens))
    sizes = run_in_parts([again], 512)
    assert sizes == [longer.length - len(kept.tokens)]
    assert again.answer == anew.answer
    assert [step.num_accepted for step in again.records] == [step.num_accepted for step in anew.records]


def test_a_slot_is_cut_to_what_two_conversations_share():
    model, inputs = target("llava fused"), prompt("llava", 1, 30)
    first = request_for(model, inputs, "msd", 9)
    first.keeps = True
    run_in_parts([first], 512)
    other = inputs.extended([*first.answer[:3], 40, 41], model.answer_type)
    again = request_for(model, other, "msd", 12)
    again.resume(first.kept, inputs.length + 3)
    run_in_parts([again], 512)
    anew = request_for(model, other, "msd", 12)
    run_in_parts([anew], 512)
    assert again.answer == anew.answer


@pytest.mark.parametrize("family", ["llava", "llava fused", "llava openvino", "gemma3 openvino", "gemma3 graphs"])
def test_a_slot_that_holds_more_than_its_answer_goes_on_from_where_this_ended(family):
    """The answer ends inside a draft that was accepted beyond it."""
    model, inputs = target(family), prompt(family, 1, 30)
    truth = answer(model, inputs, max_new_tokens=12).token_ids
    end = next(place for place in range(3, 8) if truth[place] not in truth[:place])
    drafter = ScriptedDrafter("right", all_right(truth, 9))
    sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(12, frozenset({truth[end]}))
    first = Request(model.executor, drafter, sampler, rule, model.image_token_ids).ask(inputs)
    first.keeps = True
    run_in_parts([first], 512)
    kept, said = first.kept, truth[: end + 1]
    assert tuple(first.answer) == said
    assert kept.tokens[inputs.length :] == truth[: len(kept.tokens) - inputs.length]
    assert kept.session.length == len(kept.tokens) > inputs.length + len(said)
    longer = inputs.extended([*said, 11, 12, 13], model.answer_type)
    again = request_for(model, longer, "none", 12)
    again.resume(kept, inputs.length + len(said))
    run_in_parts([again], 512)
    assert tuple(again.answer) == answer(model, longer, max_new_tokens=12).token_ids


def test_what_must_be_read_at_once_is_not_cut():
    paligemma = target("paligemma").executor
    inputs = prompt("paligemma", 1, 60)
    assert paligemma.ready(inputs).indivisible == inputs.length
    gemma = target("gemma3")
    ready = gemma.executor.ready(prompt("gemma3", 1, 60))
    last = max(place for place, one in enumerate(ready.token_ids[0].tolist()) if one in gemma.image_token_ids)
    assert ready.indivisible == last + 1


def request_for(model, inputs: ModelInputs, drafter: str, limit: int) -> Request:
    drafting = DRAFTERS[drafter](model, ())
    sampler = Sampler(SamplingParams(), inputs.token_ids[0].tolist())
    return Request(model.executor, drafting, sampler, StopRule(limit), model.image_token_ids).ask(inputs)


@pytest.mark.parametrize("kind", ["llama", "llama fused"])
def test_a_model_that_says_something_else_to_parts_reads_prompts_whole(monkeypatch, kind):
    from seeahead import proof
    from seeahead.proven import Prover

    family = target(kind)
    assert proof.parts_error(family) < 1e-3
    prover = Prover(family)
    monkeypatch.setattr(proof, "parts_error", lambda _: 1.0)
    monkeypatch.setattr(family, "can_cut", True)
    prover.before_batch()
    inputs = prompt("llama", 0, 30)
    assert family.executor.ready(inputs).indivisible == inputs.length


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes_the_proof_of_parts(family):
    from seeahead import proof

    assert proof.parts_error(target(family)) < 1e-3
