"""The page on ensembles: how weights move over an answer, what views and weighing cost. From a stored record alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from seeahead.bench import charts
from seeahead.bench.markdown import measured, table
from seeahead.bench.sheet import sheet
from seeahead.drafters.views_drafter import VIEWS

Row = Mapping[str, Any]
DRAWN = "MTP"
_NUM_BLOCKS = 20
_FEWEST = 3
"""Answers that a mean weight is taken over, at least."""
_COLOURS = ("var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)")


def documents(record: Mapping[str, Any]) -> dict[str, str]:
    """Texts by file name below the folder of documents."""
    rows: Sequence[Row] = record["rows"]
    picture = "images/ensembles-weights.svg"
    asked = f"{record['count']} questions per scenario of the demo's suite, greedy, chains of {record['chain']}"
    words = [
        "# How an ensemble weighs its views",
        f"{measured(record['provenance'])}: {asked}. "
        f"Views: {', '.join(f'{letter} {what}' for letter, what in VIEWS.items())}.",
        f"![Mean weight of each view, block by block](../{picture})",
        _costs(rows),
        _efficiency(rows),
        "A caption is written by the target before the answer starts; that time is not among these. Weighing is "
        "what choosing weights takes: the target's distribution, hits, divergences, the grid.",
    ]
    return {picture: _picture(rows), "results/ensembles.md": "\n\n".join(words) + "\n"}


def _sum(rows: Sequence[Row], name: str) -> float:
    return sum(float(row[name]) for row in rows)


def _by(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _costs(rows: Sequence[Row]) -> str:
    by_views = _by(rows, "views")
    level = {views: _sum(own, "seconds_draft") / _sum(own, "num_levels") for views, own in by_views.items()}
    one = min(level, key=len)
    lines = [
        [
            views,
            f"{1000 * level[views]:.2f}",
            f"{level[views] / level[one] - 1:+.0%}",
            f"{_sum(own, 'seconds_draft') / _sum(own, 'seconds'):.0%}",
            f"{_sum(own, 'seconds_weighing') / _sum(own, 'seconds'):.1%}",
        ]
        for views, own in by_views.items()
    ]
    names = ["views", "ms per drafted level", f"over {one}", "drafting, of all", "weighing, of all"]
    return table("What it costs", names, lines)


def _efficiency(rows: Sequence[Row]) -> str:
    by_views = {views: _by(own, "scenario") for views, own in _by(rows, "views").items()}
    scenarios = list(next(iter(by_views.values())))
    lines = [
        [views, *(f"{_sum(own[name], 'num_emitted') / _sum(own[name], 'num_steps'):.2f}" for name in scenarios)]
        for views, own in by_views.items()
    ]
    return table("τ by scenario", ["views", *scenarios], lines)


def _picture(rows: Sequence[Row]) -> str:
    drawn = _by([row for row in rows if row["views"] == DRAWN], "scenario")
    panels = [(scenario, _weights(f"w{number}", scenario, own)) for number, (scenario, own) in enumerate(drawn.items())]
    return sheet("Mean weight of each view, block by block", panels, 2)


def _weights(ident: str, scenario: str, rows: Sequence[Row]) -> str:
    traces = [row["weights"] for row in rows if row["weights"] and len(row["weights"][0]) == len(DRAWN)]
    series = []
    for place, letter in enumerate(DRAWN):
        points = []
        for block in range(_NUM_BLOCKS):
            there = [trace[block][place] for trace in traces if len(trace) > block]
            if len(there) >= _FEWEST:
                points.append((block + 1.0, mean(there)))
        series.append(charts.Line(letter, _COLOURS[place], tuple(points)))
    return charts.lines(ident, f"Weights of views in {scenario}", series, ("block", "weight"), 30)
