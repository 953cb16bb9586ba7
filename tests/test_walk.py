"""The walk of a newcomer: it follows the documents, and finds what is wrong with a command or a page."""

import shutil
from contextlib import nullcontext, suppress

import pytest
from tools import browser, walk

from seeahead import cli
from tests.documents import commands_in


class Written(walk.Walk):
    """Keeps what would be typed and looked at."""

    def typed(self, script, changes=None):
        lines.extend(walk.changed(script, changes or {}).splitlines())
        return ""

    def look(self, name, address, prepare=None):
        looked.append(name)


lines, looked = list[str](), list[str]()


def test_every_step_finds_its_words_in_the_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(walk.subprocess, "run", lambda *words, **how: None)
    served = []
    monkeypatch.setattr(walk, "serving", lambda here, command, port: served.append(command) or nullcontext())
    steps = {name: step for name, step in walk.STEPS.items() if name != "readme"}
    for step in steps.values():
        step(Written(tmp_path, None))
    typed = [words for line in lines for words in commands_in(line)]
    assert {words[0] for words in typed} == {"generate", "check", "report"}
    assert all("examples/pictures/receipt.png" not in words for words in typed if words[0] == "generate")
    assert served == ["seeahead serve"]
    assert "make docs" in lines
    assert any("chat/completions" in line for line in lines)
    assert {"demo", "server", "report"} <= set(looked)
    for words in typed:
        cli.parser_of(words[0]).parse_args(words[1:])


def test_the_readme_is_typed_as_it_stands(tmp_path):
    lines.clear()
    with suppress(walk.WalkError):  # nothing was typed, so there may be no page
        walk.readme(Written(tmp_path, None))
    assert [line.partition("  ")[0] for line in lines[:2]] == ["make demo", "source .venv/bin/activate"]


def test_a_document_that_says_something_else_is_told(tmp_path):
    with pytest.raises(walk.WalkError, match=r"no longer says receipt\.png: let tools/walk.py follow it"):
        walk.changed("seeahead generate hello", {"receipt.png": "mine.png"})
    with pytest.raises(walk.WalkError, match="0 blocks of the document have 'seeahead demo'"):
        walk.the(["seeahead info\n"], "seeahead demo")


@pytest.mark.parametrize(
    ("stdout", "stderr", "says"),
    [
        ("An answer.", "x.py:3: FutureWarning: use y", "'FutureWarning', which is not for users"),
        ("An answer.", "Writing model shards: 100%|####| 1/1", "'0%|', which is not for users"),
        ("An answer.", "[W1128 20:10:34.1 NNPACK.cpp:61] Could not initialize", "not for users"),
        ("An answer.", "Traceback (most recent call last):", "not for users"),
        ("", "\n", "says nothing"),
    ],
)
def test_what_libraries_say_ends_the_walk(stdout, stderr, says):
    with pytest.raises(walk.WalkError, match=says.replace("|", r"\|")):
        walk.told("seeahead generate hello", stdout, stderr)
    assert walk.told("seeahead generate hello", "An answer.\n", "seeahead: loading the model …\n") == "An answer.\n"


def test_a_command_that_fails_ends_the_walk(tmp_path):
    with pytest.raises(walk.WalkError, match="ends with 3"):
        walk.Walk(tmp_path, None).typed("pip install nothing\necho a; exit 3\n")
    assert walk.Walk(tmp_path, None).typed('echo "$SEEAHEAD_MODEL."') == ".\n"


def test_without_a_browser_one_line_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(browser, "NAMES", ("no-such-browser",))
    monkeypatch.setattr(walk.sys, "argv", ["walk", "-o", str(tmp_path)])
    assert walk.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no browser for the screenshots: none of no-such-browser is on PATH; install Chromium" in line


CHART = '<svg width="200" height="50"><text y="20">one</text><text x="{}" y="22">two</text></svg>'
WRONG = {
    '<div style="width: 2000px">wide</div>': "pixels wide in a window of 1280",
    '<img src="missing.png" alt="a">': "no image at",
    '<div style="height: 900px"></div><svg width="200" height="50"></svg>': "the first image is at 9",
    CHART.format(5): 'label "one" lies over "two"',
    CHART.format(90) + "<p>Well.</p>": "",
}


@pytest.mark.skipif(not any(map(shutil.which, browser.NAMES)), reason="no browser on PATH")
def test_what_is_wrong_with_a_page_is_measured(tmp_path):
    with browser.browser() as page:
        for number, (inside, says) in enumerate(WRONG.items()):
            path = tmp_path / f"{number}.html"
            path.write_text(f'<!doctype html><meta name="viewport" content="width=device-width">{inside}')
            here = walk.Walk(tmp_path, page)
            with pytest.raises(walk.WalkError, match=says) if says else nullcontext():
                here.look(f"page{number}", path.as_uri())
        page.wait("document.querySelector('p')", 1.0)
        with pytest.raises(browser.BrowserError, match=r"after 0 s the page has not come to document\.querySelector"):
            page.wait("document.querySelector('h1')", 0.0)
    kept = {path.name for path in (tmp_path / "pages").iterdir()}
    assert {"page4-light.png", "page4-dark.png", "page4-phone.png"} <= kept
