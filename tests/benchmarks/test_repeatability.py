"""Two runs beside each other: which figures agree."""

from dataclasses import replace

import pytest

from benchmarks.repeatability import overlap, repeatability
from seeahead.bench.statistics import Interval
from seeahead.bench.summary import summarize
from tests.bench.made_record import made_record


@pytest.mark.parametrize(
    ("one", "other", "agrees"),
    [
        (Interval(1.0, 0.9, 1.1), Interval(1.15, 1.05, 1.2), True),
        (Interval(1.0, 0.9, 1.1), Interval(1.3, 1.2, 1.4), False),
        (Interval(1.0), Interval(1.1, 0.95, 1.2), True),
        (Interval(1.0), Interval(1.1), False),
        (None, None, True),
        (None, Interval(1.0), False),
    ],
)
def test_figures_agree_when_their_intervals_overlap(one, other, agrees):
    assert overlap(one, other) is agrees
    assert overlap(other, one) is agrees


def test_a_run_agrees_with_itself_and_not_with_one_in_which_drafting_took_thrice_as_long():
    record = made_record()
    same = repeatability(summarize(record), summarize(record))
    assert " yes |" in same
    assert " no |" not in same
    slow = tuple(slowed(run) if run.method == "language" else run for run in record.runs)
    assert " no |" in repeatability(summarize(record), summarize(replace(record, runs=slow)))


def slowed(run):
    steps = tuple(replace(step, seconds=3 * step.seconds) for step in run.generation.steps)
    total = run.seconds_first + 3 * (run.seconds_total - run.seconds_first)
    return replace(run, seconds_total=total, generation=replace(run.generation, steps=steps))
