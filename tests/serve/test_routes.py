"""The page and who may ask from where: nothing of it comes from elsewhere, and nothing else can be had by its name."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.serve.conftest import KEY, PATIENCE, chat, serving
from tests.serve.test_page import Parts


def answer(served, path, method="GET", **headers):
    connection = HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    found = reply.status, dict(reply.headers), reply.read().decode()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/docs", "text/html"),
        ("/page/page.css", "text/css"),
        ("/page/page.js", "text/javascript"),
        ("/page/colours.css", "text/css"),
    ],
)
def test_the_page_needs_no_key_and_loads_nothing_from_elsewhere(served, path, kind):
    with urlopen(Request(served.url + path), timeout=PATIENCE) as reply:
        assert reply.headers["content-type"].startswith(kind)
        assert reply.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        text = reply.read().decode()
    for address in ("https://", "http://", " style=", " onclick=", "<style", "<script>"):
        assert address not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/app.py", "/page/index.html", "/page/..%2fapp.py", "/page/../app.py", "/page/%2e%2e/app.py",
     "/page//etc/passwd", "/page/page.css%00", "/redoc", "/static"],
)  # fmt: skip
def test_nothing_else_is_a_part_of_it(served, path):
    status, _, text = answer(served, path)
    assert status == 404
    assert '"not_found_error"' in text


def test_pages_elsewhere_may_ask_only_where_they_are_allowed(served):
    asks = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization,x-stainless-os"  # OpenAI's client sends several of these
    assert "access-control-allow-origin" not in answer(served, "/v1/models", Origin="https://good.example")[1]
    with serving(allowed_origins=("https://good.example",)) as other:
        status, headers, _ = answer(other, "/v1/chat/completions", "OPTIONS", **asks)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://good.example")
        headers = answer(other, "/v1/models", Origin="https://good.example")[1]
        assert headers["access-control-expose-headers"] == "retry-after"
        status, headers, _ = answer(
            other, "/v1/chat/completions", "OPTIONS", **{**asks, "Origin": "https://bad.example"}
        )
        assert status == 400
        assert "access-control-allow-origin" not in headers


def test_the_api_is_described_for_people_too(served):
    status, _, text = answer(served, "/docs")
    Parts(text)  # every element has its end
    assert status == 200
    for words in (
        "POST /v1/chat/completions",
        "GET /v1/models/{name}",
        "max_completion_tokens",
        "An assistant&#x27;s may",
    ):
        assert words in text


@pytest.mark.parametrize("path", ["/health", "/ready", "/"])
def test_monitors_may_ask_for_the_head_alone(served, path):
    status, headers, text = answer(served, path, "HEAD")
    assert (status, text) == (200, "")
    assert headers["content-type"] == answer(served, path)[1]["content-type"]


def test_a_page_elsewhere_reads_that_the_server_failed(monkeypatch):
    with serving(allowed_origins=("https://good.example",)) as other:
        monkeypatch.setattr(other.owner, "_made", None)
        asked = {"Origin": "https://good.example", "content-type": "application/json"}
        connection = HTTPConnection(urlsplit(other.url).netloc, timeout=PATIENCE)
        connection.request("POST", "/v1/chat/completions", json.dumps(chat("one")), asked)
        with connection.getresponse() as reply:
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (500, "https://good.example")
            assert "its log has the reason under" in json.load(reply)["error"]["message"]
        connection.close()


def test_models_are_told_as_other_servers_have_them(served):
    for path in ("/v1/models", "/v1/models/"):
        [told] = json.loads(answer(served, path, authorization=f"Bearer {KEY}")[2])["data"]
        assert (told["root"], told["parent"]) == ("tiny", None)
        assert told["max_model_len"] == told["seeahead"]["max_length"]
        assert told["created"] > 1e9
