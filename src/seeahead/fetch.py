"""One picture from a public web address, and from nowhere else.

A server that follows addresses sent by strangers must not reach its own network with them. So the name is
resolved once, every address it has must be public, the connection goes to exactly the checked address, and
every redirect goes through the same check. Proxies are not used: they would resolve the name again.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import closing
from urllib.parse import SplitResult, urljoin, urlsplit

from seeahead.errors import ImageError

MAX_REDIRECTS = 3
TIMEOUT_SECONDS = 15.0

_REDIRECTS = {301, 302, 303, 307, 308}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fetch(url: str, *, max_bytes: int, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """The body behind `url`, at most `max_bytes`, within `timeout_seconds` for connection and transfer together."""
    deadline = time.monotonic() + timeout_seconds
    for _ in range(MAX_REDIRECTS + 1):
        target = _split(url)
        address = _checked_address(target)
        try:
            body = _get(target, address, max_bytes, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            reason = str(error) or type(error).__name__
            if time.monotonic() >= deadline:
                reason = f"no answer within {timeout_seconds:g} seconds"
            raise ImageError(
                f"{_host(target)} cannot be reached: {reason}; download the picture, give its path"
            ) from None
        if isinstance(body, bytes):
            return body
        url = urljoin(url, body.location)
    raise ImageError(f"the address redirects more than {MAX_REDIRECTS} times; download the picture, give its path")


class _Redirect:
    """Where the server sends us instead of a body."""

    def __init__(self, location: str) -> None:
        self.location = location


def is_public(address: str) -> bool:
    """Whether an address is on the open internet, also where it carries another address inside."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # Each of these reaches an IPv4 address, which may be a private one.
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _split(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError:
        raise ImageError("the web address is malformed; write https://host/path") from None
    if target.scheme not in ("http", "https") or not target.hostname or port == 0:
        raise ImageError("the web address is not http or https with a host name; write https://host/path")
    if target.username is not None or target.password is not None:
        raise ImageError("the web address carries a user name; download the picture, give its path")
    return target


def _checked_address(target: SplitResult) -> str:
    host, port = _host(target), _port(target)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
    except (OSError, UnicodeError):
        raise ImageError(f"the host {host} is unknown; check the address, or download the picture") from None
    # One private address among several is enough to refuse: the caller cannot know which one would be used.
    if not addresses or not all(is_public(address) for address in addresses):
        raise ImageError(f"the host {host} is not on the public internet; download the picture, give its path")
    return addresses[0]


class _Connection(http.client.HTTPConnection):
    """HTTP to one checked address, under the host's own name."""

    def __init__(self, target: SplitResult, address: str, deadline: float) -> None:
        super().__init__(_host(target), _port(target))
        self._address = address
        self._is_secure = target.scheme == "https"
        self._deadline = deadline
        # http.client forgets the socket once it knows that the answer ends with the connection.
        self._open_socket: socket.socket | None = None

    def connect(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._open_socket = socket.create_connection((self._address, self.port), timeout=remaining)
        if self._is_secure:
            secure = ssl.create_default_context()
            self._open_socket = secure.wrap_socket(self._open_socket, server_hostname=self.host)
        self.sock = self._open_socket

    def abort(self) -> None:
        """End whatever waits on the socket. A timeout per read would let a server drip bytes for ever."""
        if self._open_socket is not None:
            try:
                self._open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def _get(target: SplitResult, address: str, max_bytes: int, deadline: float) -> bytes | _Redirect:
    connection = _Connection(target, address, deadline)
    timer = threading.Timer(max(deadline - time.monotonic(), 0), connection.abort)
    timer.daemon = True
    timer.start()
    try:
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection.request("GET", path, headers={"Accept": "image/*", "Connection": "close", "User-Agent": "seeahead"})
        with closing(connection.getresponse()) as response:
            if response.status in _REDIRECTS and response.getheader("Location"):
                return _Redirect(str(response.getheader("Location")))
            if response.status != 200:
                raise ImageError(
                    f"{_host(target)} answers {response.status}; check the address, or download the picture"
                )
            body = response.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise ImageError(f"the picture at {_host(target)} is larger than {max_bytes:,} bytes, the limit")
        # After an abort a read without a length ends as if the body were complete.
        if time.monotonic() >= deadline:
            raise TimeoutError
        return body
    finally:
        timer.cancel()
        connection.close()


def _host(target: SplitResult) -> str:
    return target.hostname or ""


def _port(target: SplitResult) -> int:
    return target.port or (443 if target.scheme == "https" else 80)
