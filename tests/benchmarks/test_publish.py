"""Stored records as documents: complete, well formed, and the same again."""

import re
from dataclasses import replace
from itertools import groupby

import pytest

from benchmarks.publish import block, documents, evidence, line
from seeahead.bench.html import report
from seeahead.bench.markdown import markdown, plain_words, short
from seeahead.bench.summary import summarize
from tests.bench.made_record import PEERS, SCENARIOS, made_record
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
    assert said.startswith("**language answers")
    assert "](docs/images/bench-demo-speed.svg)" in said
    assert "| plain | 1.00× |" in said
    assert all(f"over {peer} " in said for peer in PEERS)


def test_a_warning_of_the_run_stands_beside_its_figures():
    assert SUMMARY.warnings
    for shown in (block("bench-demo", SUMMARY), evidence("bench-demo", SUMMARY), short(SUMMARY)):
        assert all(plain_words(warning) in shown for warning in SUMMARY.warnings)
    few = replace(RECORD, runs=tuple(run for run in RECORD.runs if run.method != PEERS[0] or run.asked < 5))
    for shown in (block("bench-demo", summarize(few)), markdown(summarize(few)), report(few)):
        assert "on 5 of 16 questions" in shown


NASTY = ["</p><script>alert('no')</script>", "a | b", "[x](https://e.example)", "`x` *y* &lt;"]


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_stands_in_a_record_its_markdown_shows_it_as_text(nasty):
    renamed = {**dict.fromkeys(RECORD.methods), "language": nasty, PEERS[0]: f"peer {nasty}"}
    new = {name: other or name for name, other in renamed.items()}
    record = replace(
        RECORD,
        provenance={**RECORD.provenance, "command": ["seeahead", nasty, "```\n# no"], "date": nasty},
        settings={**RECORD.settings, "model": nasty, "suite": nasty, "about": nasty, "drafters": {nasty: nasty}},
        methods=tuple(new[name] for name in RECORD.methods),
        peers=tuple(new[name] for name in RECORD.peers),
        asked=tuple(replace(asked, scenario=f"{asked.scenario} {nasty}") for asked in RECORD.asked),
        runs=tuple(replace(run, method=new[run.method], error=run.error and nasty) for run in RECORD.runs),
        gaps=(),
    )
    summary = summarize(record)
    for shown in (markdown(summary), block("x", summary), evidence("x", summary), line("x", summary), short(summary)):
        outside = re.sub(r"\n````\n.*\n````\n|`[^`\\\n]*`", "", shown)  # code is shown as it is
        assert "<script" not in outside
        assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(https", outside)
        for is_table, rows in groupby(shown.splitlines(), lambda row: row.startswith("|")):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
            assert not is_table or len(widths) == 1


def test_a_methods_page_shows_every_temperature_and_block_efficiency_of_ours_by_group():
    said = evidence("bench-demo", SUMMARY)
    assert "](../images/bench-demo-speed.svg)" in said
    assert "### Greedy answers" in said
    assert "### Sampled answers, temperature 1" in said
    grouped = said[said.index("### τ by scenario") :]
    assert "| language" in grouped
    assert not any(f"| {peer}" in grouped for peer in PEERS)
