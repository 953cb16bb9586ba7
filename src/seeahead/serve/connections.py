"""How connections are held: a request must come whole in time, and only so many clients are connected at once."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from seeahead.serve.errors import ApiError
from seeahead.serve.hosts import is_for_all
from seeahead.serve.settings import ServeSettings

_REFUSED_SECONDS = 2.0  # that one too many has to hear why


def _for_monitors(app: ASGIApp, refused: ASGIApp, prefix: str) -> ASGIApp:
    """Who asks whether the server lives is told so, since one that is full lives."""

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        is_monitor = scope["type"] == "http" and is_for_all(scope["path"], prefix)
        await (app if is_monitor else refused)(scope, receive, send)

    return chosen


class Connection(H11Protocol):
    """Uvicorn's own waits for a request for ever, and fails where a body it has refused turns out to be no HTTP."""

    def __init__(self, settings: ServeSettings, **given: Any) -> None:
        super().__init__(**given)
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = settings.request_timeout_seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if sys.platform == "linux":  # else a client that reads nothing stays, with what it has not read, for ever
            limit = min(1 + int(1000 * self._settings.timeout_seconds), 2**31 - 1)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
        most = self._settings.max_connections
        if len(self.connections) > 2 * most:
            transport.abort()
        elif len(self.connections) > most:
            self._seconds = min(_REFUSED_SECONDS, self._seconds)
            told = "too many clients are connected; ask again later"
            refused = ApiError(503, told, code="full", headers={"Retry-After": "5", "Connection": "close"}).response()
            self.app = _for_monitors(self.app, refused, self._settings.root_path)
        self._time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins with a request that came behind this one
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.conn.their_state is h11.SEND_BODY:
            self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._time()

    def _time(self) -> None:
        """The time runs while a request is not whole; a connection that waits for another one has uvicorn's."""
        if not self.transport.is_closing() and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._timer = self._timer or self.loop.call_later(self._seconds, self._late)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._refuse(408, f"the request was not whole in {self._seconds:g} s; send it faster")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "the request is not HTTP/1.1 as it is written; check its head and the length of its body")

    def _refuse(self, status: int, message: str) -> None:
        """Answer in the place of the application, unless it has begun to, and close."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # what the application says from now on is dropped
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reply = ApiError(status, message, headers={"Connection": "close"}).response()
            head = h11.Response(status_code=status, headers=reply.raw_headers)
            self.transport.write((self.conn.send(head) or b"") + bytes(reply.body))
        self.transport.close()
