"""What a step of the target takes on this machine: measured once, quickly, and corrected by every step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count, islice

import torch

from seeahead.drafters.costs import apart, passes_between, prompted, settled_seconds, time_passes
from seeahead.executor import Executor, Widths

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
        self._change = _change_seconds(executor, self._measured[0])
        self._limits, self._widths = executor.limits, Widths(executor.limits)
        self._now: dict[int, float] = {}
        self._shape: dict[tuple[int, int], float] = {}
        self._said: dict[tuple[int, int, bool], float] = {}
        """Since the last step: they are asked for many times in each."""

    def reach(self, executor: Executor, sizes: Sequence[int]) -> None:
        """Measure larger passes as well."""
        if self._measured[0] <= _SLOW_SECONDS:
            known = {len(self._measured): self._measured[-1]}
            self._measured += passes_between(known | _timed(executor, sizes), executor)[1:]
            self._said.clear()

    def begin(self) -> None:
        """A prompt was read, so the next step is of another size than the pass before it."""
        self._widths.forget()

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        """Of a step over so many rows of so many requests, after those that were learned from."""
        load, width = num_requests.bit_length(), self._limits.filled(rows)
        return self._seconds(load, width, changes=self._widths.changes(width))

    def plain(self) -> float:
        """Seconds of a step over one row after one like it: how fast the machine is just now."""
        return self._seconds(1, 1, changes=False)

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        """From a step that took `seconds`."""
        load, (width, changes) = num_requests.bit_length(), self._widths.width(rows)
        ratio = seconds / self._expected(load, width, changes=changes)
        # One step that was held up says nothing of the next.
        ratio = min(ratio, 3.0 * self._now.get(load, ratio))
        self._now[load] = mixed(self._now.get(load), ratio, _MEMORY)
        error = max(-_MOST_ERROR, min(ratio / self._now[load] - 1.0, _MOST_ERROR))
        for knot, share in _knots(width):
            known = self._shape.get((load, knot), 1.0)
            self._shape[load, knot] = known * (1.0 + (1 - _SHAPE_MEMORY) * share * error)
        self._said.clear()

    def _seconds(self, load: int, width: int, *, changes: bool) -> float:
        key = load, width, changes
        if key not in self._said:
            self._said[key] = self._expected(load, width, changes=changes) * self._now.get(load, 1.0)
        return self._said[key]

    def _expected(self, load: int, width: int, *, changes: bool) -> float:
        """Of a pass as wide as that, and of the change to it, where a machine is as fast as it was at first."""
        return self._of_width(width) * self._factor(load, width) + changes * self._change

    def _factor(self, load: int, rows: int) -> float:
        """Between powers of two a straight line: a row more never costs much at once."""
        return sum(share * self._shape.get((load, knot), 1.0) for knot, share in _knots(rows))

    def _of_width(self, rows: int) -> float:
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
    return passes_between(_timed(executor, _SIZES), executor)


@torch.inference_mode()
def _change_seconds(executor: Executor, single: float) -> float:
    """What a pass takes longer after one of another size, where executors fill passes up; beside slow ones nothing.
    `single`: seconds of one over one token."""
    step, fixed = executor.limits.row_step, executor.limits.fixed_rows
    if step == 1 or single > _SLOW_SECONDS:
        return 0.0
    others = (size for size in chain((1,), count(step, step)) if size > max(fixed, default=0))
    session, inputs, sizes = prompted(executor, range(1000), _SHORT_PROMPT, list(islice(others, 2)))
    tokens = inputs.token_ids[0].tolist() * max(sizes, default=0)
    found = [settled_seconds(session, tokens[:size]) for _ in range(_REPEATS) for size in sizes]
    session.close()
    return max(0.0, min((first - settled for first, settled in found), default=0.0))


@torch.inference_mode()
def _timed(executor: Executor, sizes: Sequence[int]) -> dict[int, float]:
    """Of the passes that fit, the best of a few each."""
    most = executor.limits.max_rows
    sizes = apart(executor, [size for size in sizes if most is None or size <= most])
    session, inputs, fitting = prompted(executor, range(1000), _PROMPT, sizes)
    found = list(time_passes(session, inputs, fitting, _REPEATS))
    session.close()
    return {size: min(seconds[size] for seconds in found) for size in fitting}
