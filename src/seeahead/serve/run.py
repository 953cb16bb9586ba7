"""Runs the application on a socket until it is asked to end; then those under way are answered first."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from seeahead.drafters.auto import keep_all
from seeahead.errors import InputError, shown
from seeahead.garbage import loaded_is_none
from seeahead.serve.connections import Connection
from seeahead.serve.owner import Owner
from seeahead.serve.settings import ServeSettings

_IDLE_SECONDS = 75  # that a connection waits for another request: more than proxies before it keep theirs
_GRACE_SECONDS = 30  # that answers under way have once the server is asked to end
_TELLING_SECONDS = 2  # of these, in which those that are not whole are told


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError for an address that cannot be had."""
    opened: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1024)
    except (OSError, UnicodeError) as error:
        if opened is not None:
            opened.close()
        reason = "it is no name of a host" if isinstance(error, UnicodeError) else error.strerror or str(error)
        raise InputError(
            f"{shown(host)} port {port} cannot be listened on: {reason}; choose another --host or --port"
        ) from None
    return opened


class _Server(uvicorn.Server):
    """Says that it is closing at once, so that nobody sends it anything new."""

    owner: Owner

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.owner.close()
        telling = asyncio.get_running_loop().call_later(_GRACE_SECONDS - _TELLING_SECONDS, self.owner.drop_all)
        await super().shutdown(sockets)
        telling.cancel()


def server_of(app: FastAPI, owner: Owner, settings: ServeSettings) -> uvicorn.Server:
    kind: Any = partial(Connection, settings)
    told: dict[str, Any] = {"log_level": "error", "ws": "none", "access_log": False, "server_header": False}
    waits: dict[str, Any] = {"timeout_graceful_shutdown": _GRACE_SECONDS, "timeout_keep_alive": _IDLE_SECONDS}
    server = _Server(uvicorn.Config(app, http=kind, **waits, **told))
    server.owner = owner
    return server


def serve(app: FastAPI, owner: Owner, address: socket.socket, settings: ServeSettings) -> None:
    """Until Ctrl-C, which is how it ends well, or SIGTERM, which uvicorn sends on once it has shut down."""
    server = server_of(app, owner, settings)
    try:
        with loaded_is_none():
            server.run(sockets=[address])
    except KeyboardInterrupt:  # uvicorn raises it anew once it has shut down
        if not server.started:
            raise
    finally:
        owner.stop(1.0)
        keep_all()  # threads that fetch images may hold up the end of the process
