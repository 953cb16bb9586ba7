"""The page's files: nothing from outside, nothing inline, every part that the scripts name is there."""

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from seeahead.serve.app import PAGE, create_app
from seeahead.serve.settings import settings_from

FOLDER = files("seeahead") / "serve" / "page"
TEXTS = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("index.html", *PAGE)}
SCRIPTS = "\n".join(text for name, text in TEXTS.items() if name.endswith(".js"))


class Parts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.inside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_data(self, data):
        if self.inside and self.inside[-1] in ("script", "style"):
            assert not data.strip(), "nothing is inline: the policy of the page forbids it"


HTML = Parts(TEXTS["index.html"]).found


def test_nothing_comes_from_outside_and_nothing_is_inline():
    for name, text in TEXTS.items():
        assert not re.search(r"(https?:)?//[\w.-]+\.\w", re.sub(r"(?m)(^|\s)//.*$", "", text)), name
    for tag, attributes in HTML:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert "innerHTML" not in SCRIPTS
    assert "eval(" not in SCRIPTS


def test_every_part_that_is_named_is_there():
    ids = {attributes["id"] for _, attributes in HTML if "id" in attributes}
    assert set(re.findall(r'at\("([\w-]+)"\)', SCRIPTS)) <= ids
    classes = set(re.findall(r"\.([a-z][\w-]*)", TEXTS["page.css"]))
    assert {"turn", "asked", "answers", "refused", "figure", "verdict"} <= classes


def test_everything_that_is_filled_in_or_pressed_has_a_name():
    labelled = {attributes.get("for") for tag, attributes in HTML if tag == "label"}
    for tag, attributes in HTML:
        if tag in ("input", "select", "textarea") and attributes.get("type") not in ("file", "checkbox"):
            assert attributes["id"] in labelled, attributes
    assert ("html", {"lang": "en"}) in HTML
    assert any(attributes.get("aria-live") == "polite" for _, attributes in HTML)


class Nobody:
    """An owner that nobody asks."""

    num_running = num_waiting = 0


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in (*PAGE, "colours.css"))])
def test_files_are_served_with_a_strict_policy(path):
    with TestClient(create_app(Nobody(), settings_from(model_name="tiny"))) as client:
        reply = client.get(path)
        assert reply.status_code == 200
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert client.get("/page/../app.py").status_code == 404
        assert client.get("/page/index.html").status_code == 404
