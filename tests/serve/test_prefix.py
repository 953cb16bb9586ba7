"""Behind a proxy that puts a prefix before all paths, whether it takes it away again or not."""

import re
from contextlib import closing
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from seeahead.serve.app import PAGE, create_app
from seeahead.serve.loading import told_to_wait
from seeahead.serve.run import listening
from seeahead.serve.settings import settings_from
from tests.serve.test_loading import told
from tests.serve.test_page import SCRIPTS, TEXTS, Nobody, Parts

PREFIX = "/some/prefix"


@pytest.fixture
def client():
    app = create_app(Nobody(), settings_from(model_name="tiny", root_path=PREFIX))
    with TestClient(app, base_url="http://localhost") as made:
        yield made


@pytest.mark.parametrize("is_taken_away", [True, False])
@pytest.mark.parametrize("path", ["/", "/docs", "/docs/"])
def test_all_that_a_page_names_lies_below_the_prefix(client, path, is_taken_away):
    def got(address):
        reply = client.get(address.removeprefix(PREFIX) if is_taken_away else address)
        assert reply.status_code == 200, address
        return reply

    page = got(PREFIX + path)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    named = [part[name] for part in Parts(page.text).found for name in ("src", "href") if name in part]
    named = [urljoin(PREFIX + path, one) for one in named if not one.startswith(("#", "data:"))]
    assert len(named) >= 3
    for address in named:
        assert address.startswith(f"{PREFIX}/")
        got(address)


def test_all_that_scripts_name_lies_below_the_prefix():
    parts = {f"{PREFIX}/page/{name}" for name in PAGE}
    for name, text in TEXTS.items():
        assert {urljoin(f"{PREFIX}/page/{name}", one) for one in re.findall(r'from "([^"]+)"', text)} <= parts
    # Addresses without a slash before them are relative to the page.
    routes = {urljoin(f"{PREFIX}/", one) for one in re.findall(r'\basked\("([^"]+)"', SCRIPTS)}
    assert routes == {f"{PREFIX}/v1/models", f"{PREFIX}/v1/chat/completions"}
    assert SCRIPTS.count("fetch(") == 1


def test_the_description_says_where_its_routes_are(client):
    for path in ("/openapi.json", f"{PREFIX}/openapi.json"):
        assert client.get(path).json()["servers"] == [{"url": PREFIX}]


def test_orchestrators_ask_under_any_name_below_the_prefix_too():
    settings = settings_from(model_name="tiny", host="0.0.0.0", allowed_hosts=("my.test",), root_path=PREFIX)
    with TestClient(create_app(Nobody(), settings)) as client:
        for path, is_refused in (("/health", False), ("/version", True), (f"{PREFIX}/health", True)):
            reply = client.get(PREFIX + path, headers={"host": "10.0.0.5"})
            assert (reply.status_code == 403) == is_refused


def test_who_comes_while_a_model_is_loaded_is_told_so_below_the_prefix():
    with closing(listening("127.0.0.1", 0)) as address, told_to_wait(address, PREFIX):
        for prefix in ("", PREFIX):
            assert told(address, "GET", f"{prefix}/health")[0] == 200
            status, _, body = told(address, "GET", f"{prefix}/")
            assert (status, b'http-equiv="refresh"' in body) == (503, True)
