"""The clients of `benchmarks.serve_crowd`: what they ask, and how they read, each over a socket of its own."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from benchmarks.serve_fuzz import answer_of, unchunked
from benchmarks.serve_fuzz_requests import CHAT

Json = dict[str, Any]
DRAFTERS: Sequence[str | Mapping[str, Any]] = (
    *("auto", "msd", "vision", "language", "lookup", "none"),
    {"drafter": "auto", "num_nodes": 3},
)
IMAGES, TEMPERATURES, TOKENS = (0, 0, 1, 1, 2), (0, 0, 0.7, 1.2), (8, 16, 32, 48, 64)
LONG, WORDY = 160, 96
POEM = "Write a short poem about a glacier."
"""What the demo model answers at length, whatever it is shown."""
SEGMENT, BUFFER = 536, 1
"""Bytes of a segment and of a receive buffer (the least that the system gives): with larger segments a connection
within one machine holds megabytes that nobody has read, and no answer is ever too long for it."""
FEW_BYTES, PAUSE = 16, 0.1


@dataclass
class Heard:
    """What a client has got of its answer so far, and when."""

    data: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)
    has_ended: bool = False

    def add(self, piece: bytes) -> None:
        self.data += piece
        self.times.append(perf_counter())

    @property
    def speaks(self) -> bool:
        """Whether a step has said something: the first event only opens the stream."""
        return self.data.count(b"data: ") > 1

    @property
    def answer(self) -> str | None:
        """The text, if nothing of it is lost."""
        head, _, body = bytes(self.data).partition(b"\r\n\r\n")
        is_whole = b"data: [DONE]" in body[-32:] and b'"finish_reason": "' in body
        return answer_of(unchunked(body)) if head.startswith(b"HTTP/1.1 200") and is_whole else None


class Reading:
    """How an answer is read: as soon as it comes, until the client `leaves`, or slowly until it is let go.

    A slow reader takes a few bytes at a time, or none at all where it is `idle`, through the smallest buffer."""

    def __init__(self, *, is_slow: bool = False, is_idle: bool = False) -> None:
        self.is_slow, self.is_idle = is_slow, is_idle
        self.let_go, self.leaves = asyncio.Event(), asyncio.Event()

    def prepare(self, own: socket.socket) -> None:
        if self.is_slow:
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    async def read(self, own: socket.socket, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        while self.is_slow and not self.let_go.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.let_go.wait(), PAUSE)
            if not self.is_idle:
                heard.add(await loop.sock_recv(own, FEW_BYTES))
        while piece := await loop.sock_recv(own, 1 << 16):
            heard.add(piece)


async def hear(url: str, body: Json, heard: Heard | None = None, reading: Reading | None = None) -> Heard:
    """Ask, and read to the end, or until the client leaves or the server breaks off."""
    heard, reading = heard or Heard(), reading or Reading()
    place, loop = urlsplit(url), asyncio.get_running_loop()
    with socket.socket() as own, suppress(ConnectionError):
        own.setblocking(False)
        reading.prepare(own)
        await loop.sock_connect(own, (place.hostname, place.port))
        await loop.sock_sendall(own, _request(body))
        reads, leaves = (asyncio.create_task(one) for one in (reading.read(own, heard), reading.leaves.wait()))
        await asyncio.wait((reads, leaves), return_when=asyncio.FIRST_COMPLETED)
        leaves.cancel()
        reads.cancel()
        with suppress(asyncio.CancelledError):
            await reads
    heard.has_ended = True
    return heard


def _request(body: Json) -> bytes:
    data = json.dumps(body).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def made(questions: Sequence[Json], number: int) -> Json:
    """The request of this number, the same each time: drafter, temperature, images and tokens in every mixture."""
    random = Random(number)
    wanted = random.choice(IMAGES)
    question = random.choice([one for one in questions if num_images(one) == wanted])
    return {
        **question,
        "model": "demo",
        "stream": True,
        "temperature": random.choice(TEMPERATURES),
        "seed": number,
        "max_tokens": min(question["max_tokens"], random.choice(TOKENS)),
        "speculative": random.choice(DRAFTERS),
    }


def long(body: Json) -> Json:
    """The same images and drafter, and an answer that has not ended yet when its client leaves."""
    images = [part for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    messages = [{"role": "user", "content": [*images, {"type": "text", "text": POEM}]}]
    return {**body, "messages": messages, "max_tokens": LONG, "temperature": 1.2}


def wordy(body: Json) -> Json:
    """The same, and an answer of so many bytes that they find no room in the buffers of a connection."""
    return {**long(body), "max_tokens": WORDY, "logprobs": True, "top_logprobs": 20}


def num_images(body: Json) -> int:
    return sum(part["type"] == "image_url" for part in body["messages"][0]["content"])


async def counts(url: str) -> tuple[int, int]:
    """Requests that run, and those whose clients had gone."""
    page = await asyncio.to_thread(_metrics, url)
    running, gone = (
        sum(float(found) for found in re.findall(rf"^{name} (\S+)$", page, re.MULTILINE))
        for name in (r"vllm:num_requests_running\{.*\}", r'seeahead:refused_requests_total\{.*status="499"\}')
    )
    return int(running), int(gone)


def _metrics(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=60) as reply:
        return str(reply.read().decode())
