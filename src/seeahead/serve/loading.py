"""What clients are told while the model is loaded: that the process lives, and to come back."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from seeahead.serve.errors import ApiError

_POLL_SECONDS = 0.05
_SECONDS, _MOST_OPEN = 30.0, 64
"""That a connection may take, and how many of them are left open: who came first goes first."""
_MOST_BYTES, _PART_BYTES = 256 << 20, 1 << 16
"""Of a body, that are read and thrown away."""
_LOADING = ApiError(503, "the model is being loaded; ask again in a moment", code="loading")
_JSON, _HTML = "application/json", "text/html; charset=utf-8"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="3"><title>seeahead</title></head>
<body><h1>seeahead</h1><p>The model is being loaded. This page comes back by itself.</p></body></html>"""
_TOLD = {
    "/health": (200, _JSON, json.dumps({"status": "alive"})),
    "/ready": (503, _JSON, json.dumps({"status": "not ready"})),
    "": (503, _HTML, _PAGE),
}
_OTHERWISE = (_LOADING.status, _JSON, json.dumps(_LOADING.body))


class _Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds without a byte

    def __init__(self, prefix: str, *given: Any) -> None:
        self._prefix = prefix
        super().__init__(*given)  # which answers

    def _tell(self) -> None:
        size = self.headers.get("Content-Length", "")
        left = min(int(size), _MOST_BYTES) if size.isdecimal() else 0
        while left > 0 and (part := self.rfile.read(min(left, _PART_BYTES))):  # else the client's sending fails
            left -= len(part)
        path = self.path.partition("?")[0].removeprefix(self._prefix)
        status, kind, body = _TOLD.get(path.rstrip("/"), _OTHERWISE)
        told = body.encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(told)))):
            self.send_header(name, value)
        if status == _LOADING.status:
            self.send_header("Retry-After", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = _tell  # noqa: N815

    def version_string(self) -> str:
        return "seeahead"

    def log_message(self, *given: object) -> None:
        """Nothing: it would stand between lines of progress."""


class _Server(ThreadingHTTPServer):
    def __init__(self, address: socket.socket, prefix: str) -> None:
        super().__init__(address.getsockname()[:2], partial(_Handler, prefix), bind_and_activate=False)
        self.socket.close()
        self.socket = address.dup()
        self._began: dict[Any, float] = {}  # when each connection that is open did, in this order

    def handle_error(self, *given: object) -> None:
        """Nothing: a client went away."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self._began[request] = monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._began.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called all the time: the model's files want places among those that may be open, too."""
        began = self._began.copy()
        for number, (one, since) in enumerate(began.items()):
            if number < len(began) - _MOST_OPEN or monotonic() - since > _SECONDS:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def end_reading(self) -> None:
        """What is still sent is read by nobody; who is just told something hears it."""
        for one in self._began.copy():
            with suppress(OSError):
                one.shutdown(socket.SHUT_RD)


@contextmanager
def told_to_wait(address: socket.socket, prefix: str = "") -> Iterator[None]:
    """Inside, whoever connects to the listening `address` is told to come back; who has not been told is left there.

    `prefix`: what a proxy may have left before paths."""
    server = _Server(address, prefix)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="seeahead-loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.end_reading()
        server.server_close()
