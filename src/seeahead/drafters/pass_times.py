"""What a step of the target takes on this machine: measured once, quickly, and corrected by every step."""

from __future__ import annotations

from typing import Protocol

import torch

from seeahead.drafters.costs import passes_between, prompted, time_passes
from seeahead.executor import Executor

_SIZES = (1, 2, 4, 8, 16, 32)
_SHORT_PROMPT, _PROMPT, _REPEATS = 8, 64, 2
_SLOW_SECONDS, _SLOPE = 0.2, 0.07
"""Of a single pass, from which on no others are measured: what each further token is taken to cost of it."""
_MEMORY, _SHAPE_MEMORY = 0.8, 0.95
"""Shares of what was known that stay after a step: of how slow the machine is just now, and of what sizes cost beside
one another."""


class Times(Protocol):
    """Seconds of steps of the target, all but drafting."""

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        """Of a step over so many rows of so many requests."""
        ...

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        """From a step that took `seconds`."""
        ...


class PassTimes:
    """As measured when it is made, and corrected by every step."""

    def __init__(self, executor: Executor, sizes: tuple[int, ...] = _SIZES) -> None:
        """`sizes`: rows of the passes that are measured."""
        self._measured = measured(executor, sizes)
        self._now: dict[int, float] = {}
        self._shape: dict[tuple[int, int], float] = {}

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        load = num_requests.bit_length()
        return self._expected(rows) * self._now.get(load, 1.0) * self._shape.get((load, rows.bit_length()), 1.0)

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        load, size = num_requests.bit_length(), (num_requests.bit_length(), rows.bit_length())
        ratio = seconds / self._expected(rows)
        # One step that was held up says nothing of the next.
        ratio = min(ratio, 3.0 * self._now.get(load, ratio))
        shape = self._shape.get(size, 1.0)
        self._now[load] = mixed(self._now.get(load), ratio / shape, _MEMORY)
        self._shape[size] = mixed(shape, ratio / self._now[load], _SHAPE_MEMORY)

    def _expected(self, rows: int) -> float:
        known = self._measured
        if rows <= len(known):
            return known[rows - 1]
        slope = (known[-1] - known[0]) / max(len(known) - 1, 1)
        return known[-1] + (rows - len(known)) * slope


def mixed(known: float | None, new: float, memory: float) -> float:
    return new if known is None else memory * known + (1 - memory) * new


@torch.inference_mode()
def measured(executor: Executor, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Seconds of passes over 1, 2, 3, … tokens: the best of a few each, and straight lines between.

    Of a model whose passes are slow one pass is measured, and the others are guessed from it."""
    most = executor.limits.max_rows
    session, inputs, _ = prompted(executor, range(1000), _SHORT_PROMPT, [1])
    [once] = time_passes(session, inputs, [1], 1)
    session.close()
    if once[1] > _SLOW_SECONDS:
        return tuple(once[1] * (1 + _SLOPE * further) for further in range(max(sizes)))
    session, inputs, fitting = prompted(executor, range(1000), _PROMPT, [s for s in sizes if most is None or s <= most])
    found = list(time_passes(session, inputs, fitting, _REPEATS))
    session.close()
    return passes_between({size: min(seconds[size] for seconds in found) for size in fitting})
