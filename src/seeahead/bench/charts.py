"""Charts as inline SVG, drawn 340 units wide, about a phone's screen, so that their words stay readable there.

Colours are CSS variables of the page (templates/charts.css): grey is plain, the others go by the order of methods.
Words carry the meaning, colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from seeahead.bench.figures import MethodSummary
from seeahead.bench.glossary import heading
from seeahead.bench.record import PLAIN, Costs
from seeahead.bench.statistics import Interval

WIDTH = 340
LETTER = 6.4  # width of a letter at the charts' font size, on the safe side
_APART, _LED = 14.0, 7.0
"""Between two names; how far a name may stand from its dot before a line leads to it."""
Place = Callable[[float], float]


@dataclass(frozen=True)
class Name:
    """A name that starts, or ends, `beside` its dot at (x, y)."""

    x: float
    y: float
    beside: float
    label: str
    anchor: str = "start"

    def marks(self, to: float) -> list[str]:
        """The name at height `to`, with a line to it where that is far from its dot."""
        led = [line(self.x, self.y, self.beside, to, "faint")] if abs(to - self.y) > _LED else []
        return [*led, text(self.beside, to, self.label, self.anchor)]

    def meets(self, other: Name) -> bool:
        """Whether one would be written over the other, on one line."""
        (start, end), (others_start, others_end) = self._ends(), other._ends()
        return start < others_end and others_start < end

    def _ends(self) -> tuple[float, float]:
        length = len(self.label) * LETTER
        return (self.beside, self.beside + length) if self.anchor == "start" else (self.beside - length, self.beside)


def written(names: Sequence[Name], lowest: float) -> list[str]:
    """All of them, from the top down: moved so that none is written over another, and none falls below `lowest` as long
    as there is room above."""
    down: list[tuple[Name, float]] = []
    for name in sorted(names, key=lambda name: name.y):
        down.append((name, max([name.y, *(to + _APART for other, to in down if name.meets(other))])))
    up: list[tuple[Name, float]] = []
    for name, height in reversed(down):
        up.append((name, min([height, lowest, *(to - _APART for other, to in up if name.meets(other))])))
    return [mark for name, to in reversed(up) for mark in name.marks(to)]


def beside(places: Sequence[tuple[float, float, str]], left: float) -> list[Name]:
    """Names beside their dots: to the left of those that stand far right."""
    names = []
    for x, y, label in places:
        length = len(label) * LETTER
        is_left = x + 10 + length > WIDTH and x - left > length
        names.append(Name(x, y, x - 9 if is_left else x + 9, label, "end" if is_left else "start"))
    return names


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
class Bar:
    """One method's figure; `hollow` marks other engines. Without a value the note stands alone."""

    label: str
    colour: str
    value: float | None
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    note: str = ""


@dataclass(frozen=True)
class Dot:
    """A method in a plane, with the place it could reach."""

    label: str
    colour: str
    x: float
    y: float
    low: float | None
    high: float | None
    reach: float | None


@dataclass(frozen=True)
class Line:
    """Named points joined by a line; `spread` are the ends of their intervals."""

    label: str
    colour: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[tuple[float, float] | None, ...] = ()


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


def bars(ident: str, title: str, entries: Sequence[Bar], highest: float) -> str:
    """Horizontal bars with whiskers; the thin upright line is 1, which is plain. `highest` is the scale's end."""
    left, step = 140.0, 24
    scale = _Scale(0, highest, left, WIDTH - 48)
    body = [line(scale(1), 2, scale(1), step * len(entries), "one")]
    for number, entry in enumerate(entries):
        y = step * number + step / 2
        body.append(text(left - 6, y, short(entry.label, 21), "end"))
        if entry.value is None:
            body.append(text(left + 4, y, entry.note or "no figure", "start", "quiet"))
            continue
        fill = "hollow" if entry.hollow else "solid"
        width = max(0.5, scale(entry.value) - left)
        body.append(f'<rect class="{fill}" style="--c:{entry.colour}" x="{left}" y="{y - 7}" ')
        body.append(f'width="{width:.1f}" height="14" rx="2"/>')
        body += _whisker(scale, y, entry.low, entry.high)
        end = scale(max(entry.value, entry.high or 0.0))
        body.append(text(end + 5, y, f"{entry.value:.2f}×", "start", "value"))
    return svg(ident, step * len(entries), title, "; ".join(map(_spoken, entries)), body)


def _spoken(entry: Bar) -> str:
    if entry.value is None:
        return f"{entry.label}: {entry.note or 'no figure'}"
    spread = "" if entry.low is None else f" ({entry.low:.2f} to {entry.high:.2f})"
    return f"{entry.label} {entry.value:.2f}{spread}"


def _whisker(scale: _Scale, y: float, low: float | None, high: float | None) -> list[str]:
    if low is None or high is None:
        return []
    a, b = scale(low), scale(high)
    return [line(a, y, b, y, "whisker"), *(line(x, y - 4, x, y + 4, "whisker") for x in (a, b))]


def plane(ident: str, title: str, dots: Sequence[Dot], curves: Sequence[Line], names: tuple[str, str]) -> str:
    """Dots with whiskers under named curves, from 1 across and 0 up; a ring above a dot shows how far it could go."""
    height, left, bottom = 290, 30.0, 252.0
    right = max([*(dot.x for dot in dots), 2.0]) * 1.12
    top = max([*(max(dot.y, dot.high or 0, dot.reach or 0) * 1.08 for dot in dots), right])
    across, up = _Scale(1, right, left, WIDTH - 8), _Scale(0, top, bottom, 8)
    body = _axes(across, up, names, (left, bottom), (_ticks(1, right), _ticks(0, top)))
    for number, curve in enumerate(curves):
        body.append(
            path([(x, y) for x, y in curve.points if x <= right and y <= top], across, up, "curve", curve.colour)
        )
        # Their names stand top left, where no dot can be: nothing is faster than its tokens per pass.
        y = 16.0 + 16 * number
        body.append(path([(left + 8, y), (left + 26, y)], float, float, "curve", curve.colour))
        body.append(text(left + 32, y, curve.label, "start", "quiet"))
    places = []
    for dot in dots:
        x, y = across(dot.x), up(dot.y)
        if dot.reach is not None:
            body.append(line(x, y, x, up(dot.reach), "reach"))
            body.append(
                f'<circle class="hollow" style="--c:{dot.colour}" cx="{x:.1f}" cy="{up(dot.reach):.1f}" r="4"/>'
            )
        if dot.low is not None and dot.high is not None:
            body.append(line(x, up(dot.low), x, up(dot.high), "whisker"))
        body.append(circle(x, y, 5, "solid", dot.colour))
        places.append((x, y, short(dot.label, 18)))
    body += written(beside(places, left), bottom)
    said = "; ".join(f"{dot.label}: {names[0]} {dot.x:.2f}, {names[1]} {dot.y:.2f}" for dot in dots)
    return svg(ident, height, title, said, body)


def lines(ident: str, title: str, series: Sequence[Line], names: tuple[str, str], room: int = 92) -> str:
    """Lines over 1, 2, 3, …; heights are shares from 0 to 1. Each line's name stands at its end."""
    height, left, bottom = 250, 42.0, 212.0
    deepest = max((x for entry in series for x, _ in entry.points), default=1.0)
    across, up = _Scale(1, max(2.0, deepest), left + 8, WIDTH - room), _Scale(0, 1, bottom, 10)
    body = _axes(across, up, names, (left, bottom), (_ticks(1, deepest), [0, 0.25, 0.5, 0.75, 1]), _percent)
    ends = []
    for number, entry in enumerate(entry for entry in series if entry.points):
        for (x, _), spread in zip(entry.points, entry.spread):
            if spread is not None:
                body.append(line(across(x), up(spread[0]), across(x), up(spread[1]), "faint"))
        body.append(path(entry.points, across, up, f"series dash{number % 4}", entry.colour))
        for x, y in entry.points:
            body.append(
                f'<circle class="solid" style="--c:{entry.colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>'
            )
        x, y = entry.points[-1]
        ends.append(Name(across(x), up(y), across(x) + 8, short(entry.label, 13)))
    body += written(ends, bottom)
    said = "; ".join(f"{entry.label}: " + ", ".join(_percent(y) for _, y in entry.points) for entry in series)
    return svg(ident, height, title, said, body)


def _axes(
    across: _Scale,
    up: _Scale,
    names: tuple[str, str],
    corner: tuple[float, float],
    ticks: tuple[Sequence[float], Sequence[float]],
    shown: Callable[[float], str] = "{:g}".format,
) -> list[str]:
    left, bottom = corner
    body = [line(left, up(y), across.end, up(y), "grid") for y in ticks[1]]
    body += [text(left - 5, up(y), shown(y), "end", "quiet") for y in ticks[1]]
    body += [text(across(x), bottom + 14, f"{x:g}", "middle", "quiet") for x in ticks[0]]
    body.append(text((left + across.end) / 2, bottom + 31, f"{names[0]} →", "middle", "quiet"))
    return body


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers from `lowest` on, at most seven."""
    for step in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0):
        if highest - lowest <= 6 * step:
            break
    return [lowest + step * number for number in range(int((highest - lowest) / step) + 1)]


def _percent(share: float) -> str:
    return f"{share:.0%}"


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
    return bars(ident, "Speed-up over all scenarios", _bars(methods, speeds), _highest(methods))


def by_scenario(ident: str, methods: Methods, scenarios: Mapping[str, int]) -> list[tuple[str, str]]:
    """(scenario, chart), all on one scale."""
    found = []
    for number, (name, num) in enumerate(scenarios.items()):
        speeds = {entry.method: entry.by_scenario[name].speed_up for entry in methods}
        title = f"Speed-up in {name}, {num} questions"
        found.append((name, bars(f"{ident}{number}", title, _bars(methods, speeds), _highest(methods))))
    return found


def _bars(methods: Methods, speeds: Mapping[str, Interval | None]) -> list[Bar]:
    found = []
    for entry in methods:
        figure, name = speeds[entry.method], heading(entry.method)
        paint, note = colour(methods, entry.method), "failed" if entry.errors else "no figure"
        if figure is None:
            found.append(Bar(name, paint, None, note=note))
        else:
            ends = (None, None) if entry.method == PLAIN else (figure.low, figure.high)
            found.append(Bar(name, paint, figure.value, *ends, hollow=entry.is_peer))
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
        dots.append(Dot(entry.method, paint, efficiency.value, speed.value, low, high, reach))
    places = [1 + 0.05 * number for number in range(400)]
    curves = [Line("free checking", "var(--quiet)", tuple((x, x) for x in places))]
    if costs.seconds:
        curves.append(Line("perfect drafts", "var(--ink)", tuple((x, x / costs.ratio(x)) for x in places)))
    return plane(ident, "Speed-up against tokens per pass", dots, curves, ("τ", "speed-up"))


def acceptance(ident: str, methods: Methods) -> str:
    series = []
    for entry in methods:
        known = entry.drafts.acceptance_by_depth if entry.drafts else ()
        found = [(depth, share) for depth, share in enumerate(known, 1) if share is not None]
        if found:
            points = tuple((float(depth), share.value) for depth, share in found)
            series.append(Line(entry.method, colour(methods, entry.method), points, _ends(found)))
    if not series:
        return ""
    return lines(ident, "Acceptance by depth", series, ("depth", "share accepted"))


def _ends(found: Sequence[tuple[int, Interval]]) -> tuple[tuple[float, float] | None, ...]:
    return tuple(None if share.low is None or share.high is None else (share.low, share.high) for _, share in found)
