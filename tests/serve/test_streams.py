"""Connections: clients that leave, wait, or read nothing; faults within a stream; what is counted."""

import asyncio
import gc
import http.client
import json
import re
import threading
import time
import weakref
from contextlib import closing, contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import urlopen

import openai
import pytest

from seeahead.reply import Piece
from seeahead.serve import answers, app
from seeahead.serve.answers import EventStream
from seeahead.serve.metrics import Metrics
from seeahead.serve.owner import OwnerLimits
from seeahead.serve.replies import Choice, Shape
from seeahead.serve.schema import StreamOptions
from seeahead.serve.ticket import Event
from tests.serve.conftest import IMAGE, KEY, PATIENCE, chat, serving
from tests.serve.test_page import Nobody
from tests.serve.test_refusals import CHAT, sent


@contextmanager
def asking(served, body):
    """A request whose answer nobody reads; the connection is closed in the end."""
    with closing(http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)) as connection:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST", CHAT, json.dumps(body).encode(), headers)
        yield connection


def eventually(holds):
    ends = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return found


def counted(served, name, **labels):
    with urlopen(f"{served.url}/metrics", timeout=PATIENCE) as reply:
        lines = reply.read().decode().splitlines()
    found = [line for line in lines if re.match(rf"{name}[{{ ]", line)]
    found = [line for line in found if all(f'{key}="{value}"' in line for key, value in labels.items())]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture
def slow(served, monkeypatch):
    """Every step of the model takes a while."""
    step = served.owner._batch.step
    monkeypatch.setattr(served.owner._batch, "step", lambda **given: (time.sleep(0.05), step(**given))[1])


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_ends_with_its_client(served, slow, stream):
    gone = counted(served, "seeahead:refused_requests_total", status=499)
    with asking(served, chat("one two three", max_tokens=200, stream=stream)):
        eventually(lambda: served.owner.num_running == 1)
    eventually(lambda: served.owner.num_running == 0)
    # Waited for in both cases, so that it is not counted while the next test counts.
    eventually(lambda: counted(served, "seeahead:refused_requests_total", status=499) == gone + 1)


def held_up(served):
    """An event until which nobody is answered; rounds go on meanwhile, in which those who have gone are dropped."""
    may_go, step = threading.Event(), served.owner._batch.step
    served.owner._batch.step = lambda **given: step(**given) if may_go.wait(0.01) else []
    return may_go


def test_a_client_may_leave_while_it_waits():
    with serving(OwnerLimits(num_at_once=1), max_new_tokens=400) as served:
        may_go = held_up(served)
        with asking(served, chat("one", max_tokens=400)):
            eventually(lambda: served.owner.num_running == 1)
            with asking(served, chat("two")):
                eventually(lambda: served.owner.num_waiting == 1)
            eventually(lambda: served.owner.num_waiting == 0)
            assert [one.is_cancelled for one in served.owner._running.values()] == [False]
            may_go.set()


def test_images_of_others_hold_up_no_text(served, monkeypatch):
    may_go, read = threading.Event(), app.chat_prompt

    def slowly(body, *given):
        if body.num_images:
            may_go.wait(PATIENCE)
        return read(body, *given)

    monkeypatch.setattr(app, "chat_prompt", slowly)
    gone = counted(served, "seeahead:refused_requests_total", status=499)
    waiting = [asking(served, chat(IMAGE, "What is this?")) for _ in range(8)]
    try:
        for one in waiting:
            one.__enter__()
        assert sent(served, chat("one", max_tokens=2))[0] == 200
    finally:
        for one in waiting:
            one.__exit__(None, None, None)
        eventually(lambda: counted(served, "seeahead:refused_requests_total", status=499) == gone + 8)
        may_go.set()


def test_reading_a_request_has_an_end_too(monkeypatch):
    may_go = threading.Event()
    monkeypatch.setattr(app, "chat_prompt", lambda *_: may_go.wait(PATIENCE))
    with serving(timeout_seconds=0.1) as served:
        status, reply = sent(served, chat(IMAGE, "What is this?"))
        may_go.set()
    assert (status, reply["error"]["code"]) == (504, "timeout")


def test_a_body_that_does_not_say_its_length_is_limited_too(served):
    with closing(http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)) as connection:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        parts = (b" " * (1 << 18) for _ in range(5))
        connection.request("POST", CHAT, parts, headers, encode_chunked=True)
        with connection.getresponse() as reply:
            assert reply.status == 413
            assert "larger than" in json.loads(reply.read())["error"]["message"]


def events(served, body):
    with asking(served, {**body, "stream": True}) as connection, connection.getresponse() as reply:
        assert reply.status == 200
        assert reply.getheader("content-type").startswith("text/event-stream")
        assert reply.getheader("cache-control") == "no-cache"
        assert reply.getheader("x-accel-buffering") == "no"
        said = [one for one in reply.read().decode().split("\n\n")[:-1] if one != ": waiting"]
    assert all(one.startswith("data: ") for one in said)
    assert said[-1] == "data: [DONE]"
    return [json.loads(one.removeprefix("data: ")) for one in said[:-1]]


def test_a_model_that_fails_ends_the_stream_with_an_error(served, monkeypatch):
    monkeypatch.setattr(served.owner.engine.target.executor, "prefill", lambda *_: 1 / 0)
    *_, last = events(served, chat("quite another question"))
    assert last["error"]["type"] == "server_error"
    with served.client() as client, pytest.raises(openai.APIError, match="ask again"):
        list(client.chat.completions.create(**chat("quite another question"), stream=True))


def test_an_answer_that_cannot_be_told_fails_alone(served, slow, monkeypatch):
    made = served.owner._made

    def broken(asked, *given):
        ticket = made(asked, *given)
        if asked.settings["max_new_tokens"] == 7:
            ticket.tell = lambda step: 1 / 0
        return ticket

    monkeypatch.setattr(served.owner, "_made", broken)
    with asking(served, chat("one", max_tokens=150)) as other:
        eventually(lambda: served.owner.num_running == 1)
        assert sent(served, chat("two", max_tokens=7))[0] == 500
        with other.getresponse() as reply:
            assert reply.status == 200


def test_a_fault_of_the_server_within_a_stream_is_told_by_a_number(served, monkeypatch, caplog):
    monkeypatch.setattr(Shape, "chunk", lambda *_: {"secret of the inside": 1 / 0})
    *_, last = events(served, chat("x"))
    number = re.search(r"under ([0-9a-f]{8})", last["error"]["message"])[1]
    assert f"request {number} failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert KEY not in caplog.text


class _Ticket:
    """An answer of which nothing comes for a while, and then much."""

    def __init__(self, *said):
        self.said, self.is_cancelled, self.events = said, False, asyncio.Queue()
        self.request, self.seconds, self.seconds_to_first_token = SimpleNamespace(num_resumed=0), 1.0, 0.5

    async def say(self):
        await asyncio.sleep(0.1)
        for event in self.said:
            self.events.put_nowait((0, event))

    def cancel(self):
        self.is_cancelled = True


def streamed(ticket, seconds, send):
    """Of a stream that a client takes with `send`, and that it does not leave."""

    async def receive():
        await asyncio.Event().wait()

    shape = Shape("tiny", is_chat=True, options=StreamOptions(include_usage=True))
    stream = EventStream([Choice(0, ticket)], shape, seconds, Metrics("tiny", Nobody()))

    async def both():
        await asyncio.wait_for(asyncio.gather(ticket.say(), stream({}, receive, send)), 3 * PATIENCE)

    asyncio.run(both())
    assert ticket.is_cancelled


def test_a_quiet_stream_says_that_it_is_alive_and_ends_in_time(monkeypatch):
    monkeypatch.setattr(answers, "_QUIET_SECONDS", 0.02)
    sent_out, ticket = [], _Ticket()

    async def send(message):
        sent_out.append(message.get("body", b""))
        if sent_out[-1].startswith(b": waiting") and sent_out.count(sent_out[-1]) == 3:
            ticket.events.put_nowait((0, Event((Piece("one", (1,)),))))
        elif b'"one"' in sent_out[-1]:  # the time is over now
            loop = asyncio.get_running_loop()
            clock = loop.time
            loop.time = lambda: clock() + PATIENCE

    streamed(ticket, PATIENCE, send)
    said = b"".join(sent_out).decode()
    assert said.count(": waiting\n\n") >= 3
    assert said.index("one") < said.index("took longer") < said.index("[DONE]")


def test_a_client_that_reads_nothing_is_left():
    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    streamed(_Ticket(Event((Piece("one", (1,)),))), 0.2, send)


def test_the_client_for_asyncio_streams(served):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client:
            stream = await client.chat.completions.create(**chat(IMAGE, "What?"), stream=True)
            return [chunk.choices[0].finish_reason async for chunk in stream]

    found = asyncio.run(ask())
    assert found[-1] == "length"
    assert set(found[:-1]) == {None}


def test_an_answer_leaves_nothing_behind_in_a_cycle(served, slow, monkeypatch):
    """Cycles are found late, and images and slots would wait for it."""
    made, tickets = served.owner._made, []
    monkeypatch.setattr(served.owner, "_made", lambda *asked: kept(tickets, made(*asked)))
    gc.collect()
    gc.disable()
    try:
        assert sent(served, chat(IMAGE, "x", logprobs=True, top_logprobs=2, n=2, max_tokens=3))[0] == 200
        with asking(served, chat(IMAGE, "x", max_tokens=200, stream=True)) as connection:
            connection.getresponse().read(10)
        with asking(served, chat("x", max_tokens=200)):
            eventually(lambda: len(tickets) == 4)
        eventually(lambda: not any(ticket() for ticket in tickets))
    finally:
        gc.enable()


def kept(tickets, ticket):
    tickets.append(weakref.ref(ticket))
    return ticket


def test_signs_at_which_readers_end_lines_are_escaped():
    text = "a\u2028b\u2029c\x85d"
    event = answers._event({"text": text}).decode()
    assert event.splitlines()[1:] == [""]
    assert json.loads(event.removeprefix("data: ")) == {"text": text}
