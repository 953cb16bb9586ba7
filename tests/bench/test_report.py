"""The report: a page that needs nothing else, true to the figures, safe with what models say; and its Markdown form."""

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace

import pytest

from seeahead.bench.figures import FIGURES
from seeahead.bench.html import _environment, demo_page, report
from seeahead.bench.markdown import markdown, plain_words
from seeahead.bench.record import PLAIN
from seeahead.bench.statistics import LEVEL, NUM_DRAWS
from seeahead.bench.summary import summarize
from seeahead.bench.words import DEFINITIONS, anchor, heading
from tests.bench.made_record import ERROR, FAILED, METHODS, NASTY_WORDS, SCENARIOS, made_record, nasty_record
from tests.bench.reader import Reader

LABELS = {*map(heading, METHODS)}


@pytest.fixture(scope="module")
def summary():
    return summarize(made_record())


@pytest.fixture(scope="module")
def text():
    return report(made_record())


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


@pytest.fixture(scope="module")
def said(reader):
    return " ".join(" ".join(reader.words).split())


@pytest.fixture(scope="module")
def marked_down(summary):
    return markdown(summary)


def test_it_needs_nothing_from_outside(text, reader):
    assert text.startswith("<!doctype html>")
    assert not re.search(r"(src|href)\s*=\s*['\"]?\s*(https?:)?//", text)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert "url(" not in text
    assert not any(reader.all(tag) for tag in ("link", "img", "iframe", "object"))
    assert all("src" not in script for script in reader.all("script"))
    policy = next(meta["content"] for meta in reader.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_what_models_and_questions_say_is_escaped(text, reader):
    assert len(reader.all("script")) == 1
    assert "alert('no')" not in text
    assert "&lt;script&gt;alert(&#39;no&#39;)&lt;/script&gt;" in text
    assert "<of>" not in text
    assert "<too>" not in text
    assert "A &lt;fast&gt; one" in text


@pytest.mark.parametrize("nasty", NASTY_WORDS)
@pytest.mark.parametrize("page", [report, demo_page])
def test_whatever_stands_in_a_record_a_page_shows_it_as_text(page, nasty):
    """The tags are those of the same record without such words."""
    tags = {
        word: Counter(tag for tag, _ in Reader(page(nasty_record(made_record(), word))).tags) for word in ("a", nasty)
    }
    assert tags[nasty] == tags["a"]


@pytest.mark.parametrize("nasty", ["a", *NASTY_WORDS])
@pytest.mark.parametrize("page", [report, demo_page])
def test_a_page_lets_its_own_script_run_and_no_other(page, nasty):
    text = page(nasty_record(made_record(), nasty))
    (script,) = re.findall("<script[^>]*>(.*?)</script", text, re.DOTALL | re.IGNORECASE)
    policy = next(meta["content"] for meta in Reader(text).all("meta") if "http-equiv" in meta)
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed["script-src"] == f"'sha256-{digest}'"
    assert not [name for _, attributes in Reader(text).tags for name in attributes if name.startswith("on")]


def test_where_the_time_goes_names_every_part(text):
    stacks = text[text.index('<div class="stacks">') :]
    stacks = stacks[: stacks.index("<figcaption>")]
    for one in stacks.split("<strong>")[1:]:
        shares, named = re.findall(r"width:[\d.]+%", one), re.findall(r"</i>([\w ]+?) [\d.]+", one)
        assert len(shares) == len(named) > 1


def test_a_mean_of_ratios_stands_with_what_lifts_it(text):
    at = text.index("averaged in other ways")
    below = text[at : text.index("</details>", text.index("</table>", at))]
    assert "One plain answer that took far too long lifts it" in below


def test_ids_are_unique_and_links_lead_somewhere(reader):
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [link["href"] for link in reader.all("a")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    for svg in reader.all("svg"):
        assert svg["role"] == "img"
        assert set(svg["aria-labelledby"].split()) <= set(ids)
    assert all("scope" in cell for cell in reader.all("th"))


def test_every_method_scenario_and_definition_is_there(said):
    for words in (*LABELS, *SCENARIOS, *DEFINITIONS, *DEFINITIONS.values()):
        assert " ".join(words.split()) in said


def test_a_failed_peer_is_shown_with_its_error(said, marked_down):
    assert f"{FAILED} failed on 32 of 32 answers at temperature 0 and on" in said
    assert said.count(ERROR.removeprefix("ValueError: ")) == 1, "in one sentence, whatever the temperatures and tables"
    assert "failed on every answer" in said
    assert re.search(rf"\| {FAILED} \(peer\) +\| failed on every answer", marked_down)
    assert marked_down.count("the prompt is &lt;too&gt; long") == 1


def test_page_and_markdown_carry_the_same_headline(summary, said, marked_down):
    assert " ".join(summary.headline) in said
    assert f"**{' '.join(summary.headline)}**" in marked_down
    for entry in summary.methods[0.0]:
        if entry["speed-up"] is not None and entry.method != PLAIN:
            figure = f"{entry['speed-up'].value:.2f}×"
            spread = f"{entry['speed-up'].low:.2f}–{entry['speed-up'].high:.2f}"
            assert f"{figure} {spread}" in said
            assert f"{figure} ({spread})" in marked_down


def test_it_says_how_it_was_run(said, marked_down):
    for words in (
        "seeahead bench --suite demo --output 'a b.json'",
        "commit 0123456789ab",
        "2030-01-02",
        "torch 2.13.0",
        "seed 7",
        "demo in float32 · 140 million parameters",
        "16 questions in 4 scenarios · 2 repeats",
    ):
        assert words in said
        assert words in marked_down
    assert "after 300 cached tokens" in said
    assert "V(8) = 1.20" in marked_down


def test_markdown_tables_have_one_number_of_columns_each(marked_down):
    for block in marked_down.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) <= 1


def test_examples_mark_what_the_drafter_said(text, said):
    examples = text[text.index("Answers as they were given") : text.rindex("What the words mean")]
    shown = re.findall(r'<p class="text">(.*?)</p>', examples, re.DOTALL)
    # One example per scenario: the best method's answer, then those of all methods that answered.
    assert len(shown) == len(SCENARIOS) * (1 + len(METHODS) - 1)
    # language emits 3, 4, 2, 5 tokens per step: the first token is the target's own, then two are drafted.
    assert re.match(r" w100 <mark>w101 w102</mark> w103 <mark>w104 w105 w106</mark> w107", shown[0])
    assert "<mark>" not in shown[1], "plain answers have nothing to mark"
    assert "drafted tokens kept" in said


def test_the_words_of_several_drafters_have_a_colour_each_and_a_legend():
    pieces = (("A", "target"), (" red", "msd"), (" penguin", "auto <b>"), (" ", "lookup"), (" sits.", "auto <b>"))
    template = _environment().from_string('{% from "parts.html" import text with context %}{{ text(run) }}')
    shown = template.render(run=replace(made_record().runs[-1], pieces=pieces, arrivals=()))
    names = '<mark class="c0">auto &lt;b&gt;</mark>, <mark class="c1">msd</mark></p>'
    assert f"drafted by {names}" in shown
    assert ' <mark class="c1" title="msd">red</mark>' in shown
    assert shown.count('<mark class="c0" title="auto &lt;b&gt;">') == 2


def test_everything_is_there_without_scripts(reader, said):
    assert not [attributes for tag, attributes in reader.tags if tag == "section" and "hidden" in attributes]
    assert len([1 for attributes in reader.all("section") if attributes.get("class") == "temperature"]) == 2
    assert "Sampled answers, temperature 1" in said


def test_a_record_of_plain_answers_alone_is_shown_too():
    record = made_record(methods=(PLAIN,), peers=(), gaps=())
    words = " ".join(Reader(report(record)).words)
    assert "Nothing was drafted here" in words
    assert "Nothing was drafted here" in markdown(summarize(record))


def test_an_unlucky_record_is_shown_too():
    """One question, nothing of where it ran, no cost table."""
    whole = made_record()
    record = made_record(
        provenance={},
        settings={},
        asked=whole.asked[:1],
        runs=tuple(run for run in whole.runs if run.asked == 0 and run.temperature == 0),
        costs=type(whole.costs)(0, {}),
        gaps=(),
    )
    Reader(report(record))
    assert "language" in markdown(summarize(record))
    nothing = made_record(runs=(), asked=(), gaps=())
    Reader(report(nothing))
    assert "Nothing was drafted here" in markdown(summarize(nothing))


def test_it_is_whole(text):
    assert text.endswith("</html>\n")


def test_colours_can_be_told_from_the_paper(text):
    """Words need a contrast of 4.5 to 1, marks of charts 3 to 1, in light and dark."""
    rules = re.findall(r":root \{(.*?)\}", text, re.DOTALL)  # light, dark, print
    light, dark, ink_on_paper = (dict(re.findall(r"--([\w-]+): (#\w+);", rule)) for rule in rules)
    assert light.keys() == dark.keys() == ink_on_paper.keys()
    ink_on_paper |= {name: "#" + 2 * value[1:] for name, value in ink_on_paper.items() if len(value) == 4}
    for colours in (light, dark, ink_on_paper):
        for name in ("ink", "quiet", "alarm"):
            assert min(_contrast(colours[name], colours[paper]) for paper in ("paper", "panel")) >= 4.5
        assert _contrast(colours["ink"], colours["drafted-paper"]) >= 4.5
        assert _contrast(colours["ink"], colours["alarm-paper"]) >= 4.5
        for number in range(8):
            assert _contrast(colours[f"s{number}"], colours["paper"]) >= 3


def _contrast(first, second):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_every_figure_has_a_definition_and_the_interval_is_the_one_that_is_computed():
    assert {*FIGURES} <= {*DEFINITIONS}
    assert f"{NUM_DRAWS:,} draws" in DEFINITIONS["95 % interval"]
    assert f"the middle {LEVEL:.0%} of the draws" in DEFINITIONS["95 % interval"]


def test_anchors_are_those_of_the_definitions(text):
    for word in DEFINITIONS:
        assert f'<div id="{anchor(word)}"><dt>' in text


def test_contents_lead_to_every_part_and_most_is_folded(text, reader):
    contents = text[text.index("<nav") : text.index("</nav>")]
    assert set(re.findall(r'href="#(\w+)"', contents)) >= {"figures", "answers", "words", "again"}
    folded = re.findall(r"<summary><h3>(.*?)</h3></summary>", text)
    assert {"Drafts, and what they could gain", "Waiting and memory", "Speed-up by scenario"} <= set(folded)
    assert not [attributes for attributes in reader.all("details") if "open" in attributes]


def test_columns_are_explained_below_their_table(text):
    _, table, after = text.partition("<span>Speed</span>")
    assert table
    below = after[after.index("</table>") : after.index("</details>")]
    assert "what these columns mean" in below
    assert "whole answers (end to end)" in below


def test_markdown_takes_what_models_say_literally():
    assert plain_words("_so_ ~~no~~ *that* a_b <i> |") == r"\_so\_ \~\~no\~\~ \*that\* a_b &lt;i&gt; \|"
