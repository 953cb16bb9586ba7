"""The page on which drafter to take says what its record says."""

import pytest

from benchmarks.guide import documents
from seeahead.bench.summary import summarize
from tests.bench.made_record import PEERS, SCENARIOS, made_record


@pytest.fixture(scope="module")
def page():
    (text,) = documents("bench-demo", summarize(made_record())).values()
    return text


def test_the_fastest_comes_first_and_peers_are_no_choice(page):
    assert "Fastest, greedy: **language**" in page
    assert "Without any weights, greedy: lookup" in page
    table = page[page.index("### Every drafter") :]
    assert table.index("| language ") < table.index("| lookup ")
    assert not any(f"| {peer}" in page for peer in PEERS)
    assert "none (plain)" not in page


def test_every_scenario_has_its_fastest(page):
    asked = page[page.index("### By what is asked") :]
    assert all(f"| {scenario} " in asked for scenario in SCENARIOS)
    assert "[all figures](results/bench-demo.md)" in page
