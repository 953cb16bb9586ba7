"""One reply over HTTP: tickets for its answers, their events as one stream, and an end to all when the client goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from seeahead.serve.errors import ApiError
from seeahead.serve.metrics import Metrics
from seeahead.serve.replies import Choice, Shape
from seeahead.serve.ticket import Event, GoneError

_QUIET_SECONDS = 15.0  # without a word for so long, a stream says that it is alive: proxies close those that do not


async def said(
    choices: Sequence[Choice], seconds: float, metrics: Metrics
) -> AsyncIterator[tuple[Choice, Event] | None]:
    """Events of all answers as they come, and None where nothing comes for a while. Raises ApiError where one fails."""
    events, left = choices[0].ticket.events, len(choices)
    ends = asyncio.get_running_loop().time() + seconds
    while left:
        wait = min(_QUIET_SECONDS, ends - asyncio.get_running_loop().time())
        if wait <= 0:
            raise ApiError.late()
        try:
            number, event = await asyncio.wait_for(events.get(), wait)
        except TimeoutError:
            yield None
            continue
        choice = choices[number]
        choice.add(event)
        metrics.told(choice.ticket, event)
        if event.reply is not None:
            left -= 1
            if event.reply.error is not None:
                raise ApiError.of(event.reply.error)
            metrics.answered(choice.ticket, event.reply.generation)
        yield choice, event


async def whole(
    choices: Sequence[Choice], shape: Shape, receive: Receive, seconds: float, metrics: Metrics
) -> dict[str, Any]:
    """The reply when all of it is there. Raises ApiError."""
    async with _held(receive, choices, metrics):
        async for _ in said(choices, seconds, metrics):
            pass
    return shape.whole(choices)


class EventStream(Response):
    """The reply in pieces, as server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, choices: Sequence[Choice], shape: Shape, seconds: float, metrics: Metrics) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._choices, self._shape, self._seconds, self._metrics = choices, shape, seconds, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(self._seconds):  # of a client that stays and reads nothing
                await send({"type": "http.response.body", "body": data, "more_body": more})

        async with _held(receive, self._choices, self._metrics):
            with suppress(OSError):  # the client has gone, which its tickets are told as well
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await self._write_all(write)
                await write(b"data: [DONE]\n\n", more=False)

    async def _write_all(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        shape, choices = self._shape, self._choices
        for choice in choices:
            if (opening := shape.first(choice)) is not None:
                await write(_event(opening))
        try:
            async for one in said(choices, self._seconds, self._metrics):
                if one is None:
                    await write(b": waiting\n\n")
                    continue
                choice, event = one
                if event.says_something:
                    await write(_event(shape.chunk(choice, event)))
                if event.reply is not None:
                    await write(_event(shape.last(choice)))
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  (`unforeseen` logs it)
            refusal = error if isinstance(error, ApiError) else ApiError.unforeseen(error)
            status, body = refusal.status, refusal.body
            del refusal  # it knows this frame and so the answers: without it they go now, with their images and slots
            self._metrics.refused(status)
            await write(_event(body))
            return
        if shape.options.include_usage:
            await write(_event(shape.end(choices)))


_LINE_ENDS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}
"""That JSON may hold as they are, and at which many clients' readers of lines end one."""


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False).translate(_LINE_ENDS)}\n\n".encode()


@asynccontextmanager
async def in_time(receive: Receive, seconds: float) -> AsyncIterator[None]:
    """Inside, work is cancelled when the client goes or the time is over. Raises ApiError, which says so."""
    gone = 0.0  # a time long ago
    try:
        async with asyncio.timeout(seconds) as limit, _watched(receive, lambda: limit.reschedule(gone)):
            yield
    except TimeoutError:
        is_gone = limit.when() == gone
        raise ApiError.of(GoneError("the client has gone away")) if is_gone else ApiError.late() from None


@asynccontextmanager
async def _held(receive: Receive, choices: Sequence[Choice], metrics: Metrics) -> AsyncIterator[None]:
    """Inside, answers are dropped as soon as the client goes; in the end, however it comes, what is left of them is."""

    def drop() -> None:
        for choice in choices:
            choice.ticket.cancel()

    try:
        async with _watched(receive, drop):
            yield
    finally:
        drop()
        metrics.dropped(sum(choice.record is None for choice in choices))


@asynccontextmanager
async def _watched(receive: Receive, gone: Callable[[], None]) -> AsyncIterator[None]:
    """Inside, `gone` is called when the client goes."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
