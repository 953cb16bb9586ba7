"""Charts as inline SVG. They know nothing of benchmarks: labels, numbers and colours in, text out.

Every chart is drawn 340 units wide, about a phone's screen, so that its words stay readable there; a wide page sets
several side by side. Colours are CSS variables of the page. Words carry the meaning, colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from seeahead.bench.marks import LETTER, WIDTH, Name, beside, circle, line, path, short, text, written
from seeahead.bench.words import counted


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
class Stack:
    """Parts of a whole, in order: (colour, name, seconds)."""

    label: str
    parts: tuple[tuple[str, str, float], ...]


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


def stacks(ident: str, title: str, entries: Sequence[Stack]) -> str:
    """One bar per method, cut into its parts; parts that are wide enough carry their seconds."""
    step = 58
    longest = max((sum(seconds for *_, seconds in entry.parts) for entry in entries), default=1.0) or 1.0
    body, said = [], []
    for number, entry in enumerate(entries):
        y, x, total = step * number, 0.0, sum(seconds for *_, seconds in entry.parts)
        body.append(text(0, y + 10, entry.label, "start", "value"))
        body.append(text(WIDTH, y + 10, f"{total:.2f} s", "end"))
        for colour, name, seconds in entry.parts:
            width = seconds / longest * WIDTH
            body.append(f'<rect style="fill:{colour}" x="{x:.1f}" y="{y + 20}" width="{max(0.0, width - 1):.1f}" ')
            body.append('height="14"/>')
            for words in (f"{name} {seconds:.2f}", f"{seconds:.2f}"):
                if len(words) * LETTER <= width:
                    body.append(text(x, y + 43, words, "start", "small"))
                    break
            x += width
        parts = ", ".join(f"{name} {seconds:.2f}" for _, name, seconds in entry.parts)
        said.append(f"{entry.label}: {parts} seconds")
    return svg(ident, step * len(entries), title, "; ".join(said), body)


def strip(ident: str, title: str, rounds: Sequence[tuple[int, int]]) -> str:
    """One column per round of (kept, refused): what the model said itself at the bottom, kept above, refused on top."""
    unit, gap = 6.0, 1.0
    width = min(9.0, WIDTH / max(1, len(rounds)))
    tallest = 1 + max((kept + refused for kept, refused in rounds), default=0)
    body = []
    for number, (kept, refused) in enumerate(rounds):
        kinds = ["own", *["kept"] * kept, *["refused"] * refused]
        for level, kind in enumerate(kinds):
            y = (tallest - 1 - level) * unit
            body.append(f'<rect class="{kind}" x="{number * width + 0.5:.1f}" y="{y + 0.5:.1f}" ')
            body.append(f'width="{max(0.5, width - gap):.1f}" height="{unit - gap}"/>')
    kept_in_all, refused_in_all = sum(kept for kept, _ in rounds), sum(refused for _, refused in rounds)
    passes = "1 pass" if len(rounds) == 1 else f"{len(rounds)} passes"
    said = f"{passes}, {counted(kept_in_all, 'drafted level')} kept, {refused_in_all} refused"
    return svg(ident, tallest * unit, title, said, body)


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
