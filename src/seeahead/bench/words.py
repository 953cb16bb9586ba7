"""What every word of the pages means, and figures and numbers as people read them. No torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from seeahead.bench.record import PLAIN
from seeahead.bench.statistics import Interval

DEFINITIONS: Mapping[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
MISSING, FAILED = "–", "failed on every answer"
SPELLED: Mapping[str, str] = tomllib.loads(Path(__file__).with_name("headings.toml").read_text(encoding="utf-8"))
"""Words of the trade with everyday ones before them, for the headings of pages."""


def heading(method: str) -> str:
    """A method's name for people."""
    return "plain" if method == PLAIN else method


def anchor(word: str) -> str:
    """The id of a definition on the page."""
    return f"d{list(DEFINITIONS).index(word)}"


class Cell(NamedTuple):
    """A figure for people; `spread` is its interval in the same unit, or nothing."""

    value: str
    spread: str = ""


def number(figure: Interval | None, digits: int = 2, unit: str = "", scale: float = 1.0) -> Cell:
    if figure is None:
        return Cell(MISSING)
    shown = f"{figure.value * scale:.{digits}f}{unit}"
    if figure.ends is None:
        return Cell(shown)
    low, high = (f"{end * scale:.{digits}f}" for end in figure.ends)
    # Ends that round to the figure itself say nothing.
    return Cell(shown, "" if shown == low + unit == high + unit else f"{low}–{high}")


def times(figure: Interval | None) -> Cell:
    return number(figure, 2, "×")
