"""What a step of the target takes on this machine: measured once, quickly, and corrected by every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seeahead.drafters.costs import passes_between, prompted, time_passes
from seeahead.executor import Executor

MARGIN = 1.1
"""Over passes that requests share drafts have to promise so many times the tokens a second of none: what is expected of
them is less sure than what a plain step takes."""
_SIZES = (1, 2, 4, 8, 16, 32)
_SHORT_PROMPT, _PROMPT, _REPEATS = 8, 64, 2
_SLOW_SECONDS, _SLOPE = 0.2, 0.07
"""Of a single pass, from which on no others are measured: what each further token is taken to cost of it."""
_MEMORY, _SHAPE_MEMORY, _MOST_ERROR = 0.8, 0.95, 0.1
"""Shares of what was known that stay after a step: of how slow the machine is just now, and of what sizes cost beside
one another; and how far wrong of the latter a single step can say they are."""


class PassTimes:
    """Seconds of steps of the target, all but drafting: as measured when it is made, and corrected by every step."""

    def __init__(self, executor: Executor) -> None:
        self._measured = _measured(executor)
        self._now: dict[int, float] = {}
        self._shape: dict[tuple[int, int], float] = {}

    def reach(self, executor: Executor, sizes: Sequence[int]) -> None:
        """Measure larger passes as well."""
        if self._measured[0] <= _SLOW_SECONDS:
            known = {len(self._measured): self._measured[-1]}
            self._measured += passes_between(known | _timed(executor, sizes))[1:]

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        """Of a step over so many rows of so many requests."""
        load = num_requests.bit_length()
        return self._expected(rows) * self._now.get(load, 1.0) * self._factor(load, rows)

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        """From a step that took `seconds`."""
        load = num_requests.bit_length()
        ratio, factor = seconds / self._expected(rows), self._factor(load, rows)
        # One step that was held up says nothing of the next.
        ratio = min(ratio, 3.0 * self._now.get(load, ratio))
        self._now[load] = mixed(self._now.get(load), ratio / factor, _MEMORY)
        error = max(-_MOST_ERROR, min(ratio / self._now[load] / factor - 1.0, _MOST_ERROR))
        for knot, share in _knots(rows):
            known = self._shape.get((load, knot), 1.0)
            self._shape[load, knot] = known * (1.0 + (1 - _SHAPE_MEMORY) * share * error)

    def _factor(self, load: int, rows: int) -> float:
        """Between powers of two a straight line: a row more never costs much at once."""
        return sum(share * self._shape.get((load, knot), 1.0) for knot, share in _knots(rows))

    def _expected(self, rows: int) -> float:
        known = self._measured
        if rows <= len(known):
            return known[rows - 1]
        slope = (known[-1] - known[0]) / max(len(known) - 1, 1)
        return known[-1] + (rows - len(known)) * slope


def _knots(rows: int) -> tuple[tuple[int, float], tuple[int, float]]:
    """Powers of two (their exponents) on both sides of so many rows, each with its share."""
    low = rows.bit_length() - 1
    share = rows / 2**low - 1.0
    return (low, 1.0 - share), (low + 1, share)


def mixed(known: float | None, new: float, memory: float) -> float:
    return new if known is None else memory * known + (1 - memory) * new


@torch.inference_mode()
def _measured(executor: Executor) -> tuple[float, ...]:
    """Seconds of passes over 1, 2, 3, … tokens, and straight lines between. Of a model whose passes are slow one pass
    is measured, and the others are guessed from it."""
    session, inputs, _ = prompted(executor, range(1000), _SHORT_PROMPT, [1])
    [once] = time_passes(session, inputs, [1], 1)
    session.close()
    if once[1] > _SLOW_SECONDS:
        return tuple(once[1] * (1 + _SLOPE * further) for further in range(max(_SIZES)))
    return passes_between(_timed(executor, _SIZES))


@torch.inference_mode()
def _timed(executor: Executor, sizes: Sequence[int]) -> dict[int, float]:
    """Of the passes that fit, the best of a few each."""
    most = executor.limits.max_rows
    session, inputs, fitting = prompted(executor, range(1000), _PROMPT, [s for s in sizes if most is None or s <= most])
    found = list(time_passes(session, inputs, fitting, _REPEATS))
    session.close()
    return {size: min(seconds[size] for seconds in found) for size in fitting}
