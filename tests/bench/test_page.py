"""The demo's page: one file that needs nothing else, with everything that was said."""

import re

import pytest

from seeahead.bench.compare import Difference, Round
from seeahead.bench.page import page, write_page
from seeahead.bench.record import PLAIN
from tests.bench.exchanges import drafted_answer, exchange, plain_answer, question
from tests.bench.reader import Reader

RUN = {
    "provenance": {
        "command": ["seeahead", "demo", "--html", "a b.html"],
        "commit": "0123456789abcdef",
        "has_local_changes": True,
        "date": "2030-01-02",
        "versions": {"python": "3.11.0", "torch": None},
        "hardware": {"system": "Linux x86_64", "cpu": "A <fast> one", "num_cores": 2, "gpu": None},
    },
    "model_type": "llava",
    "num_parameters": 140_000_000,
    "dtype": "bfloat16",
    "device": "cpu",
    "num_threads": 2,
}


@pytest.fixture(scope="module")
def text():
    follow_up = Round(
        question("follow-up", '<b>Why</b> & "how"?', earlier=(("What is this?", "A cat."),)),
        {PLAIN: plain_answer(), "lookup": drafted_answer(wrong_at=4)},
    )
    alone = Round(question("text only", "Why?", pictures=()), exchange().answers)
    return page([exchange(), follow_up, alone], [Difference("lookup", follow_up.question, 3, 0.125)], RUN)


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


def test_it_is_well_formed_and_needs_nothing_from_outside(text, reader):
    assert text.startswith("<!doctype html>")
    assert all(image["src"].startswith("data:image/") for image in reader.all("img"))
    assert not reader.all("link")
    assert all("src" not in script for script in reader.all("script"))
    assert not re.search(r"(src|href)\s*=\s*['\"]?\s*(https?:)?//", text)
    assert "@import" not in text
    assert "url(" not in text
    policy = next(meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_pictures_are_inside_and_described(reader):
    images = reader.all("img")
    assert len(images) == 2
    assert all(image["alt"] for image in images)


def test_words_of_others_are_escaped(text):
    assert "<b>Why</b>" not in text
    assert "&lt;b&gt;Why&lt;/b&gt; &amp; &quot;how&quot;?" in text
    assert "A &lt;fast&gt; one" in text


def test_drafted_words_are_marked_and_plain_ones_are_not(reader):
    # Four drafted runs per drafted answer, none in plain ones, and one in the legend.
    assert len(reader.all("mark")) == 3 * 4 + 1
    times = [float(attributes["data-at"]) for attributes in reader.all("mark") if "data-at" in attributes]
    assert times[:4] == [150, 300, 450, 600]


def test_it_says_what_was_measured_and_how(reader):
    words = " ".join(" ".join(reader.words).split())
    for said in (
        "τ",
        "geometric mean",
        "2 of 3",
        "another answer",
        "differs from plain at token 4, logit gap +0.125",
        "seeahead demo --html 'a b.html'",
        "commit 0123456789ab · with local changes",
        "llava model with 140 million parameters in bfloat16",
        "2 threads",
        "Stefan van der Walt",
        "after the question before",
    ):
        assert said in words, said


def test_plain_alone_makes_a_page_too():
    alone = Round(question(), {PLAIN: plain_answer()})
    assert "What is this?" in page([alone], [], RUN)


def test_a_gpu_is_named():
    hardware = {**RUN["provenance"]["hardware"], "gpu": "A GPU"}
    run = {**RUN, "device": "cuda", "provenance": {**RUN["provenance"], "hardware": hardware}}
    assert "· A GPU ·" in page([exchange()], [], run)


def test_it_is_written_in_one_piece(tmp_path):
    path = tmp_path / "deep" / "demo.html"
    write_page(path, [exchange()], [], RUN)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["demo.html"]
