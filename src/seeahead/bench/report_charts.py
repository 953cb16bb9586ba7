"""From the figures of one temperature to charts. Colours go by the order of methods, grey being plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seeahead.bench import charts
from seeahead.bench.by_method import MethodSummary
from seeahead.bench.columns import cost_ratios
from seeahead.bench.definitions import heading
from seeahead.bench.record import PLAIN, Costs
from seeahead.bench.statistics import Interval

_NUM_COLOURS = 8
SHARE_COLOURS = {
    "prefill": "var(--s0)",
    "draft": "var(--s1)",
    "target": "var(--s2)",
    "host": "var(--s3)",
    "not split": "var(--s7)",
}

Methods = Sequence[MethodSummary]


def colour(methods: Methods, method: str) -> str:
    """Plain is always the first colour; the others take theirs in turn."""
    names = [entry.method for entry in methods if entry.method != PLAIN]
    return "var(--s0)" if method == PLAIN else f"var(--s{1 + names.index(method) % (_NUM_COLOURS - 1)})"


def overall(ident: str, methods: Methods) -> str:
    speeds = {entry.method: entry.speed_up for entry in methods}
    return charts.bars(ident, "Speed-up over all scenarios", _bars(methods, speeds), _highest(methods))


def by_scenario(ident: str, methods: Methods, scenarios: Mapping[str, int]) -> list[tuple[str, str]]:
    """(scenario, chart), all on one scale."""
    found = []
    for number, (name, num) in enumerate(scenarios.items()):
        speeds = {entry.method: entry.by_scenario[name].speed_up for entry in methods}
        title = f"Speed-up in {name}, {num} questions"
        found.append((name, charts.bars(f"{ident}{number}", title, _bars(methods, speeds), _highest(methods))))
    return found


def _bars(methods: Methods, speeds: Mapping[str, Interval | None]) -> list[charts.Bar]:
    found = []
    for entry in methods:
        figure, name = speeds[entry.method], heading(entry.method)
        paint, note = colour(methods, entry.method), "failed" if entry.errors else "no figure"
        if figure is None:
            found.append(charts.Bar(name, paint, None, note=note))
        else:
            ends = (None, None) if entry.method == PLAIN else (figure.low, figure.high)
            found.append(charts.Bar(name, paint, figure.value, *ends, hollow=entry.is_peer))
    return found


def _highest(methods: Methods) -> float:
    figures = [entry.speed_up for entry in methods]
    figures += [speed.speed_up for entry in methods for speed in entry.by_scenario.values()]
    return max([1.2, *(figure.high or figure.value for figure in figures if figure is not None)])


def speed_against_efficiency(ident: str, methods: Methods, costs: Costs) -> str:
    dots = []
    for entry in methods:
        efficiency = entry.drafts.block_efficiency if entry.drafts else None
        speed = entry.speed_up_of_sums
        if efficiency is None or speed is None or entry.drafts is None:
            continue
        reach = entry.drafts.ceiling.value if entry.drafts.ceiling and entry.method != PLAIN else None
        low, high = (None, None) if entry.method == PLAIN else (speed.low, speed.high)
        paint = colour(methods, entry.method)
        dots.append(charts.Dot(entry.method, paint, efficiency.value, speed.value, low, high, reach))
    places = [1 + 0.05 * number for number in range(400)]
    curves = [charts.Line("free checking", "var(--quiet)", tuple((x, x) for x in places))]
    if costs.seconds:
        heights = [x / cost for x, cost in zip(places, cost_ratios(costs, places), strict=True)]
        curves.append(charts.Line("perfect drafts", "var(--ink)", tuple(zip(places, heights, strict=True))))
    return charts.plane(ident, "Speed-up against tokens per pass", dots, curves, ("τ", "speed-up"))


def where_the_time_goes(ident: str, methods: Methods) -> str:
    entries = [
        charts.Stack(
            heading(entry.method),
            tuple((SHARE_COLOURS[name], name, seconds) for name, seconds in entry.seconds_split.items()),
        )
        for entry in methods
        if entry.seconds_split
    ]
    return charts.stacks(ident, "Seconds of a whole answer", entries)


def acceptance(ident: str, methods: Methods) -> str:
    series = []
    for entry in methods:
        known = entry.drafts.acceptance_by_depth if entry.drafts else ()
        found = [(depth, share) for depth, share in enumerate(known, 1) if share is not None]
        if found:
            points = tuple((float(depth), share.value) for depth, share in found)
            series.append(charts.Line(entry.method, colour(methods, entry.method), points, _ends(found)))
    if not series:
        return ""
    return charts.lines(ident, "Acceptance by depth", series, ("depth", "share accepted"))


def _ends(found: Sequence[tuple[int, Interval]]) -> tuple[tuple[float, float] | None, ...]:
    return tuple(None if share.low is None or share.high is None else (share.low, share.high) for _, share in found)
