"""Who may ask a server of this machine without a key: no pages of other sites, whose readers' browsers can reach it.

Such a page may have its own name mean 127.0.0.1 once it is open (DNS rebinding), or ask without reading the answer.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from seeahead.errors import shown
from seeahead.serve.errors import ApiError
from seeahead.serve.settings import ServeSettings

FOR_ALL = ("/health", "/ready")
"""What orchestrators ask by the address that they gave the machine, and which tells nothing else."""


def is_for_all(path: str, prefix: str) -> bool:
    """Whether it is one of these, also where a proxy has left its `prefix` before it."""
    return path.removeprefix(prefix).rstrip("/") in FOR_ALL


def checks_hosts(settings: ServeSettings) -> bool:
    """Whether requests are checked: where names are given, or where anybody of this machine alone may ask."""
    if settings.allowed_hosts or settings.api_keys:
        return bool(settings.allowed_hosts)
    with suppress(OSError, UnicodeError):
        return _is_loopback(str(socket.getaddrinfo(settings.host, None)[0][4][0]))
    return False


class Below:
    """An application that is asked with a `prefix` before its paths, or without it where a proxy takes it away."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._prefix}, receive, send)


class HostCheck:
    """Refuses what comes under a name that is not this machine's, or from a page of another site."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, refused: Callable[[int], None]) -> None:
        self._app, self._refused = app, refused
        self._names = {"localhost", *map(_name, (settings.host, *settings.allowed_hosts))}
        self._origins = {*settings.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_asked = scope["type"] == "http" and not is_for_all(scope["path"], scope.get("root_path", ""))
        why = self._why_not(Headers(scope=scope)) if is_asked else None
        if why is None:
            await self._app(scope, receive, send)
        else:
            self._refused(403)
            await ApiError(403, why).response()(scope, receive, send)

    def _why_not(self, headers: Headers) -> str | None:
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not (_is_loopback(name := _name(host)) or name in self._names):  # browsers send it
            return f"this server does not answer under the name {shown(name)}; --allowed-host NAME allows one"
        if origin is None or {"*", origin.lower()} & self._origins or _is_of(origin, host):
            return None
        return f"this server does not answer pages of {shown(origin)}; --allowed-origin URL allows them"


def _name(host: str) -> str:
    """A Host header without its port and the dot that may end a name."""
    with suppress(ValueError):  # an IPv6 address without brackets, in which colons are no ports
        return str(ip_address(host))
    name = re.sub(r":\d*$", "", host).lower()
    with suppress(ValueError):
        return str(ip_address(name.strip("[]")))
    return name.removesuffix(".")


def _is_of(origin: str, host: str | None) -> bool:
    """Whether a page was given under the name that it asks under."""
    return host is not None and origin.lower().partition("://")[2] == host.lower()


def _is_loopback(name: str) -> bool:
    with suppress(ValueError):
        address = ip_address(name)
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback and not getattr(address, "scope_id", None)
    return False
