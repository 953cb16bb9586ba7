"""What clients are told while the model is loaded: that the process lives, and to come back."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from seeahead.serve.errors import ApiError

_POLL_SECONDS = 0.05
_MOST_BYTES, _PART_BYTES = 256 << 20, 1 << 16
"""Of a body, that are read and thrown away."""
_LOADING = ApiError(503, "the model is being loaded; ask again in a moment", code="loading")
_STATUS = {"/health": (200, {"status": "alive"}), "/ready": (503, {"status": "not ready"})}


class _Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds that a request may take to come in

    def _tell(self) -> None:
        size = self.headers.get("Content-Length", "")
        left = min(int(size), _MOST_BYTES) if size.isdecimal() else 0
        while left > 0 and (part := self.rfile.read(min(left, _PART_BYTES))):  # else the client's sending fails
            left -= len(part)
        status, body = _STATUS.get(self.path.partition("?")[0], (_LOADING.status, _LOADING.body))
        told = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(told)))):
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
    def handle_error(self, *given: object) -> None:
        """Nothing: a client went away."""


@contextmanager
def told_to_wait(address: socket.socket) -> Iterator[None]:
    """Inside, whoever connects to the listening `address` is told to come back; who has not been told is left there."""
    server = _Server(address.getsockname()[:2], _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = address.dup()
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="seeahead-loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
