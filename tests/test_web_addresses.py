"""Web addresses before anything is sent: what is public, how a host is written, what is malformed. No network."""

import re
import socket
import threading
from types import SimpleNamespace

import pytest

from seeahead import fetch as fetching
from seeahead.fetch import is_public
from tests.web import answer_with, refusal

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    # site-local, 6to4 and its relays, Teredo, local NAT64, translated and compatible IPv4, ISATAP
    "fec0::1", "feff::1", "2002:808:808::1", "192.88.99.1", "::ffff:192.88.99.1", "2001::1", "2001:0:4136:e378::1",
    "64:ff9b:1::1", "::ffff:0:7f00:1", "::7f00:1", "2a00:1450:4001::5efe:7f00:1", "2a00:1450:4001::200:5efe:a00:1",
    # documentation, benchmarks, identifiers that are no addresses, discarding, segment routing, the old 6bone
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1", "198.18.0.1", "198.19.255.255",
    "2001:2::1", "2001:10::1", "2001:20::1", "100::1", "5f00::1", "3ffe::1",
    # protocols' own, sinks of the name system, hosts of cloud machines
    "192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.192", "192.31.196.1", "192.52.193.1", "192.175.48.1",
    "2620:4f:8000::1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "192.0.1.1", "192.88.98.1", "198.20.0.1", "168.63.129.17", "2606:4700:4700::1111",
     "2001:4860:4860::8888", "2a00:1450:4001::1", "2620:0:862::1", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_public_addresses_are(address):
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_resolves_to_a_private_address_is_refused(address, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answer_with([address]))
    assert "not on the public internet" in refusal("http://innocent.example/a.png")


def test_one_private_address_among_public_ones_is_refused(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answer_with(["8.8.8.8", "127.0.0.1"]))
    assert "not on the public internet" in refusal("http://innocent.example/a.png")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_spellings_of_this_machine_are_refused(host):
    message = refusal(f"http://{host}/a.png")
    assert "not on the public internet" in message or "unknown" in message


def test_malformed_addresses():
    assert "malformed" in refusal("http://[::1/a.png")
    assert "malformed" in refusal("http://host:99999/a.png")
    assert "host name" in refusal("http:///a.png")
    assert "user name" in refusal("http://me:secret@example.com/a.png")
    assert "secret" not in refusal("http://me:secret@example.com/a.png")
    assert "secret" not in refusal("http://me:secret@[/a.png")


@pytest.mark.parametrize(
    "host",
    ["x\x1b[31m.example", "x\x00y", "a b", "[", "[::1", "[x]", "ex\u2100mple", "a..b", ".", "\ud800.example", "a:b:c",
     "x%41"],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_is_no_name_is_malformed(scheme, host, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the name was looked up"))
    message = refusal(f"{scheme}://{host}/a.png")
    assert "malformed" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("a_b-c.example.", "a_b-c.example."),
    ],
)
def test_a_host_is_looked_up_in_the_letters_of_the_name_system(typed, asked, monkeypatch):
    names = []

    def getaddrinfo(host, port, **_):
        names.append(host)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert f"the host '{asked}' is unknown" in refusal(f"https://{typed}/a.png")
    assert names == [asked]


@pytest.mark.parametrize("letter", ["x", "ü", "㋿"])
def test_a_long_host_is_refused_before_it_is_folded(letter, monkeypatch):
    """The letters of the name system take time with the square of a host's length."""
    monkeypatch.setattr(socket, "getaddrinfo", answer_with(["10.0.0.1"]))
    assert "not on the public internet" in refusal(f"http://{'x' * 253}/a.png")
    folded = []
    fold = fetching._ascii_host
    monkeypatch.setattr(fetching, "_ascii_host", lambda host: folded.append(len(host)) or fold(host))
    for num in (254, 8000):
        told = f"the web address has a host of {num:,} letters; allowed: up to 253; download the image, give its path"
        assert refusal(f"http://{letter * num}/a.png") == told
    assert max(folded) == 254


@pytest.mark.parametrize("place", ["{}.example/a.png", "host.example/{}", "host.example/a.png?{}", "[{}"])
def test_a_long_address_is_refused_before_it_is_read(place, monkeypatch):
    monkeypatch.setattr(fetching, "urlsplit", lambda url: pytest.fail("it was read"))
    message = refusal("https://" + place.format("ü" * 1_000_000))
    assert re.fullmatch("the web address has 1,000,0.. letters; allowed: up to 8,192; download the .*", message)


def test_a_name_system_that_never_answers_is_left_in_time(monkeypatch):
    released = threading.Event()

    def getaddrinfo(*_, **__):
        released.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert "no answer within 0.2 seconds" in refusal("http://slow.example/a.png", timeout_seconds=0.2)
    released.set()


@pytest.mark.parametrize(
    ("ours", "theirs", "near"),
    [
        ("203.0.114.7", "203.0.114.7", True),
        ("203.0.114.7", "203.0.114.8", False),
        ("2a00:1450:4001:a::7", "2a00:1450:4001:a::7", True),
        ("2a00:1450:4001:a::7", "2a00:1450:4001:a:ffff::8", True),
        ("2a00:1450:4001:a::7%eth0", "2a00:1450:4001:a::8%eth0", True),
        ("2a00:1450:4001:a::7", "2a00:1450:4001:b::7", False),
        ("::ffff:203.0.114.7", "::ffff:203.0.114.7", True),
        ("::ffff:203.0.114.7", "::ffff:8.8.8.8", False),
    ],
)
def test_what_is_this_machine_or_next_to_it(ours, theirs, near):
    opened = SimpleNamespace(getsockname=lambda: (ours, 1), getpeername=lambda: (theirs, 443))
    assert fetching._is_near(opened) is near


def test_a_connection_that_has_ended_is_not_near():
    with socket.socket() as opened:
        assert fetching._is_near(opened) is False
