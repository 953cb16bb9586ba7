"""Runs the application on a socket until it is asked to end; then those under way are answered first."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from seeahead.errors import InputError, shown
from seeahead.serve.owner import Owner

_GRACE_SECONDS = 30
"""That answers under way have once the server is asked to end."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError for an address that cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{shown(host)} port {port} cannot be listened on: {reason}; choose another --host or --port"
        ) from None
    return opened


class _Server(uvicorn.Server):
    """Says that it is closing at once, so that nobody sends it anything new."""

    owner: Owner

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.owner.close()
        await super().shutdown(sockets)


def serve(app: FastAPI, owner: Owner, address: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS, server_header=False
    )
    server = _Server(config)
    server.owner = owner
    try:
        server.run(sockets=[address])
    finally:
        owner.stop(1.0)
