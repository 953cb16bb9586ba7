"""The page's files: nothing from outside, nothing inline, every part that the scripts name is there."""

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from seeahead.serve.app import PAGE, SHARED, create_app
from seeahead.serve.settings import settings_from

FOLDER = files("seeahead") / "serve" / "page"
TEXTS = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("index.html", *PAGE)}
SCRIPTS = "\n".join(text for name, text in TEXTS.items() if name.endswith(".js"))


OF_REPORTS = files("seeahead") / "bench" / "templates"
COLOURS = "".join((OF_REPORTS / name).read_text(encoding="utf-8") for name in SHARED.values())
WAYS_TO_SET_HTML = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
EMPTY = {"link", "meta", "input"}  # elements that have no end


class Parts(HTMLParser):
    """Elements in order, each with its attributes, its tag and the text inside of it."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        part = {"tag": tag, "text": "", **dict(attrs)}
        self.found.append(part)
        if tag not in EMPTY:
            self._open.append(part)

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag, f"</{tag}> ends another element"

    def handle_data(self, data):
        for part in self._open:
            part["text"] += data


HTML = Parts(TEXTS["index.html"]).found
IDS = [part["id"] for part in HTML if "id" in part]


def test_nothing_comes_from_outside():
    for name, text in TEXTS.items():
        assert not re.search(r"(https?:)?//[\w.-]+\.\w", re.sub(r"(?m)(^|\s)//.*$", "", text)), name
        assert "@import" not in text, name
        assert "url(" not in text, name
    resources = [part[name] for part in HTML for name in ("src", "href") if not part.get(name, "#").startswith("#")]
    assert set(resources) - {"data:,"} == {"page/colours.css", "page/marks.css", "page/page.css", "page/page.js"}
    assert set(re.findall(r'from "([^"]+)"', SCRIPTS)) <= {f"./{name}" for name in PAGE}


def test_nothing_is_inline():
    for part in HTML:
        assert "style" not in part, part
        assert not [name for name in part if name.startswith("on")], part
        if part["tag"] in ("script", "style"):
            assert not part["text"].strip(), "the policy of the page forbids it"


def test_what_a_model_says_is_never_read_as_html():
    assert not [way for way in WAYS_TO_SET_HTML if way in SCRIPTS]


def test_every_part_that_is_named_is_there():
    assert len(IDS) == len(set(IDS))
    assert set(re.findall(r'\bat\("([\w-]+)"\)', SCRIPTS)) <= set(IDS)
    for part in HTML:
        for name in ("for", "aria-describedby", "aria-labelledby"):
            assert part.get(name, IDS[0]) in IDS, part
        if part.get("href", "").startswith("#"):
            assert part["href"][1:] in IDS, part


def test_every_class_and_colour_that_is_used_has_a_look():
    css = TEXTS["page.css"]
    known = set(re.findall(r"\.([a-z][\w-]*)", COLOURS + css))
    written = {name for part in HTML for name in part.get("class", "").split()}
    # In the scripts: `made` and `button` are given them.
    drawn = re.findall(r'(?:made\("\w+", |button\()"([\w ]+)"', SCRIPTS)
    handles = {"example"}  # found by the script, and looking like any button
    assert (written | {name for names in drawn for name in names.split()}) - handles <= known
    most = int(re.search(r"NUM_COLOURS = (\d+)", SCRIPTS)[1])
    assert {f"c{number}" for number in range(1, most)} <= known
    assert set(re.findall(r"var\((--[\w-]+)", css)) <= set(re.findall(r"(--[\w-]+):", COLOURS + css))
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?=[;, )])", css), "colours are those of the reports"


def test_everything_that_is_filled_in_or_pressed_has_a_name():
    labelled = {part["for"] for part in HTML if part["tag"] == "label" and part["text"].strip()}
    for part in HTML:
        if part["tag"] in ("input", "select", "textarea"):
            assert part["id"] in labelled or part.get("aria-label"), part
        if part["tag"] in ("button", "summary"):
            assert re.search(r"\w", part.get("aria-label", part["text"])), f"a sign is no name: {part}"
        if part["tag"] == "button":
            assert part.get("type") in ("button", "submit"), part


def test_keyboards_and_screen_readers_find_their_way():
    tags = [part["tag"] for part in HTML]
    assert next(part for part in HTML if part["tag"] == "html")["lang"] == "en"
    assert tags.count("main") == tags.count("h1") == tags.count("header") == 1
    assert HTML[tags.index("body") + 1].get("class") == "skip", "the first thing that a keyboard reaches"
    live = [part["id"] for part in HTML if part.get("aria-live") == "polite"]
    assert live == ["spoken"], "answers are announced once, not while they grow"
    assert all(part.get("aria-label") for part in HTML if part["tag"] == "form")
    assert "prefers-reduced-motion" in TEXTS["page.css"]


def test_files_are_short():
    assert not [name for name, text in TEXTS.items() if len(text.splitlines()) > 400]


class Nobody:
    """An owner that nobody asks."""

    num_running = num_waiting = cache_usage = 0


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in (*PAGE, *SHARED))])
def test_files_are_served_with_a_strict_policy(path):
    app = create_app(Nobody(), settings_from(model_name="tiny"))
    with TestClient(app, base_url="http://localhost") as client:
        reply = client.get(path)
        assert reply.status_code == 200
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert client.get("/page/../app.py").status_code == 404
        assert client.get("/page/index.html").status_code == 404
