"""Charts as inline SVG, drawn 340 units wide, about a phone's screen, so that their words stay readable there.

Colours are CSS variables of the page (templates/charts.css): grey is plain, the others go by the order of methods.
Words carry the meaning, colour only repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

from seeahead.bench.figures import Sample
from seeahead.bench.record import PLAIN, Costs
from seeahead.bench.statistics import Interval
from seeahead.bench.words import heading

TEMPLATES = Path(__file__).with_name("templates")
WIDTH = 340
_NUM_COLOURS = 8
_BOTTOM = 212.0  # of the plane of lines
_LETTER = 6.4  # width of a letter at the charts' font size, on the safe side
_APART, _LED = 14.0, 7.0
"""Between two names; how far a name may stand from its dot before a line leads to it."""

Methods = Sequence[Sample]
Place = Callable[[float], float]
"""From a number to units of the drawing."""
_Pair = tuple[Place, Place]
_Ticks = tuple[Sequence[float], Sequence[float]]
"""Across, and up."""


def straight(lowest: float, highest: float, start: float, end: float) -> Place:
    """A straight line: `lowest` is drawn at `start`."""
    span = (highest - lowest) or 1.0
    return lambda value: start + (value - lowest) / span * (end - start)


def path(points: Iterable[tuple[float, float]], kind: str, colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" style="--c:{colour}" points="{joined}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def circle(x: float, y: float, radius: int, kind: str, colour: str) -> str:
    return f'<circle class="{kind}" style="--c:{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dy="0.35em">{escape(words)}</text>'


def svg(ident: str, height: float, title: str, described: Iterable[str], body: Iterable[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-labelledby="{ident}t {ident}d" viewBox="0 0 {WIDTH} {height:.0f}">'
        f'<title id="{ident}t">{escape(title)}</title><desc id="{ident}d">{escape("; ".join(described))}</desc>'
        f"{''.join(body)}</svg>"
    )


def shortened(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


class _Name(NamedTuple):
    """A name whose text starts (or ends, by its anchor) at `at`, beside its dot at (x, y)."""

    x: float
    y: float
    at: float
    words: str
    anchor: str = "start"

    @property
    def ends(self) -> tuple[float, float]:
        length = len(self.words) * _LETTER
        return (self.at, self.at + length) if self.anchor == "start" else (self.at - length, self.at)

    def covers(self, other: _Name) -> bool:
        """Whether one would be written over the other, on one line."""
        return self.ends[0] < other.ends[1] and other.ends[0] < self.ends[1]


def _names_beside(names: Sequence[_Name], lowest: float) -> list[str]:
    """Moved so that none is written over another, and none falls below `lowest` as long as there is room above."""
    down: list[tuple[_Name, float]] = []
    for name in sorted(names, key=lambda name: name.y):
        down.append((name, max([name.y, *(y + _APART for other, y in down if name.covers(other))])))
    up: list[tuple[_Name, float]] = []
    for name, height in reversed(down):
        up.append((name, min([height, lowest, *(y - _APART for other, y in up if name.covers(other))])))
    body = []
    for name, y in reversed(up):
        if abs(y - name.y) > _LED or abs(name.at - name.x) > 2 * _LED:
            body.append(line(name.x, name.y, name.at, y, "faint"))
        body.append(text(name.at, y, name.words, name.anchor))
    return body


def colour(methods: Methods, method: str) -> str:
    """Plain is always the first colour; the others take theirs in turn."""
    names = [entry.method for entry in methods if entry.method != PLAIN]
    return "var(--s0)" if method == PLAIN else f"var(--s{1 + names.index(method) % (_NUM_COLOURS - 1)})"


def ends_of(entry: Sample, figure: Interval) -> list[tuple[float, float]]:
    """The ends of the interval, if any. Plain is 1 against itself, and has no spread."""
    return [] if entry.method == PLAIN or figure.ends is None else [figure.ends]


def speed_against_efficiency(ident: str, methods: Methods, costs: Costs) -> str:
    """Dots with intervals under two curves, from 1 across and 0 up; a ring above a dot shows how far it could go."""
    left, bottom = 30.0, 252.0
    found = [(entry, entry["τ"], entry["ratio of sums"], entry["ceiling"]) for entry in methods]
    dots = [(entry, tau.value, speed, reach or speed) for entry, tau, speed, reach in found if tau and speed]
    right = 1.12 * max([2.0, *(x for _, x, _, _ in dots)])
    top = max([right, *(1.08 * max(speed.high or speed.value, reach.value) for _, _, speed, reach in dots)])
    across, up = straight(1, right, left, WIDTH - 8), straight(0, top, bottom, 8)
    body = _axes((across, up), "τ", (left, WIDTH - 8, bottom), (_ticks(1, right), _ticks(0, top)))
    curves: dict[str, tuple[str, Place]] = {"free checking": ("var(--quiet)", lambda x: x)}
    if costs.seconds:
        curves["perfect drafts"] = ("var(--ink)", lambda x: x / costs.ratio(x))
    for number, (label, (paint, curve)) in enumerate(curves.items()):
        points = [(x, curve(x)) for x in (1 + 0.05 * number for number in range(400))]
        body.append(path([(across(x), up(y)) for x, y in points if x <= right and y <= top], "curve", paint))
        # Their names stand top left, where no dot can be: nothing is faster than its tokens per pass.
        y = 16.0 + 16 * number
        body.append(path([(left + 8, y), (left + 26, y)], "curve", paint))
        body.append(text(left + 32, y, label, "start", "quiet"))
    names = []
    for entry, efficiency, speed, reach in dots:
        x, y, paint = across(efficiency), up(speed.value), colour(methods, entry.method)
        label = shortened(heading(entry.method), 18)
        if reach is not speed and entry.method != PLAIN:
            body.append(line(x, y, x, up(reach.value), "reach"))
            body.append(circle(x, up(reach.value), 4, "hollow", paint))
        body += [line(x, up(low), x, up(high), "whisker") for low, high in ends_of(entry, speed)]
        body.append(circle(x, y, 5, "solid", paint))
        length = len(label) * _LETTER
        # Right of all dots near it, or left of them where there is no room.
        near = [across(tau) for _, tau, other, _ in dots if abs(up(other.value) - y) < 2 * _APART]
        near = [other for other in near if abs(other - x) < length + _APART]
        is_left = max(near) + 10 + length > WIDTH and min(near) - left > length
        names.append(_Name(x, y, min(near) - 9, label, "end") if is_left else _Name(x, y, max(near) + 9, label))
    described = (f"{entry.method}: τ {x:.2f}, speed-up {speed.value:.2f}" for entry, x, speed, _ in dots)
    return svg(ident, 290, "Speed-up against tokens per pass", described, [*body, *_names_beside(names, bottom)])


@dataclass(frozen=True)
class Line:
    """Named points joined by a line; `spread` are the ends of their intervals, if any."""

    label: str
    colour: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[Sequence[tuple[float, float]], ...] = ()


def acceptance(ident: str, methods: Methods) -> str:
    """Empty where nothing is known."""
    series = []
    for entry in methods:
        found = [(float(depth), share) for depth, share in enumerate(entry.acceptance_by_depth, 1) if share is not None]
        if found:
            points = tuple((depth, share.value) for depth, share in found)
            spread = tuple(ends_of(entry, share) for _, share in found)
            series.append(Line(entry.method, colour(methods, entry.method), points, spread))
    return lines(ident, "Acceptance by depth", series, "depth") if series else ""


def reliability(ident: str, methods: Methods) -> str:
    """What drafters expected against what came; empty where none said what it expected. On the thin line both agree."""
    series = [
        Line(entry.method, colour(methods, entry.method), tuple((10 * said, seen) for said, seen, _ in found))
        for entry in methods
        if (found := entry.reliability)
    ]
    if not series:
        return ""
    agreed = Line("as expected", "var(--quiet)", ((0, 0), (10, 1)))
    return lines(ident, "Expected and accepted", [agreed, *series], "expected, in tenths", first=0)


def lines(ident: str, title: str, series: Sequence[Line], name: str, room: int = 92, first: float = 1) -> str:
    """Lines over numbers from `first` on; heights are shares from 0 to 1."""
    left, right = 42.0, WIDTH - room
    deepest = max((x for entry in series for x, _ in entry.points), default=1.0)
    scales = straight(first, max(2.0, deepest), left + 8, right), straight(0, 1, _BOTTOM, 10)
    ticks = _ticks(first, deepest), [0, 0.25, 0.5, 0.75, 1]
    return _drawn(ident, title, series, name, scales, ticks, right, "{:.0%}")


def doublings(
    ident: str, title: str, series: Sequence[Line], name: str, *, highest: float = 0.0, are_times: bool = False
) -> str:
    """Lines over numbers that double, each of them named below; heights from 0 to `highest` at least, or decades."""
    left, right = 42.0, WIDTH - 16 - _LETTER * max(len(entry.label) for entry in series)
    places = sorted({x for entry in series for x, _ in entry.points})
    heights = [highest, *(y for entry in series for _, y in entry.points)]
    heights += [end for entry in series for spread in entry.spread for ends in spread for end in ends]
    along = straight(math.log2(places[0]), math.log2(places[-1]), left + 8, right - 8)
    if are_times:
        low, high = (math.log10(end(height for height in heights if height)) for end in (min, max))
        upright = straight(math.floor(low), math.ceil(high), _BOTTOM, 10)
        marks = [10.0**power for power in range(math.floor(low), math.ceil(high) + 1)]
    else:
        upright, marks = straight(0, 1.05 * max(heights), _BOTTOM, 10), _ticks(0, max(heights))
    scales = (lambda value: along(math.log2(value))), lambda value: upright(math.log10(value) if are_times else value)
    return _drawn(ident, title, series, name, scales, (places, marks), right, "{:g}")


def _drawn(
    ident: str, title: str, series: Sequence[Line], name: str, scales: _Pair, ticks: _Ticks, right: float, form: str
) -> str:
    """Each line's name stands at its end."""
    across, up = scales
    body = _axes(scales, name, (42.0, right, _BOTTOM), ticks, form)
    names = []
    for number, entry in enumerate(entry for entry in series if entry.points):
        points = [(across(x), up(y)) for x, y in entry.points]
        for (x, _), spread in zip(points, entry.spread):
            body += [line(x, up(low), x, up(high), "faint") for low, high in spread]
        body.append(path(points, f"series dash{number % 4}", entry.colour))
        body += [circle(x, y, 3, "solid", entry.colour) for x, y in points]
        x, y = points[-1]
        names.append(_Name(x, y, x + 8, shortened(entry.label, max(13, int((WIDTH - x - 7) / _LETTER)))))
    described = (f"{entry.label}: " + ", ".join(form.format(y) for _, y in entry.points) for entry in series)
    return svg(ident, 250, title, described, [*body, *_names_beside(names, _BOTTOM)])


def _axes(scales: _Pair, name: str, edges: tuple[float, float, float], ticks: _Ticks, form: str = "{:g}") -> list[str]:
    (across, up), (left, right, bottom) = scales, edges
    body = [line(left, up(y), right, up(y), "grid") for y in ticks[1]]
    body += [text(left - 5, up(y), form.format(y), "end", "quiet") for y in ticks[1]]
    body += [text(across(x), bottom + 14, f"{x:g}", "middle", "quiet") for x in ticks[0]]
    body.append(text((left + right) / 2, bottom + 31, f"{name} →", "middle", "quiet"))
    return body


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers from `lowest` on, at most seven."""
    for step in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0):
        if highest - lowest <= 6 * step:
            break
    return [lowest + step * number for number in range(int((highest - lowest) / step) + 1)]


_ALONE = """.chart { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.chart text.heading { font-size: 14px; font-weight: 600; }"""


def grid(title: str, drawn: Sequence[tuple[str, str]]) -> str:
    """(heading, chart) in rows of two, as one SVG file that stands alone, such as a README shows."""
    margin, above = 20.0, 34.0
    cell = WIDTH + 2 * margin
    body, top = [], 8.0
    for start in range(0, len(drawn), 2):
        row = drawn[start : start + 2]
        for number, (words, chart) in enumerate(row):
            left = number * cell + margin
            place = f'x="{left:g}" y="{top + above:g}" width="{WIDTH}" height="{_height(chart):g}"'
            body.append(f'<text class="heading" x="{left:g}" y="{top + above / 2:g}">{escape(words)}</text>')
            body.append(chart.replace("<svg ", f"<svg {place} ", 1))
        top += above + max(_height(chart) for _, chart in row) + margin
    width, style = 2 * cell, (TEMPLATES / "charts.css").read_text(encoding="utf-8").strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 {width:g} {top:g}" '
        f'width="{width:g}" height="{top:g}"><title>{escape(title)}</title><style>{style}\n{_ALONE}</style>'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{"".join(body)}</svg>\n'
    )


def _height(chart: str) -> float:
    return float(chart.partition('viewBox="0 0 ')[2].partition('"')[0].split()[1])
