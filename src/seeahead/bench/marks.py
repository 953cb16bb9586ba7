"""What charts are drawn with: marks as SVG text, and names that stand beside dots without covering one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

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
