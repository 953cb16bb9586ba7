"""What a growth record says, as tables and charts. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seeahead.bench import charts
from seeahead.bench.growth import BATCHED, PASSED, READ
from seeahead.bench.markdown import shown, table
from seeahead.bench.statistics import Interval, interval, percentile, resample
from seeahead.bench.words import number

Found = Mapping[str, Any]
Seconds = Sequence[float]
_Figures = Callable[[Found, str], Mapping[int, Interval]]
_COLOURS = tuple(f"var(--s{place})" for place in range(1, 8))
TITLE = "How passes grow with context, tree and batch"


def median(values: Seconds) -> Interval:
    """With the 95 % bootstrap interval over rounds."""
    weights = resample([0] * len(values))
    found = interval(percentile(np.array(values), weights, 0.5), len(values))
    assert found is not None
    return found


def rate(num_tokens: int, seconds: Seconds) -> Interval:
    """Tokens per second of passes that yield so many."""
    return median([num_tokens / taken for taken in seconds])


def costs(found: Found, arm: str, context: int) -> dict[int, Interval]:
    """V(k) by k, from ratios within a round."""
    rows = {row["size"]: row["seconds"] for row in _rows(found, PASSED, arm) if row["context"] == context}
    return {size: median([k / one for k, one in zip(rows[size], rows[1], strict=True)]) for size in sorted(rows)}


def tables(found: Found) -> str:
    return "\n\n".join(_tables(found))


def _tables(found: Found) -> Iterator[str]:
    settings = found["settings"]
    contexts, arms = settings["contexts"], settings["arms"]
    heads = [f"{context:,}" for context in contexts]
    read = [[arm, *_cells(_first_tokens(found, arm), contexts, 2, " s")] for arm in arms]
    yield table("Time to the first token, by tokens of the prompt", ["executor", *heads], read)
    plain = [[arm, *_cells(_plain_rates(found, arm), contexts, 1)] for arm in arms]
    yield table("Plain tokens per second, by context", ["executor", *heads], plain)
    for arm in arms:
        known = {context: costs(found, arm, context) for context in contexts}
        sizes = list(known[contexts[0]])
        rows = [[f"{context:,}", *_cells(known[context], sizes, 2)] for context in contexts]
        yield table(f"V(k) of {arm}, by context", ["context", *(f"k = {size}" for size in sizes)], rows)
    nums = sorted({row["num"] for row in found[BATCHED]})
    rates = [[arm, *_cells(_batch_rates(found, arm), nums, 1)] for arm in arms]
    context = found[BATCHED][0]["context"]
    title = f"Plain tokens per second of requests that share passes, at {context:,} tokens each"
    yield table(title, ["executor", *(f"{num} at once" for num in nums)], rates)


def image(found: Found) -> str:
    """All charts as one SVG file."""
    settings = found["settings"]
    arms = settings["arms"]
    drawn = [
        ("Seconds to the first token", _chart("a", found, _first_tokens, "tokens of the prompt", are_times=True)),
        ("Plain tokens per second", _chart("b", found, _plain_rates, "tokens before")),
        ("Plain tokens per second, several at once", _chart("c", found, _batch_rates, "requests")),
    ]
    known = {arm: {context: costs(found, arm, context) for context in settings["contexts"]} for arm in arms}
    highest = max(
        cost.high or cost.value for by_context in known.values() for one in by_context.values() for cost in one.values()
    )
    for place, (arm, by_context) in enumerate(known.items()):
        series = [
            _line(f"{context:,} before", colour, one) for (context, one), colour in zip(by_context.items(), _COLOURS)
        ]
        chart = charts.doublings(f"v{place}", f"V(k) of {arm}", series, "k, tokens of a pass", highest=highest)
        drawn.append((f"V(k), {arm}", chart))
    return charts.grid(TITLE, drawn)


def _chart(ident: str, found: Found, figures: _Figures, name: str, *, are_times: bool = False) -> str:
    series = [_line(arm, colour, figures(found, arm)) for arm, colour in zip(found["settings"]["arms"], _COLOURS)]
    title = "Seconds to the first token" if are_times else "Tokens per second"
    return charts.doublings(ident, title, series, name, are_times=are_times)


def _line(label: str, colour: str, known: Mapping[int, Interval]) -> charts.Line:
    points = tuple((float(place), figure.value) for place, figure in known.items())
    return charts.Line(label, colour, points, tuple([figure.ends] if figure.ends else [] for figure in known.values()))


def _first_tokens(found: Found, arm: str) -> dict[int, Interval]:
    return {row["context"]: median(row["seconds"]) for row in _rows(found, READ, arm)}


def _plain_rates(found: Found, arm: str) -> dict[int, Interval]:
    return {row["context"]: rate(1, row["seconds"]) for row in _rows(found, PASSED, arm) if row["size"] == 1}


def _batch_rates(found: Found, arm: str) -> dict[int, Interval]:
    return {row["num"]: rate(row["num"], row["seconds"]) for row in _rows(found, BATCHED, arm)}


def _rows(found: Found, what: str, arm: str) -> list[Mapping[str, Any]]:
    return [row for row in found[what] if row["arm"] == arm]


def _cells(known: Mapping[int, Interval], places: Sequence[int], digits: int, unit: str = "") -> list[str]:
    return [shown(number(known.get(place), digits, unit)) for place in places]
