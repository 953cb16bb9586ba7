"""Connections: clients that are slow, too many, or write what is no HTTP."""

import json
import logging
import socket
import sys
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from tests.serve.conftest import KEY, PATIENCE, chat, serving
from tests.serve.test_refusals import CHAT, sent
from tests.serve.test_streams import eventually


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


def test_the_body_of_a_request_behind_another_has_its_time_too(hasty):
    with connected(hasty) as opened:
        opened.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + head(900) + b"{")
        first, _, second = told(opened).partition(b'{"status":"alive"}')
        assert first.startswith(b"HTTP/1.1 200")
        assert is_refusal(second, 408)


def test_a_connection_that_says_nothing_is_closed(hasty):
    with connected(hasty) as opened:
        assert is_refusal(told(opened), 408)


def test_a_body_that_goes_on_after_its_refusal_ends(hasty):
    with connected(hasty) as opened:
        opened.sendall(head(10**6, kind="text/plain"))
        assert told(opened, b"x").startswith(b"HTTP/1.1 415")


def test_a_slow_answer_is_no_slow_request(hasty, monkeypatch):
    step = hasty.owner._batch.step
    monkeypatch.setattr(hasty.owner._batch, "step", lambda **given: (time.sleep(0.2), step(**given))[1])
    assert sent(hasty, chat("one two", max_tokens=8))[0] == 200


def test_a_connection_may_be_used_again_and_again(hasty):
    body = json.dumps(chat("x", max_tokens=1)).encode()
    with connected(hasty) as opened:
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
    assert not caplog.records


def test_too_many_clients_are_told_to_come_again():
    with serving(max_connections=2) as served, connected(served), connected(served) as second:
        with connected(served) as third:
            third.sendall(head(0))
            data = told(third)
            assert is_refusal(data, 503)
            assert b"retry-after: 5" in data.lower()
        with connected(served) as third, connected(served) as fourth, connected(served) as one_too_many:
            one_too_many.sendall(head(0))
            assert told(one_too_many) == b"", "nobody has time for it"
            for silent in (third, fourth):
                assert is_refusal(told(silent), 408), "it does not keep its place for long"
        second.close()
        assert sent(served, chat("x", max_tokens=1))[0] == 200
