"""A server of this machine that asks for no key: programs here may ask, pages of other sites may not."""

import json
import socket
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from seeahead.errors import InputError
from seeahead.serve.app import create_app
from seeahead.serve.hosts import checks_hosts
from seeahead.serve.settings import settings_from
from tests.serve.conftest import PATIENCE, chat, serving
from tests.serve.test_page import Nobody

PATHS = ("/", "/version", "/v1/models/tiny/none", "/openapi.json", "/nowhere")


@pytest.fixture(scope="module")
def local():
    with serving() as found:
        yield found


def status(settings, path="/version", host="127.0.0.1:8000", origin=None):
    """Of a request under the name `host`."""
    app = create_app(Nobody(), settings_from(model_name="tiny", **settings))
    headers = {"host": host, **({} if origin is None else {"origin": origin})}
    with TestClient(app) as client:
        reply = client.get(path, headers=headers)
    if reply.status_code == 403:
        error = reply.json()["error"]
        assert error["type"] == "permission_error"
        assert "\n" not in error["message"]
        assert ("--allowed-host" in error["message"]) != ("--allowed-origin" in error["message"])
        assert 'refused_requests_total{model_name="tiny",status="403"} 1.0' in _metrics(app)
    return reply.status_code


def _metrics(app):
    with TestClient(app, base_url="http://localhost") as client:
        return client.get("/metrics").text


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:8000", "localhost.:8000", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:8000"),
        *("my.test:80", "my.test.", "box.test", "[2001:db8::1]:8000", "[2001:DB8:0::1]", "[2001:db8::2]"),
        "[::ffff:127.0.0.1]:8000",
    ],
)
def test_names_of_this_machine_are_answered(host):
    assert status({"allowed_hosts": ("My.test", "box.test.:8000", "2001:db8::1", "[2001:db8::2]")}, host=host) == 200


@pytest.mark.parametrize(
    "given",
    [{"allowed_hosts": (one,)} for one in ("http://my.test", "*", "my.test/", "a b", "", "me@my.test")]
    + [{"allowed_origins": (one,)} for one in ("my.test", "https://my.test/page", "https://*.my.test", "https://", "")],
)
def test_what_no_request_could_say_is_refused_at_start(given):
    with pytest.raises(InputError, match=r"^--allowed-(host|origin) is .*; allowed: ") as refused:
        settings_from(model_name="tiny", **given)
    assert "\n" not in str(refused.value)


def test_letters_large_and_small_and_a_last_slash_mean_the_same_page():
    settings = {"allowed_origins": ("https://A.test/",)}
    assert status(settings, origin="https://a.test") == 200
    assert status({}, host="LOCALHOST:8000", origin="http://localhost:8000") == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.test:8000",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "testserver",
        "10.0.0.1",
        "[::2]:8000",
        "::1%evil.test",
        "[::1%25evil.test]",
        "[",
        "",
        "x y\u00e9",
    ],
)
def test_other_names_are_refused_whatever_is_asked(path, host):
    assert status({}, path, host.encode("latin-1")) == 403


@pytest.mark.parametrize(
    ("settings", "checks"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "127.1"}, True),
        ({"host": "::1"}, True),
        ({"host": "::ffff:127.0.0.1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "192.0.2.1"}, False),
        ({"host": "no such name"}, False),
        ({"api_keys": ("key",)}, False),
        ({"api_keys": ("key",), "allowed_hosts": ("my.test",)}, True),
        ({"host": "0.0.0.0", "allowed_hosts": ("my.test",)}, True),
    ],
)
def test_what_is_checked_follows_from_who_may_ask(settings, checks):
    assert checks_hosts(settings_from(model_name="tiny", **settings)) == checks
    assert status(settings, host="evil.test") == (403 if checks else 200)


def test_the_name_that_it_was_told_to_listen_on_is_its_own(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(socket.AF_INET, 1, 6, "", ("127.0.1.1", 0))])
    assert status({"host": "mybox"}, host="mybox:8000") == 200
    assert status({"host": "mybox"}, host="other:8000") == 403
    assert status({"host": "2001:db8::1", "allowed_hosts": ("x",)}, host="[2001:db8::1]:8000") == 200


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://good.test", 200),
        ("http://127.0.0.1:3000", 403),
        ("http://localhost:8000", 403),
        ("https://evil.test", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_are_refused(origin, wanted):
    assert status({"allowed_origins": ("https://good.test",)}, origin=origin) == wanted
    assert status({"allowed_origins": ("*",)}, origin=origin) == 200


def test_what_a_page_may_send_without_being_asked_about_is_refused(local):
    """Browsers send such requests to other sites as they are, and look at the reply's headers only then."""
    body = json.dumps(chat("x", max_tokens=1)).encode()
    place = urlsplit(local.url).netloc

    def asked(kind, *lines):
        head = ["POST /v1/chat/completions HTTP/1.1", f"Host: {place}", "Connection: close", *lines]
        head += [f"Content-Length: {len(body)}", *([f"Content-Type: {kind}"] if kind else [])]
        return said(place, "\r\n".join([*head, "", ""]).encode() + body)

    for kind in ("text/plain", "text/plain; charset=application/json", "multipart/form-data; boundary=x", None,
                 "application/x-www-form-urlencoded"):  # fmt: skip
        assert asked(kind) == 415
        assert asked(kind, "Origin: https://evil.test") == 403
    assert asked("application/json", "Origin: https://evil.test") == 403
    assert asked("application/json", f"Origin: http://{place}") == 200


def test_clients_that_say_no_name_are_no_browsers(local):
    assert said(urlsplit(local.url).netloc, b"GET /health HTTP/1.0\r\n\r\n") == 200


def said(place, data):
    """The status of the reply to what is sent as it is."""
    host, _, port = place.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as opened:
        opened.sendall(data)
        return int(opened.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_orchestrators_ask_under_any_name(path):
    assert status({"host": "0.0.0.0", "allowed_hosts": ("my.test",)}, path, host="10.0.0.5:8000") != 403
