"""Stored records as documents: complete, well formed, and the same again."""

import re
from dataclasses import replace
from itertools import groupby

import pytest

from benchmarks.publish import DRAFTERS, block, documents, evidence, line, whose_in
from seeahead.bench.html import report
from seeahead.bench.markdown import markdown, plain_words, short
from seeahead.bench.methods import digest
from seeahead.bench.summary import summarize
from tests.bench.made_record import NASTY_WORDS, PEERS, SCENARIOS, made_record, nasty_record
from tests.bench.reader import Reader

RECORD = made_record()
SUMMARY = summarize(RECORD)


@pytest.fixture(scope="module")
def published():
    return documents("bench-demo", SUMMARY)


def test_there_are_a_page_and_two_images(published):
    assert set(published) == {
        "results/bench-demo.md",
        "images/bench-demo-speed.svg",
        "images/bench-demo-scenarios.svg",
    }
    again = made_record()
    assert documents("bench-demo", summarize(again)) == published


def test_what_the_markdown_shows_is_there(published):
    shown = re.findall(r"!\[[^]]+\]\(\.\./([^)]+)\)", published["results/bench-demo.md"])
    assert shown == ["images/bench-demo-speed.svg", "images/bench-demo-scenarios.svg"]


def test_pictures_stand_alone(published):
    for name in ("speed", "scenarios"):
        text = published[f"images/bench-demo-{name}.svg"]
        reader = Reader(text)
        (whole, *inside) = reader.all("svg")
        assert whole["xmlns"] == "http://www.w3.org/2000/svg"
        assert all({"x", "y", "width", "height"} <= set(chart) for chart in inside)
        assert "--s1" in text
        assert "prefers-color-scheme: dark" in text
        assert "href" not in text
    assert all(scenario in published["images/bench-demo-scenarios.svg"] for scenario in SCENARIOS)


def test_the_readme_says_who_was_measured_and_against_whom():
    said = block("bench-demo", SUMMARY)
    assert said.startswith("**With drafts (language) whole answers come")
    assert "](docs/images/bench-demo-speed.svg)" in said
    rows = [row.split(" | ") for row in said.splitlines() if row.startswith("| ")]
    assert [row[0].strip("| ") for row in rows[2:]] == [
        "plain",
        "lookup",
        "language",
        *(f"{peer} (peer)" for peer in PEERS[:2]),
    ]
    assert {row[1].strip() for row in rows[2:]} == {"transformers, float32"}, "executor and precision"
    assert "No drafted speed-up has been measured on a GPU" in said


def test_weights_are_those_shipped_now_where_their_hashes_agree():
    assert "had the weights of commit 0123456789ab" in whose_in(SUMMARY)
    for kind, same in ((digest(DRAFTERS / "msd"), True), ("another", False)):
        settings = {**RECORD.settings, "drafters": {"msd": kind, "of one's own": "x"}}
        said = whose_in(summarize(replace(RECORD, settings=settings)))
        assert (said == "The demo's drafters measured here are those shipped now.") is same


def test_a_warning_of_the_run_stands_beside_its_figures():
    assert SUMMARY.warnings
    for shown in (evidence("bench-demo", SUMMARY), short(SUMMARY)):
        assert all(plain_words(warning) in shown for warning in SUMMARY.warnings)
    assert all(plain_words(rival) in block("bench-demo", SUMMARY) for rival in SUMMARY.rivals)
    few = replace(RECORD, runs=tuple(run for run in RECORD.runs if run.method != PEERS[0] or run.asked < 5))
    for shown in (short(summarize(few)), markdown(summarize(few)), report(few)):
        assert "on 5 of 16 questions" in shown


@pytest.mark.parametrize("nasty", NASTY_WORDS)
def test_whatever_stands_in_a_record_its_markdown_shows_it_as_text(nasty):
    summary = summarize(nasty_record(RECORD, nasty))
    for shown in (markdown(summary), block("x", summary), evidence("x", summary), line("x", summary), short(summary)):
        outside = re.sub(r"\n````\n.*\n````\n|`[^`\\\n]*`", "", shown)  # code is shown as it is
        assert "<script" not in outside
        assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(https", outside)
        for is_table, rows in groupby(shown.splitlines(), lambda row: row.startswith("|")):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
            assert not is_table or len(widths) == 1


def test_a_methods_page_shows_greedy_answers_and_leads_to_the_rest():
    said = evidence("bench-demo", SUMMARY)
    assert "### Greedy answers" in said
    assert "Sampled answers" not in said
    assert "[All figures](../results/bench-demo.md). [What the words mean](../glossary.md)." in said
