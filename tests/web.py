"""Shared by the tests of web addresses: a name system that says what it is told, and the refusal of an address."""

import socket

import pytest

from seeahead.errors import ImageError
from seeahead.fetch import fetch


def answer_with(addresses):
    def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


def refusal(url, **options) -> str:
    with pytest.raises(ImageError) as caught:
        fetch(url, **{"max_bytes": 1000, "timeout_seconds": 60, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)
