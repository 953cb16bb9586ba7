"""What drafters expected against what was accepted: told by steps, kept in records, drawn on the page."""

from dataclasses import replace
from types import SimpleNamespace

from seeahead.bench import charts, markdown
from seeahead.bench.html import report
from seeahead.bench.record import PLAIN
from seeahead.bench.schema import with_tokens, without_tokens
from seeahead.bench.summary import summarize
from seeahead.records import Generation
from seeahead.tree import ROOT, Draft, TokenTree
from tests.bench.test_summary import plain, record, run


def test_a_draft_tells_of_nodes_after_accepted_ones_alone():
    tree = TokenTree((1, 2, 3, 4, 5), (ROOT, ROOT, 0, 0, 1))
    draft = Draft(tree, scores=[0.8, 0.1, 0.4, 0.2, 0.05])
    assert list(draft.expected((0, 2))) == [(0.8, True), (0.1, False), (0.5, True), (0.25, False)]
    assert list(draft.expected(())) == [(0.8, False), (0.1, False)]
    assert list(Draft(tree).expected((0,))) == [], "no scores, nothing expected"


def answered(*expected):
    """A run whose two steps expected so."""
    whole = run(0, "ours", [(3, 2, 2, 0.25, 0.5, 1.0), (1, 2, 2, 0.25, 0.5, 1.0)])
    steps = [replace(step, expected=tuple(pairs)) for step, pairs in zip(whole.generation.steps, expected)]
    return replace(whole, generation=replace(whole.generation, steps=tuple(steps)))


def test_a_record_keeps_what_was_expected():
    generation = answered([(0.875, True), (0.125, False)], []).generation
    stored = without_tokens(generation)
    run_of_it = SimpleNamespace(data={"token_ids": generation.token_ids})
    assert Generation(**with_tokens(stored, run_of_it)) == generation
    assert "expected" not in without_tokens(answered([], []).generation)["steps"], "older records are as they were"


def test_tenths_of_few_tokens_are_left_out_and_the_page_shows_the_others():
    often = [(0.9, number % 10 > 0) for number in range(30)]
    seldom = [(0.25, number % 4 == 0) for number in range(40)]
    summary = summarize(record((plain(0, 4), plain(1, 4), answered(often, [*seldom, (0.55, True)]))))
    found = next(entry for entry in summary.methods[0.0] if entry.method == "ours")
    assert [(round(said, 2), round(seen, 2), number) for said, seen, number in found.reliability] == [
        (0.25, 0.25, 40),
        (0.9, 0.9, 30),
    ]
    drawn = charts.reliability("x", summary.methods[0.0])
    assert "as expected" in drawn
    assert "ours" in drawn
    assert "Expected and accepted" in report(summary.record)
    [shown] = markdown.reliability(summary.methods[0.0])
    for said, seen, _ in found.reliability:
        assert f" {said:.2f}, {seen:.2f} |" in shown
    assert shown in markdown.markdown(summary)
    assert not list(markdown.reliability([entry for entry in summary.methods[0.0] if entry.method == PLAIN]))
    assert charts.reliability("x", [entry for entry in summary.methods[0.0] if entry.method == PLAIN]) == ""
