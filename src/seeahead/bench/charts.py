"""Charts as inline SVG, drawn 340 units wide, about a phone's screen, so that their words stay readable there.

Colours are CSS variables of the page (templates/charts.css): grey is plain, the others go by the order of methods.
Words carry the meaning, colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

from seeahead.bench.figures import MethodSummary
from seeahead.bench.glossary import heading
from seeahead.bench.record import PLAIN, Costs
from seeahead.bench.statistics import Interval

WIDTH = 340
SHARE_COLOURS = {"prefill": "var(--s0)", "draft": "var(--s1)", "target": "var(--s2)", "host": "var(--s3)"}
SHARE_COLOURS["not split"] = "var(--s7)"
_NUM_COLOURS = 8
_LETTER = 6.4  # width of a letter at the charts' font size, on the safe side
_APART, _LED = 14.0, 7.0
"""Between two names; how far a name may stand from its dot before a line leads to it."""

Methods = Sequence[MethodSummary]
Place = Callable[[float], float]


def style() -> str:
    """Colours and looks that every chart needs around it, as CSS."""
    return Path(__file__).with_name("templates").joinpath("charts.css").read_text(encoding="utf-8").strip()


def path(points: Sequence[tuple[float, float]], across: Place, up: Place, kind: str, colour: str) -> str:
    joined = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    return f'<polyline class="{kind}" style="--c:{colour}" points="{joined}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def circle(x: float, y: float, radius: int, kind: str, colour: str) -> str:
    return f'<circle class="{kind}" style="--c:{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dy="0.35em">{escape(words)}</text>'


def short(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


@dataclass(frozen=True)
class Line:
    """Named points joined by a line; `spread` are the ends of their intervals."""

    label: str
    colour: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[tuple[float, float] | None, ...] = ()


class Name(NamedTuple):
    """A name whose text starts (or ends, by its anchor) at `at`, beside its dot at (x, y)."""

    x: float
    y: float
    at: float
    words: str
    anchor: str = "start"

    def covers(self, other: Name) -> bool:
        """Whether one would be written over the other, on one line."""
        (start, end), (others_start, others_end) = self._ends(), other._ends()
        return start < others_end and others_start < end

    def _ends(self) -> tuple[float, float]:
        length = len(self.words) * _LETTER
        return (self.at, self.at + length) if self.anchor == "start" else (self.at - length, self.at)


@dataclass(frozen=True)
class _Scale:
    """Maps numbers to units of the drawing, by a straight line."""

    lowest: float
    highest: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.highest - self.lowest) or 1.0
        return self.start + (value - self.lowest) / span * (self.end - self.start)


def svg(ident: str, height: float, title: str, description: str, body: Iterable[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-labelledby="{ident}t {ident}d" viewBox="0 0 {WIDTH} {height:.0f}">'
        f'<title id="{ident}t">{escape(title)}</title><desc id="{ident}d">{escape(description)}</desc>'
        f"{''.join(body)}</svg>"
    )


def names_beside(names: Sequence[Name], lowest: float) -> list[str]:
    """Moved so that none is written over another, and none falls below `lowest` as long as there is room above."""
    down: list[tuple[Name, float]] = []
    for name in sorted(names, key=lambda name: name.y):
        down.append((name, max([name.y, *(y + _APART for other, y in down if name.covers(other))])))
    up: list[tuple[Name, float]] = []
    for name, height in reversed(down):
        up.append((name, min([height, lowest, *(y - _APART for other, y in up if name.covers(other))])))
    body = []
    for name, y in reversed(up):
        if abs(y - name.y) > _LED:
            body.append(line(name.x, name.y, name.at, y, "faint"))
        body.append(text(name.at, y, name.words, name.anchor))
    return body


def overall(ident: str, methods: Methods) -> str:
    speeds = [entry.speed_up for entry in methods]
    return bars(ident, "Speed-up over all scenarios", methods, speeds, _highest(methods))


def by_scenario(ident: str, methods: Methods, scenarios: Mapping[str, int]) -> list[tuple[str, str]]:
    """(scenario, chart), all on one scale."""
    found = []
    for number, (name, num) in enumerate(scenarios.items()):
        speeds = [entry.by_scenario[name].speed_up for entry in methods]
        title = f"Speed-up in {name}, {num} questions"
        found.append((name, bars(f"{ident}{number}", title, methods, speeds, _highest(methods))))
    return found


def _highest(methods: Methods) -> float:
    figures = [entry.speed_up for entry in methods]
    figures += [speed.speed_up for entry in methods for speed in entry.by_scenario.values()]
    return max([1.2, *(figure.high or figure.value for figure in figures if figure is not None)])


def bars(ident: str, title: str, methods: Methods, figures: Sequence[Interval | None], highest: float) -> str:
    """A bar with its interval per method, hollow for peers; the thin upright line is 1, which is plain."""
    left, step = 140.0, 24
    scale = _Scale(0, highest, left, WIDTH - 48)
    body, described = [line(scale(1), 2, scale(1), step * len(methods), "one")], []
    for number, (entry, figure) in enumerate(zip(methods, figures, strict=True)):
        y, name = step * number + step / 2, heading(entry.method)
        body.append(text(left - 6, y, short(name, 21), "end"))
        if figure is None:
            note = "failed" if entry.errors else "no figure"
            body.append(text(left + 4, y, note, "start", "quiet"))
            described.append(f"{name}: {note}")
            continue
        width, kind = max(0.5, scale(figure.value) - left), "hollow" if entry.is_peer else "solid"
        body.append(f'<rect class="{kind}" style="--c:{colour(methods, entry.method)}" x="{left}" y="{y - 7}" ')
        body.append(f'width="{width:.1f}" height="14" rx="2"/>')
        spread, end = "", scale(figure.value)
        if (ends := _ends(entry, figure)) is not None:
            a, b = map(scale, ends)
            body += [line(a, y, b, y, "whisker"), *(line(x, y - 4, x, y + 4, "whisker") for x in (a, b))]
            spread, end = f" ({ends[0]:.2f} to {ends[1]:.2f})", max(end, b)
        body.append(text(end + 5, y, f"{figure.value:.2f}×", "start", "value"))
        described.append(f"{name} {figure.value:.2f}{spread}")
    return svg(ident, step * len(methods), title, "; ".join(described), body)


def colour(methods: Methods, method: str) -> str:
    """Plain is always the first colour; the others take theirs in turn."""
    names = [entry.method for entry in methods if entry.method != PLAIN]
    return "var(--s0)" if method == PLAIN else f"var(--s{1 + names.index(method) % (_NUM_COLOURS - 1)})"


def _ends(entry: MethodSummary, figure: Interval) -> tuple[float, float] | None:
    """Plain is 1 against itself, and has no spread."""
    return None if entry.method == PLAIN or figure.low is None or figure.high is None else (figure.low, figure.high)


def speed_against_efficiency(ident: str, methods: Methods, costs: Costs) -> str:
    """Dots with intervals under two curves, from 1 across and 0 up; a ring above a dot shows how far it could go."""
    left, bottom = 30.0, 252.0
    dots = [
        (entry, entry.drafts.block_efficiency.value, entry.speed_up_of_sums, entry.drafts.ceiling)
        for entry in methods
        if entry.drafts and entry.drafts.block_efficiency and entry.speed_up_of_sums
    ]
    right = 1.12 * max([2.0, *(x for _, x, _, _ in dots)])
    heights = [max(speed.high or speed.value, reach.value if reach else 0) for _, _, speed, reach in dots]
    top = max([right, *(1.08 * height for height in heights)])
    across, up = _Scale(1, right, left, WIDTH - 8), _Scale(0, top, bottom, 8)
    body = _axes(across, up, "τ", (left, bottom), (_ticks(1, right), _ticks(0, top)))
    places = [1 + 0.05 * number for number in range(400)]
    curves = [Line("free checking", "var(--quiet)", tuple((x, x) for x in places))]
    if costs.seconds:
        curves.append(Line("perfect drafts", "var(--ink)", tuple((x, x / costs.ratio(x)) for x in places)))
    for number, curve in enumerate(curves):
        seen = [(x, y) for x, y in curve.points if x <= right and y <= top]
        body.append(path(seen, across, up, "curve", curve.colour))
        # Their names stand top left, where no dot can be: nothing is faster than its tokens per pass.
        y = 16.0 + 16 * number
        body.append(path([(left + 8, y), (left + 26, y)], float, float, "curve", curve.colour))
        body.append(text(left + 32, y, curve.label, "start", "quiet"))
    names = []
    for entry, efficiency, speed, reach in dots:
        x, y, paint, label = across(efficiency), up(speed.value), colour(methods, entry.method), short(entry.method, 18)
        if reach is not None and entry.method != PLAIN:
            body.append(line(x, y, x, up(reach.value), "reach"))
            body.append(circle(x, up(reach.value), 4, "hollow", paint))
        if (ends := _ends(entry, speed)) is not None:
            body.append(line(x, up(ends[0]), x, up(ends[1]), "whisker"))
        body.append(circle(x, y, 5, "solid", paint))
        length = len(label) * _LETTER
        is_left = x + 10 + length > WIDTH and x - left > length
        names.append(Name(x, y, x - 9 if is_left else x + 9, label, "end" if is_left else "start"))
    body += names_beside(names, bottom)
    described = "; ".join(f"{entry.method}: τ {x:.2f}, speed-up {speed.value:.2f}" for entry, x, speed, _ in dots)
    return svg(ident, 290, "Speed-up against tokens per pass", described, body)


def acceptance(ident: str, methods: Methods) -> str:
    series = []
    for entry in methods:
        known = entry.drafts.acceptance_by_depth if entry.drafts else ()
        found = [(float(depth), share) for depth, share in enumerate(known, 1) if share is not None]
        if found:
            points = tuple((depth, share.value) for depth, share in found)
            ends = tuple(_ends(entry, share) for _, share in found)
            series.append(Line(entry.method, colour(methods, entry.method), points, ends))
    if not series:
        return ""
    return lines(ident, "Acceptance by depth", series, ("depth", "share accepted"))


def lines(ident: str, title: str, series: Sequence[Line], names: tuple[str, str], room: int = 92) -> str:
    """Lines over 1, 2, 3, …; heights are shares from 0 to 1. Each line's name stands at its end."""
    height, left, bottom = 250, 42.0, 212.0
    deepest = max((x for entry in series for x, _ in entry.points), default=1.0)
    across, up = _Scale(1, max(2.0, deepest), left + 8, WIDTH - room), _Scale(0, 1, bottom, 10)
    body = _axes(across, up, names[0], (left, bottom), (_ticks(1, deepest), [0, 0.25, 0.5, 0.75, 1]), _percent)
    ends = []
    for number, entry in enumerate(entry for entry in series if entry.points):
        for (x, _), spread in zip(entry.points, entry.spread):
            if spread is not None:
                body.append(line(across(x), up(spread[0]), across(x), up(spread[1]), "faint"))
        body.append(path(entry.points, across, up, f"series dash{number % 4}", entry.colour))
        body += [circle(across(x), up(y), 3, "solid", entry.colour) for x, y in entry.points]
        x, y = entry.points[-1]
        ends.append(Name(across(x), up(y), across(x) + 8, short(entry.label, 13)))
    body += names_beside(ends, bottom)
    described = "; ".join(f"{entry.label}: " + ", ".join(_percent(y) for _, y in entry.points) for entry in series)
    return svg(ident, height, title, described, body)


def _axes(
    across: _Scale,
    up: _Scale,
    name: str,
    corner: tuple[float, float],
    ticks: tuple[Sequence[float], Sequence[float]],
    shown: Callable[[float], str] = "{:g}".format,
) -> list[str]:
    left, bottom = corner
    body = [line(left, up(y), across.end, up(y), "grid") for y in ticks[1]]
    body += [text(left - 5, up(y), shown(y), "end", "quiet") for y in ticks[1]]
    body += [text(across(x), bottom + 14, f"{x:g}", "middle", "quiet") for x in ticks[0]]
    body.append(text((left + across.end) / 2, bottom + 31, f"{name} →", "middle", "quiet"))
    return body


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers from `lowest` on, at most seven."""
    for step in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0):
        if highest - lowest <= 6 * step:
            break
    return [lowest + step * number for number in range(int((highest - lowest) / step) + 1)]


def _percent(share: float) -> str:
    return f"{share:.0%}"
