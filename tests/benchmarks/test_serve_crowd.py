"""The crowd's clients: what they ask is the same each time, what they hear is whole or lost, and slow ones are slow."""

import asyncio
import json
from collections import Counter

import pytest

from benchmarks.serve_crowd import drafter_of
from benchmarks.serve_crowd_clients import DRAFTERS, TEMPERATURES, Heard, Reading, hear, made, num_images
from benchmarks.studies import strain

PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
QUESTIONS = [
    {"messages": [{"role": "user", "content": [PICTURE] * number + [{"type": "text", "text": "?"}]}], "max_tokens": 40}
    for number in range(3)
]
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def streamed(*events):
    told = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events]
    return b"".join(f"{len(one):x}\r\n".encode() + one + b"\r\n" for one in told) + b"0\r\n\r\n"


def said(text, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


WHOLE = HEAD + streamed(said(""), said("ab"), said("c", "length"), "[DONE]")


def test_requests_are_the_same_for_their_numbers_and_have_every_setting():
    bodies = [made(QUESTIONS, number) for number in range(200)]
    assert bodies == [made(QUESTIONS, number) for number in range(200)]
    assert set(Counter(map(num_images, bodies))) == {0, 1, 2}
    assert len({drafter_of(body) for body in bodies}) == len(DRAFTERS)
    assert {body["temperature"] for body in bodies} == set(TEMPERATURES)
    assert max(body["max_tokens"] for body in bodies) == 40


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (WHOLE, '{"0": "abc"}'),
        (WHOLE.replace(b"200 OK", b"503 Service Unavailable"), None),
        (WHOLE[: WHOLE.index(b"[DONE]")], None),
        (HEAD + streamed(said(""), {"error": {"message": "x"}}, "[DONE]"), None),
        (b"", None),
    ],
)
def test_an_answer_is_whole_or_lost(data, answer):
    heard = Heard()
    heard.add(data)
    assert heard.answer == answer


class Server:
    """Answers so many bytes to whoever asks; `stuck` once a client does not take them."""

    def __init__(self, data):
        self.data, self.stuck, self.gone = data, asyncio.Event(), asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        return self, f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_):
        self.server.close()

    async def answer(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.data)
        try:
            await asyncio.wait_for(writer.drain(), 0.3)
        except TimeoutError:
            self.stuck.set()
        except ConnectionError:
            self.gone.set()
        writer.close()


async def slowly(is_idle):
    data = HEAD + streamed(said("x" * 200_000, "length"), "[DONE]")
    async with Server(data) as (server, url):
        heard, reading = Heard(), Reading(is_slow=True, is_idle=is_idle)
        asked = asyncio.create_task(hear(url, QUESTIONS[0], heard, reading))
        await asyncio.wait_for(server.stuck.wait(), 10)
        assert len(heard.data) < 1000
        assert bool(heard.data) != is_idle
        reading.let_go.set()
        await asyncio.wait_for(asked, 30)
        assert heard.data == data
        assert heard.answer is not None


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_slow_reader_fills_its_socket_until_it_is_let_go(is_idle):
    asyncio.run(slowly(is_idle))


async def leaving():
    async with Server(HEAD) as (_, url):
        reading = Reading()
        reading.leaves.set()
        heard = await asyncio.wait_for(hear(url, QUESTIONS[0], reading=reading), 10)
        assert heard.has_ended
        assert heard.answer is None


def test_a_client_may_leave():
    asyncio.run(leaving())


SOURCE = {"command": ["serve_crowd.py"], "commit": "0" * 40, "hardware": {"cpu": "CPU", "num_cores": 2}}


def test_a_crowd_is_a_page():
    same = {"answers": 4, "identical": 4}
    rounds = [
        {**{kind: {**same, "rate": 2.0, "unread_bytes": [90_000]} for kind in ("none", "fast", "slow")}, **told}
        for told in ({"change": -0.02, "slowly_the_same": 1}, {"change": 0.01, "slowly_the_same": 0})
    ]
    leaving = {"left": 1, "clients": 4, "running_before": 3, "seconds_until_free": 0.25, "step_p50": 0.2}
    found = {
        "provenance": SOURCE,
        "settings": {"clients": 4, "readers": 1, "num_at_once": 16, "executor": "auto", "dtype": "float32"},
        "asked": {"images": {"1": 4}, "temperature": {"0": 4}, "max_tokens": {"8": 4}, "drafter": {"auto": 4}},
        "together": same,
        "slow_readers": {"rounds": rounds, "change": -0.005},
        "restart": {**same, "identical": 3, "under_way": 16},
        "leaving": {**leaving, **same, "step_p95": 0.3, "step_under_way": 0.4},
    }
    page = strain.crowd_documents(found)["results/serve-crowd.md"]
    for part in (" -0.5 % |", " 1 of 2 |", " 3 of 4 |", " 24 of 24 |", " 0.25 |", "(change -2.0 %, +1.0 %)", "90 KB"):
        assert part in page, part
