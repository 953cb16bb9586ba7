"""What docs/serving.md promises: log-probabilities, room, those who leave, slots, prompts in parts, faults, the end."""

import http.client
import json
import re
import signal
import sys
import threading
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise

import pytest
import torch

from seeahead.prompt import make_prompt
from seeahead.serve.owner import OwnerLimits
from seeahead.testing import ScriptedDrafter, tiny_model
from tests.lossless.cases import msd
from tests.scripts import sometimes_right
from tests.serve.conftest import PATIENCE, chat, serving
from tests.serve.test_loading import SERVING, said_until, started
from tests.serve.test_refusals import CHAT, refused, sent
from tests.serve.test_streams import asking, eventually

MANY = 1 << 20


@contextmanager
def gated(served):
    """As many steps are taken as are released; the requests that take part in each are noted."""
    eventually(lambda: served.owner.num_running == 0)  # an answer is told before its request has left
    steps, batch, taken = threading.Semaphore(0), served.owner._batch, []
    step = batch.step

    def noted(**given):
        steps.acquire(timeout=PATIENCE)
        taken.append([one for one in batch.requests if one.finish_reason is None])
        return step(**given)

    batch.step = noted
    try:
        yield steps, taken
    finally:
        steps.release(MANY)
        batch.step = step


def num_asking(owner):
    return owner.num_running + len(owner._waiting)


def answered(served, body):
    """Its text, and how many tokens of its prompt a slot held already."""
    status, reply = sent(served, body)
    assert status == 200, reply
    return reply["choices"][0]["message"]["content"], reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def said(connection):
    with connection.getresponse() as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


SETTINGS = (
    {"temperature": 0},
    {"temperature": 1.3, "repetition_penalty": 1.6, "top_k": 5, "seed": 4},
    {"temperature": 0.7, "top_p": 0.4, "seed": 5},
)


def test_log_probabilities_are_of_the_target_s_own_logits_before_any_setting(engine):
    """Also of tokens that were drafted, whose rows lie in a tree."""
    truth, model, num_accepted = [], tiny_model("llava"), 0
    prompt = engine.family.encode(make_prompt("one two one two")).token_ids
    with serving(more=lambda _: ScriptedDrafter("sometimes", sometimes_right(truth))) as served:
        for settings in SETTINGS:
            truth[:] = engine.generate("one two one two", max_new_tokens=12, **settings).token_ids
            with torch.inference_mode():
                logits = model(torch.cat([prompt, torch.tensor([truth])], 1)).logits[0]
            own = logits[prompt.shape[1] - 1 : -1].log_softmax(-1)
            expected = own.gather(1, torch.tensor(truth)[:, None])[:, 0].tolist()
            for drafter in ("none", "sometimes"):
                body = chat("one two one two", logprobs=True, top_logprobs=4, speculative=drafter, **settings)
                reply = sent(served, body)[1]
                tokens = reply["choices"][0]["logprobs"]["content"]
                assert [one["logprob"] for one in tokens] == pytest.approx(expected, abs=1e-4)
                told = [[one["logprob"] for one in token["top_logprobs"]] for token in tokens]
                assert told == [pytest.approx(row, abs=1e-4) for row in own.topk(4).values.tolist()]
            num_accepted += reply["metrics"]["speculative_decoding"]["num_accepted_draft_tokens"]
    assert num_accepted > 9


def test_requests_wait_for_room_in_the_cache_and_what_never_fits_is_refused():
    bodies, held = [chat(f"What is {number}?", max_tokens=70) for number in range(5)], []
    with serving(OwnerLimits(cache_tokens=256)) as served:
        alone, owner = [answered(served, one)[0] for one in bodies], served.owner
        lend = owner._slots.lend

        def noted(request, *given):
            lend(request, *given)
            running = [ticket.num_tokens for ticket in owner._running.values()]
            held.append((sum(running), len(running), len(owner._waiting)))

        owner._slots.lend = noted
        with gated(served) as (steps, _), ExitStack() as stack:
            connections = [stack.enter_context(asking(served, body)) for body in bodies]
            eventually(lambda: num_asking(owner) == 5)
            steps.release(MANY)
            assert [said(connection) for connection in connections] == alone
        refused(served, chat("What?", max_tokens=250), 400, "this server has memory for 256")
    assert len(held) == 5
    assert max(num_tokens for num_tokens, _, _ in held) <= 256
    assert max(num_running for _, num_running, _ in held) == 2
    assert any(num_waiting for _, _, num_waiting in held)


def test_slots_that_are_kept_take_no_more_than_there_is():
    """Nor with the tokens of a next turn: four of 65 are too many then."""
    with serving(OwnerLimits(cache_tokens=256)) as served:
        owner, slots, sizes = served.owner, served.owner._slots, []
        num_prompt = sent(served, chat("0 is what?"))[1]["usage"]["prompt_tokens"]
        for number in range(1, 7):
            answered(served, chat(f"{number} is what?", max_tokens=65 - num_prompt - len(slots.turn)))
            # The next turn is begun as well; while that is read, it is in no entry, and the owner has begun something.
            eventually(lambda: owner._began is None and slots.quiet_seconds is None and owner._began is None)
            sizes.append([entry.kept.session.length for entry in slots._entries])
        assert set(sizes[-1]) == {65}
        assert max(map(sum, sizes)) <= 256


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_costs_one_step_at_most(stream):
    with serving() as served, gated(served) as (steps, taken):
        made, tickets = served.owner._made, []
        served.owner._made = lambda *given: (tickets.append(made(*given)), tickets[-1])[1]
        with asking(served, chat("one two three", max_tokens=200, stream=stream, speculative="none")):
            steps.release(3)
            eventually(lambda: len(taken) == 3)
        eventually(lambda: tickets[0].is_cancelled)
        steps.release(MANY)
        eventually(lambda: served.owner.num_running == 0)
        assert answered(served, chat("two"))[0]
        assert sum(tickets[0].request in requests for requests in taken) <= 4
        assert 1 < len(tickets[0].request.answer) <= 5


def test_where_no_slots_are_kept_nobody_learns_what_others_have_asked():
    with serving(OwnerLimits(num_kept=0)) as served:
        assert [answered(served, chat("one two three"))[1] for _ in range(2)] == [0, 0]
        assert served.owner._slots._entries == []


def test_a_slot_serves_the_drafters_whose_states_it_holds():
    with serving(more=lambda executor: msd(executor.family)) as served:
        lookup, layer, _ = served.owner.drafters
        body = chat("What is here to be seen?")
        found = [answered(served, {**body, "speculative": name}) for name in (lookup, layer, layer, lookup)]
    assert [num_cached > 0 for _, num_cached in found] == [False, False, True, True]
    assert len({text for text, _ in found}) == 1


def test_a_long_prompt_is_read_in_parts_with_steps_of_others_between(monkeypatch):
    long = chat("What is " + "one two three " * 20, max_tokens=4, speculative="none")
    other = chat("one", max_tokens=100, speculative="none")
    with serving(OwnerLimits(prompt_tokens=16, num_kept=0)) as served:
        alone, done = [answered(served, one)[0] for one in (other, long)], []
        executor = served.owner.engine.target.executor
        prefill, forward = executor.prefill, executor.forward

        def read(prompts, want):
            done.append(sum(one.inputs.length for one in prompts))
            return prefill(prompts, want)

        monkeypatch.setattr(executor, "prefill", read)
        monkeypatch.setattr(executor, "forward", lambda *given: (done.append(0), forward(*given))[1])
        with gated(served) as (steps, _), asking(served, other) as first:
            eventually(lambda: served.owner.num_running == 1)
            with asking(served, long) as second:
                eventually(lambda: num_asking(served.owner) == 2)
                steps.release(MANY)
                assert [said(first), said(second)] == alone
    parts = done[done.index(0) :]
    assert max(parts) <= 16
    assert sum(parts) > 250
    assert not any(one and after for one, after in pairwise(parts)), "two parts without a step between them"


def test_requests_that_share_a_pass_that_fails_are_told_and_the_next_is_answered(monkeypatch, caplog):
    with serving() as served, gated(served) as (steps, _):
        executor, sizes = served.owner.engine.target.executor, []
        forward = executor.forward

        def failing(trees, want):
            sizes.append(len(trees))
            if len(trees) >= 2:
                raise RuntimeError("secret of the inside")
            return forward(trees, want)

        monkeypatch.setattr(executor, "forward", failing)
        with asking(served, chat("one", max_tokens=60)) as one, asking(served, chat("two", max_tokens=60)) as other:
            eventually(lambda: num_asking(served.owner) == 2)
            steps.release(MANY)
            for connection in (one, other):
                with connection.getresponse() as reply:
                    assert reply.status == 500
                    told = json.load(reply)["error"]["message"]
                assert told == "the model failed while it answered; ask again"
        assert max(sizes) == 2
        assert "secret of the inside" in caplog.text
        assert answered(served, chat("three"))[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_the_model_s_thread_ends_whoever_waits_is_told_at_once():
    with serving() as served, gated(served) as (steps, _):
        with asking(served, chat("one", max_tokens=60)) as one, asking(served, chat("two", max_tokens=60)) as other:
            eventually(lambda: num_asking(served.owner) == 2)

            def ending(**given):
                raise SystemExit  # which threads end with, and say nothing

            served.owner._batch.step = ending
            steps.release(1)
            for connection in (one, other):
                with connection.getresponse() as reply:
                    assert reply.status == 500
                    told = json.load(reply)["error"]["message"]
                assert told == "the model failed while it answered; ask again"
        status, reply = sent(served, chat("three"))
        assert (status, reply["error"]["message"]) == (503, "the server is shutting down; ask another one")


SLOW = """
import time
from seeahead.decode import Batch

step = Batch.step
Batch.step = lambda batch, **given: (time.sleep(0.1), step(batch, **given))[1]
"""
LOADS = """def tiny(model, drafter, **given):
    print("loads", file=sys.stderr, flush=True)
    time.sleep(600)
    sys.exit(7)
"""
# What is raised while something is given up is lost: Python prints it, and goes on.
GIVES_UP = """class GivenUp:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)

def tiny(model, drafter, **given):
    GivenUp()
    time.sleep(600)
    sys.exit(7)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("loads", [LOADS, GIVES_UP])
def test_a_server_that_is_told_to_end_while_its_model_is_loaded_ends(loads):
    program = "import signal, time\n" + SERVING.replace("def tiny(model, drafter, **given):\n", loads)
    with started(program) as process:
        said = ""
        if loads is LOADS:
            said = said_until(process, "loads")
            process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait() == 128 + signal.SIGTERM, said + rest
    assert "Traceback" not in rest
    assert "ignored" not in rest


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_answer_that_is_streamed_when_the_server_is_told_to_end_is_whole(tmp_path):
    state = tmp_path / "state.json"
    with started(SLOW + SERVING, f"auto:members=lookup,state={state}") as process:
        said = said_until(process, "http://")
        where = re.search("http://([^ ]+)", said)[1]
        with closing(http.client.HTTPConnection(where, timeout=PATIENCE)) as connection:
            body = json.dumps(chat("one two", max_tokens=30, stream=True, model="demo"))
            connection.request("POST", CHAT, body, {"content-type": "application/json"})
            with connection.getresponse() as reply:
                first = [reply.readline() for _ in range(4)]
                process.send_signal(signal.SIGTERM)
                rest = reply.read().decode()
        told = process.stderr.read()
        assert (process.wait(), "Traceback" in told) == (128 + signal.SIGTERM, False), said + told
    assert all(json.loads(line[6:])["choices"][0]["finish_reason"] is None for line in first if line.strip())
    chunks = [one.removeprefix("data: ") for one in rest.split("\n\n") if one.strip()]
    assert any(json.loads(one)["choices"][0]["finish_reason"] is None for one in chunks[:-2])
    assert chunks[-1] == "[DONE]"
    assert json.loads(chunks[-2])["choices"][0]["finish_reason"] == "length"
    assert state.exists()
