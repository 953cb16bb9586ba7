"""Stored records as documents: complete, well formed, and the same again."""

import re

import pytest

from seeahead.bench.publish import block, documents, evidence
from seeahead.bench.summary import summarize
from tests.bench.made_record import PEERS, SCENARIOS, made_record
from tests.bench.reader import Reader

RECORD = made_record()
SUMMARY = summarize(RECORD)


@pytest.fixture(scope="module")
def published():
    return documents("bench-demo", RECORD, SUMMARY)


def test_there_are_a_page_its_markdown_and_two_pictures(published):
    assert set(published) == {
        "results/bench-demo.html",
        "results/bench-demo.md",
        "images/bench-demo-speed.svg",
        "images/bench-demo-scenarios.svg",
    }
    again = made_record()
    assert documents("bench-demo", again, summarize(again)) == published


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
    assert said.startswith("**language answers")
    assert "](docs/images/bench-demo-speed.svg)" in said
    assert "| none (plain) | 1.00 |" in said
    assert all(f"over {peer} " in said for peer in PEERS)


def test_a_methods_page_shows_every_temperature_and_block_efficiency_of_ours_by_group():
    said = evidence("bench-demo", SUMMARY)
    assert "](../images/bench-demo-speed.svg)" in said
    assert "### Greedy answers" in said
    assert "### Sampled answers, temperature 1" in said
    grouped = said[said.index("### τ by scenario") :]
    assert "| language" in grouped
    assert not any(f"| {peer}" in grouped for peer in PEERS)
