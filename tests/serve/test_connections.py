"""Connections: clients that are slow, too many, or write what is no HTTP."""

import http.client
import json
import logging
import socket
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from seeahead.serve import connections
from tests.serve.conftest import KEY, PATIENCE, chat, serving
from tests.serve.test_refusals import CHAT, sent
from tests.serve.test_streams import asking, eventually


@pytest.fixture(scope="module")
def hasty():
    with serving(request_timeout_seconds=0.5, api_keys=(KEY,)) as found:
        yield found


@contextmanager
def connected(served):
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as opened:
        yield opened


@pytest.mark.skipif(sys.platform != "linux", reason="only there the system is asked to end it")
def test_a_client_that_reads_nothing_is_left_with_what_it_has_not_read():
    with serving(timeout_seconds=0.5) as served, connected(served) as opened:
        opened.settimeout(1)
        with suppress(TimeoutError, ConnectionError):  # once it is left, or nothing more goes through
            while True:
                opened.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        eventually(lambda: not served.server.server_state.connections)


@contextmanager
def hurried(served):
    """A connection that has much time to begin, and then little for what follows."""
    with connected(served) as opened:
        theirs = held(served, opened)
        eventually(lambda: theirs._timer)
        theirs._seconds = 0.5
        yield opened


def held(served, opened):
    """The server's end of a connection."""
    ours, all_held = opened.getsockname(), served.server.server_state.connections
    return eventually(lambda: [one for one in list(all_held) if one.client == ours])[0]


def head(length, *lines, kind="application/json"):
    given = [f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}", f"Content-Type: {kind}", *lines]
    return "\r\n".join([*given, *([] if length is None else [f"Content-Length: {length}"]), "", ""]).encode()


def told(opened, drip=b""):
    """What the server says until it closes; meanwhile `drip` is sent, again and again."""
    data, ends = b"", time.monotonic() + PATIENCE
    opened.settimeout(0.05)
    with suppress(ConnectionError):
        while time.monotonic() < ends:
            try:
                piece = opened.recv(65_536)
            except TimeoutError:
                with suppress(ConnectionError):  # what was said before that can still be read
                    opened.sendall(drip)
                continue
            if not piece:
                return data
            data += piece
        pytest.fail("the connection is held")
    return data


def is_refusal(data, status):
    first, _, body = data.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d" % status), data
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    return True


@pytest.mark.parametrize("start", [b"P", b"POST /v1/chat", head(9)[:-2], head(900), head(900) + b'{"a'])
@pytest.mark.parametrize("drip", [b"", b"x"])
def test_a_request_that_never_ends_is_refused(hasty, start, drip):
    with connected(hasty) as opened:
        opened.sendall(start)
        assert is_refusal(told(opened, drip), 408)


def test_the_body_of_a_request_behind_another_has_its_time_too(served):
    with hurried(served) as opened:
        opened.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + head(900) + b"{")
        first, _, second = told(opened).partition(b'{"status":"alive"}')
        assert first.startswith(b"HTTP/1.1 200")
        assert is_refusal(second, 408)


def test_a_connection_that_says_nothing_is_closed(hasty):
    with connected(hasty) as opened:
        assert is_refusal(told(opened), 408)


def test_a_body_that_goes_on_after_its_refusal_ends(served):
    with hurried(served) as opened:
        opened.sendall(head(10**6, kind="text/plain"))
        assert told(opened, b"x").startswith(b"HTTP/1.1 415")


def test_a_slow_answer_is_no_slow_request(served, monkeypatch):
    eventually(lambda: served.owner.num_running == 0)
    may_go, step = threading.Event(), served.owner._batch.step
    monkeypatch.setattr(served.owner._batch, "step", lambda **given: (may_go.wait(PATIENCE), step(**given))[1])
    with asking(served, chat("one two", max_tokens=8)) as asked:
        eventually(lambda: served.owner.num_running == 1)
        assert held(served, asked.sock)._timer is None
        may_go.set()
        with asked.getresponse() as reply:
            assert reply.status == 200


def test_a_connection_may_be_used_again_and_again(served):
    body = json.dumps(chat("x", max_tokens=1)).encode()
    with hurried(served) as opened:
        for _ in range(4):
            opened.sendall(head(len(body)) + body)
            data = b""
            while not data.endswith(b"}}"):
                data += opened.recv(65_536)
            assert data.startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
        opened.sendall(b"POST")
        assert is_refusal(told(opened), 408)


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"3\r\nabcde\r\n"])
def test_a_body_that_is_no_http_is_one_refusal(served, caplog, kind, chunk):
    with caplog.at_level(logging.ERROR), connected(served) as opened:
        opened.sendall(head(None, "Transfer-Encoding: chunked", kind=kind) + chunk)
        assert is_refusal(told(opened), 400)
    with caplog.at_level(logging.ERROR), connected(served) as opened:
        opened.sendall(head(None, "Transfer-Encoding: chunked", kind=kind))
        time.sleep(0.1)
        opened.sendall(chunk)
        assert told(opened).count(b"HTTP/1.1 4") == 1
    assert sent(served, chat("x", max_tokens=1))[0] == 200
    ours = ("asyncio", "seeahead", "uvicorn")  # other threads may warn of anything
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR and one.name.partition(".")[0] in ours]


def test_too_many_clients_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(connections, "_REFUSED_SECONDS", PATIENCE)
    few = {"max_connections": 2, "request_timeout_seconds": PATIENCE}
    with serving(**few) as served, connected(served), connected(served) as second:
        all_held = served.server.server_state.connections
        with connected(served) as third:
            third.sendall(head(0))
            data = told(third)
            assert is_refusal(data, 503)
            assert b"retry-after: 5" in data.lower()
        with closing(http.client.HTTPConnection(served.url.partition("//")[2], timeout=PATIENCE)) as monitor:
            monitor.request("GET", "/health")
            assert monitor.getresponse().status == 200, "a server that is full lives"
        with connected(served), connected(served), connected(served) as one_too_many:
            with suppress(ConnectionError):
                one_too_many.sendall(head(0))
            assert told(one_too_many) == b"", "nobody has time for it"
        eventually(lambda: len(all_held) == 2)
        monkeypatch.setattr(connections, "_REFUSED_SECONDS", 0.5)
        with connected(served) as silent:
            assert is_refusal(told(silent), 408), "it does not keep its place for long"
        second.close()
        eventually(lambda: len(all_held) == 1)
        assert sent(served, chat("x", max_tokens=1))[0] == 200


def first_line(opened):
    with opened.makefile("rb") as said:
        return said.readline()


def test_a_body_that_is_said_to_be_too_large_is_refused_before_any_of_it_comes(served):
    with connected(served) as opened:
        opened.sendall(head((1 << 20) + 1, "Expect: 100-continue"))
        assert first_line(opened).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(served):
    """Its end never comes."""
    with connected(served) as opened:
        opened.sendall(head(None, "Transfer-Encoding: chunked") + b"%x\r\n" % (2 << 20) + b" " * ((1 << 20) + 1))
        assert first_line(opened).startswith(b"HTTP/1.1 413")
