"""How `auto` is set beside the best other drafter, and beside the best one of each scenario."""

from dataclasses import replace

import pytest

from seeahead.bench.html import report
from seeahead.bench.markdown import markdown
from seeahead.bench.oracle import beside_others
from seeahead.bench.record import PLAIN
from seeahead.bench.summary import summarize
from tests.bench.made_record import SCENARIOS, made_record, ours


def record_of(seconds):
    """Answers of methods that take so many seconds a step, by scenario; `auto` and the others say the same."""
    record = made_record(methods=(PLAIN, *seconds), peers=(), gaps=())
    runs = []
    for place, asked in enumerate(record.asked):
        for method in record.methods:
            factor = seconds[method][SCENARIOS.index(asked.scenario)] if method in seconds else 1.0
            run = ours(place, PLAIN, factor=factor)
            runs.append(replace(run, method=method, generation=replace(run.generation, drafter=method)))
    return replace(record, runs=tuple(runs), settings={**record.settings, "temperatures": [0.0], "num_repeats": 1})


def test_auto_is_set_beside_the_best_drafter_and_the_best_of_each_scenario():
    own = {"auto": (0.5, 0.5, 0.5, 0.5), "one": (0.5, 1.0, 0.5, 1.0), "other": (1.0, 0.4, 1.0, 1.0)}
    record = record_of(own)
    [line] = beside_others(summarize(record))
    assert line.startswith(
        "Decoding in greedy answers, geometric means over scenarios: auto has 1.41 of the speed of the "
    )
    best_of_each = (1.0 * 0.8 * 1.0 * 2.0) ** 0.25
    assert f"drafter (one), and {best_of_each:.2f} of that" in line
    assert line.endswith(f"(least: 0.80, {SCENARIOS[1]}).")
    assert line in markdown(summarize(record))
    assert line in report(record)


@pytest.mark.parametrize("names", [("auto",), ("one", "other"), ("one",)])
def test_there_must_be_something_to_compare(names):
    assert not list(beside_others(summarize(record_of(dict.fromkeys(names, (1.0,) * 4)))))
