"""The demo's page: one file that needs nothing else, with everything that was said."""

import re
from dataclasses import replace

import pytest

from seeahead.bench.html import demo_page
from seeahead.bench.record import PLAIN, Gap
from seeahead.bench.summary import summarize
from tests.bench.exchanges import PROVENANCE, SETTINGS, asked, drafted_run, plain_run, record
from tests.bench.reader import Reader


@pytest.fixture(scope="module")
def text():
    follow_up = asked("follow-up", '<b>Why</b> & "how"?', earlier=(("What is this?", "A cat."),))
    return demo_page(
        record(
            (asked(), {}),
            (follow_up, {"wrong_at": 4}),
            (asked("text only", "Why?", images=()), {}),
            gaps=[Gap(1, "lookup", 0, 3, 0.125)],
        )
    )


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


def test_images_are_inside_and_described(reader):
    images = reader.all("img")
    assert len(images) == 2
    assert all(image["alt"] for image in images)


def test_words_of_others_are_escaped(text):
    assert "<b>Why</b>" not in text
    assert "&lt;b&gt;Why&lt;/b&gt; &amp; &#34;how&#34;?" in text
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
        "seeahead demo -o 'a b.html'",
        "commit 0123456789ab · with local changes",
        "llava in bfloat16 · 140 million parameters",
        "2 threads",
        "Stefan van der Walt",
        "after the question before",
        "20.0 tokens/s · 3.00 tokens per pass",
        "1.2 seconds",
        "Answers, 2 of 3 the same, sooner",
        "rounded otherwise when it checks several words at once",
    ):
        assert said in words, said


def test_ids_are_unique_and_links_lead_somewhere(reader):
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"].removeprefix("#") for link in reader.all("a")} <= set(ids)


def test_plain_alone_makes_a_page_too():
    alone = record((asked(), {}), methods=(PLAIN,), runs=(plain_run(),))
    assert "What is this?" in demo_page(alone)


def test_an_image_that_is_not_bundled_is_named():
    page = demo_page(record((asked(images=("mine.jpg",)), {})))
    assert "<figcaption>mine.jpg</figcaption>" in page
    assert "<img" not in page


def test_a_gpu_is_named():
    provenance = {**PROVENANCE, "hardware": {**PROVENANCE["hardware"], "gpu": "A GPU"}}
    page = demo_page(record((asked(), {}), provenance=provenance, settings={**SETTINGS, "device": "cuda"}))
    assert "· A GPU ·" in page


def test_plain_stands_beside_the_fastest_and_others_are_folded():
    runs = [plain_run(), drafted_run(method="slow", seconds=0.29), drafted_run(method="fast")]
    page = demo_page(record((asked(), {}), methods=(PLAIN, "slow", "fast"), runs=tuple(runs)))
    before, _, folded = page.partition("other drafters: slow")
    assert "plain: the model alone" in before
    assert "with drafts: fast" in before
    assert "with drafts: slow" in folded
    assert "<h1>The same answers, sooner</h1>" in page


def test_it_says_where_the_demo_model_is_wrong():
    known = {name: replace(asked(), id=name) for name in ("caption-07", "caption-01")}
    words = {"caption-07": "The picture shows a vehicle: a truck.", "caption-01": "I see a birthday cake."}
    for name, verdict in {
        "caption-07": "the model is right",
        "caption-01": "<strong>the model is wrong</strong>",
    }.items():
        runs = (replace(plain_run(), text=words[name]), drafted_run())
        made = record((known[name], {}), runs=runs, settings={**SETTINGS, "model": "demo"})
        assert verdict in demo_page(made)
        assert "tiny" in demo_page(made)
        assert "Why these questions" in demo_page(made)
        other = demo_page(replace(made, settings=SETTINGS))
        assert "the model is" not in other.replace("the model is to", "")
        assert "tiny" not in other


def test_one_question_and_one_scenario_are_told_in_the_singular():
    one, two = asked(), asked("follow-up", "And now?")
    assert "1 question in 1 scenario" in summarize(record((one, {}))).machine.split(" · ")
    assert "2 questions in 2 scenarios" in summarize(record((one, {}), (two, {}))).machine.split(" · ")
