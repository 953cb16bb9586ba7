"""Two runs of the same questions on the same machine, beside each other: do their figures agree? No torch."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.publish import whose_in
from seeahead.bench.figures import FIGURES, Sample
from seeahead.bench.markdown import name, shown, table
from seeahead.bench.statistics import Interval, interval
from seeahead.bench.summary import Summary, temperature_title
from seeahead.bench.words import number, times

_FIGURES = {"end to end": times, "speed-up": times, "τ": number}
_RATIOS = "end to end", "speed-up"
_HEADINGS = (
    "method",
    *(word for name in _FIGURES for word in (name, "again")),
    *(f"{word}: again / first" for word in _RATIOS),
    "scenarios that agree",
    "agree",
)


def repeatability(first: Summary, again: Summary) -> str:
    """Markdown: the methods that both runs have, at every temperature that both have."""
    return "\n\n".join(_parts(first, again)) + "\n"


def overlap(one: Interval | None, other: Interval | None) -> bool:
    """Whether two figures agree within their intervals; one that only one run has agrees with nothing."""
    if one is None or other is None:
        return one is other
    (low, high), (other_low, other_high) = (figure.ends or (figure.value, figure.value) for figure in (one, other))
    return low <= other_high and other_low <= high


def _change(first: Sample, again: Sample, word: str) -> Interval | None:
    """How many times as much the figure is in the second run, question by question."""
    of = FIGURES[word].of
    return interval(again.drawn_over_scenarios(of) / first.drawn_over_scenarios(of), again.num_drawn)


def _parts(first: Summary, again: Summary) -> Iterator[str]:
    yield "# The same questions twice"
    yield (
        "Ratios within a run can be compared between runs, seconds cannot. Two figures agree when their 95 % intervals "
        "overlap. These tell of other questions alone, and both runs had the same: how far one run is from another "
        "shows in again / first, whose intervals draw the questions of both together. Between the runs the code "
        "changed as well."
    )
    yield f"First: {first.machine}, commit {first.record.provenance.get('commit')}."
    yield f"Again: {again.machine}, commit {again.record.provenance.get('commit')}."
    yield whose_in(first, again)
    for temperature in again.methods:
        if temperature in first.methods:
            rows = list(_rows(first, again, temperature))
            yield table(temperature_title(temperature), _HEADINGS, rows)


def _rows(first: Summary, again: Summary, temperature: float) -> Iterator[list[str]]:
    known = {entry.method: entry for entry in first.methods[temperature]}
    for entry in again.methods[temperature]:
        if entry.method not in known:
            continue
        before = known[entry.method]
        pairs = [
            (before.groups["scenario"][scenario]["ratio of sums"], part["ratio of sums"])
            for scenario, part in entry.groups["scenario"].items()
            if scenario in before.groups["scenario"]
        ]
        figures = [(before[word], entry[word]) for word in _FIGURES]
        yield [
            name(entry),
            *(shown(cell(figure)) for cell, pair in zip(_FIGURES.values(), figures) for figure in pair),
            *(shown(times(_change(before, entry, word))) for word in _RATIOS),
            f"{sum(overlap(*pair) for pair in pairs)} of {len(pairs)}",
            "yes" if all(overlap(*pair) for pair in figures) else "no",
        ]
