"""One image from a public web address, and from nowhere else.

A server that follows addresses sent by strangers must not reach its own network with them. So the name is
resolved once, every address it has must be public, connections go to the checked addresses alone, and
every redirect goes through the same check. Proxies are not used: they would resolve the name again.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
import unicodedata
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from seeahead import __version__
from seeahead.errors import ImageError, escaped, shown

MAX_REDIRECTS = 3
MAX_ADDRESSES = 4  # of one name are tried
MAX_LETTERS = 8192  # of an address; servers and browsers take no longer ones
TIMEOUT_SECONDS = 15.0

_REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS = {"Accept": "image/*", "Connection": "close", "User-Agent": f"seeahead/{__version__} (image fetcher)"}
_INSTEAD = "download the image, give its path"
_MAX_HOST_LETTERS = 253  # by the rules of the name system

# Written out, since `ipaddress` knows them only in part and each version of Python another part.
_NOT_PUBLIC = [
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a public number for the host of every machine on Azure
        # Teredo, benchmarks, ORCHID and other special uses; documentation; 6to4; AS112; 6bone; documentation
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
    )
]  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all other IPv6 is private, special, or carries an IPv4 address
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # in the middle of an IPv6 address: the end is an IPv4 address

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
# What browsers leave as it is in a path or query; a % belongs to what is encoded already.
_PATH_LETTERS, _QUERY_LETTERS = "/%:@!$&'()*+,;=[]|~", "/%:@!$&()*+,;=[]|~?`{}\\^"


@dataclass(frozen=True)
class _Place:
    """A web address in the letters that are sent: the host in ASCII, everything else percent-encoded."""

    url: str
    is_secure: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        """The host as it may stand in a message."""
        return shown(self.host)


def fetch(url: str, *, max_bytes: int, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """The body behind `url`, at most `max_bytes`, within `timeout_seconds` for all of it together."""
    deadline = time.monotonic() + timeout_seconds
    place = _parse(url)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            location, body = _get(place, _checked_addresses(place, deadline), max_bytes, deadline)
            if location is None:
                return body
            place = _parse(location, place)
    except TimeoutError:
        raise ImageError(f"{place} gives no answer within {timeout_seconds:g} seconds; {_INSTEAD}") from None
    raise ImageError(f"the address redirects more than {MAX_REDIRECTS} times; {_INSTEAD}")


def is_public(address: str) -> bool:
    """Whether an address is on the open internet, also where it carries another address inside."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip not in _GLOBAL_UNICAST or (int(ip) >> 32) & 0xFFFF_FFFF in _ISATAP:
            return False
    return ip.is_global and not any(ip in net for net in _NOT_PUBLIC if net.version == ip.version)


def _parse(url: str, before: _Place | None = None) -> _Place:
    """The place of an address as typed, or of the redirect that `before` answered with."""
    what = "the web address" if before is None else f"the address that {before} redirects to"
    url = url.strip()
    # Before anything is made of it: what follows takes time with its length, or its square, or keeps a copy.
    if len(url) > MAX_LETTERS:
        raise ImageError(f"{what} has {len(url):,} letters; allowed: up to {MAX_LETTERS:,}; {_INSTEAD}")
    try:
        target = urlsplit(url if before is None else urljoin(before.url, url))
        port, typed = target.port, target.hostname or ""
        host = _ascii_host(typed[: _MAX_HOST_LETTERS + 1])
        path = _encoded(target)
    except ValueError:
        raise ImageError(f"{what} is malformed; write https://host/path") from None
    if len(typed) > _MAX_HOST_LETTERS:
        raise ImageError(f"{what} has a host of {len(typed):,} letters; allowed: up to {_MAX_HOST_LETTERS}; {_INSTEAD}")
    if target.username is not None or target.password is not None:
        raise ImageError(f"{what} carries a user name; {_INSTEAD}")
    if target.scheme not in ("http", "https") or not host or port == 0:
        raise ImageError(f"{what} is not http or https with a host name; write https://host/path")
    is_secure = target.scheme == "https"
    return _Place(target.geturl(), is_secure, host, port or (443 if is_secure else 80), path)


def _ascii_host(host: str) -> str:
    """A host's name in the letters of the name system, as browsers write it: not IDNA 2003, which changes ß to ss.

    Raises ValueError for what is no host."""
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", host).lower()).replace("。", ".")
    if any(unicodedata.category(letter)[0] in "CZ" for letter in folded):  # control, surrogate, unassigned, blank
        raise ValueError(host)
    labels = [
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in folded.split(".")
    ]
    name = ".".join(labels)
    if name and not _HOST_NAME.fullmatch(name):
        raise ValueError(host)
    return name


def _encoded(target: SplitResult) -> str:
    """Path and query. Bytes that are no UTF-8, from a command line or a header, are sent as the bytes they are."""
    path = quote(target.path or "/", safe=_PATH_LETTERS, errors="surrogateescape")
    query = quote(target.query, safe=_QUERY_LETTERS, errors="surrogateescape")
    return path + (f"?{query}" if query else "")


def _checked_addresses(place: _Place, deadline: float) -> list[str]:
    """All addresses of the host. The name system knows no time limit, so it is asked in a thread that may be left."""
    answers: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, ValueError):
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        addresses = answers.get(timeout=_remaining(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if addresses is None:
        raise ImageError(f"the host {place} is unknown; check the address, or download the image")
    # One private address among several is enough to refuse: the caller cannot know which one would be used.
    if not addresses or not all(is_public(address) for address in addresses):
        raise ImageError(f"the host {place} is not on the public internet; {_INSTEAD}")
    return addresses


def _remaining(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _get(place: _Place, addresses: Sequence[str], max_bytes: int, deadline: float) -> tuple[str | None, bytes]:
    try:
        with _opened(place, addresses[:MAX_ADDRESSES], deadline) as opened:
            # A timeout per read would let a server drip bytes for ever.
            timer = threading.Timer(_remaining(deadline), _end, (opened,))
            timer.daemon = True
            timer.start()
            try:
                return _answer(opened, place, max_bytes, deadline)
            finally:
                timer.cancel()
    except (ImageError, TimeoutError):
        raise
    # AttributeError: a secure socket that is ended in the middle of a read
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        _remaining(deadline)  # after the deadline it is the end of the socket that is seen here
        reason = escaped(str(error) or type(error).__name__)
        raise ImageError(f"{place} answers, but not as it should: {reason}; {_INSTEAD}") from None


def _opened(place: _Place, addresses: Sequence[str], deadline: float) -> socket.socket:
    """A connection to the first of the checked addresses that answers; a secure one in the host's own name."""
    for number, address in enumerate(addresses):
        # What is left is shared, so that an address that never answers leaves time for the others.
        share = _remaining(deadline) / (len(addresses) - number)
        try:
            opened = socket.create_connection((address, place.port), timeout=share)
            break
        except OSError as error:
            reason = escaped(error.strerror or "no answer")
    else:
        _remaining(deadline)
        raise ImageError(f"{place} cannot be reached: {reason}; {_INSTEAD}")
    if _is_near(opened):
        opened.close()
        raise ImageError(f"the host {place} is not on the public internet; {_INSTEAD}")
    opened.settimeout(_remaining(deadline))
    # The greeting as a whole is within this time, however slowly it drips.
    return ssl.create_default_context().wrap_socket(opened, server_hostname=place.host) if place.is_secure else opened


def _is_near(opened: socket.socket) -> bool:
    """Whether the other end is this machine, or next to it in its network, under an address that is a public one."""
    try:
        names = (opened.getsockname()[0], opened.getpeername()[0])
    except OSError:  # ended already
        return False
    ours, theirs = (ipaddress.ip_address(name.partition("%")[0]) for name in names)
    if isinstance(ours, ipaddress.IPv6Address) and ours.ipv4_mapped is None:
        return int(ours) >> 64 == int(theirs) >> 64
    return ours == theirs


def _end(opened: socket.socket) -> None:
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def _answer(opened: socket.socket, place: _Place, max_bytes: int, deadline: float) -> tuple[str | None, bytes]:
    """Where the server sends us instead, and the body."""
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.default_port = 443 if place.is_secure else 80  # not named in the request
    connection.sock, connection.auto_open = opened, 0  # never by the name again, which was checked once
    connection.request("GET", place.path, headers=_HEADERS)
    with closing(connection.getresponse()) as response:
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            # Headers are read as Latin-1, whatever was meant.
            return str(location).encode("latin-1").decode("utf-8", "surrogateescape"), b""
        if response.status != 200:
            raise ImageError(f"{place} answers {response.status}; check the address, or download the image")
        body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise ImageError(f"the image at {place} is larger than {max_bytes:,} bytes, the limit")
    _remaining(deadline)  # after an abort a read without a length ends as if the body were complete
    return None, body
