"""The step under way: what `auto` knows of its requests together, and what drafting takes each of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from seeahead.drafting import Ask, Plan

_Result = TypeVar("_Result")


@dataclass
class _Pass:
    """One that several plans wait for: how many, and how long it took once the first of them goes on."""

    num_asking: int = 0
    seconds: float | None = None


class AutoStep(threading.local):
    """In each thread its own: another may run a step of other requests meanwhile."""

    def __init__(self) -> None:
        self.begin(1)

    def begin(self, num_requests: int) -> None:
        """A step of so many requests, whoever drafts for them."""
        self.num_requests = num_requests
        self.rates: list[float] = []
        """Tokens a second of its answers, as far as they go just now."""
        self.asked = Counter[tuple[str, int]]()
        """By model and level (0: after the root), how many requests have asked it so far."""
        self.shares: npt.NDArray[np.float64] | None = None
        """A request's share of the seconds of a step, by how many nodes all of its requests have."""
        self.left = 0.0
        """When the last plan began to wait."""
        self.waiting: dict[object, _Pass] = {}
        """Passes that more plans may still ask for, by what is asked of whom."""
        self.base, self.each, self.kept = 0.0, 0.0, dict[int, int]()
        """Of several requests: one's share of the seconds of the step without drafts, what a node of the step takes
        beyond it, and how many nodes were kept of a draft, by its identity."""


class DraftClock:
    """What drafting takes one answer: the seconds in which its own plan runs, and its share of the passes."""

    def __init__(self, step: AutoStep) -> None:
        self._step = step
        self._before, self._began = 0.0, perf_counter()
        self.num_asking = 1
        """Requests that shared the last pass."""

    def seconds(self) -> float:
        """So far; while its plan runs."""
        return self._before + perf_counter() - self._began

    def driven(self, plan: Plan[_Result]) -> Plan[_Result]:
        """The plan, whose seconds are counted apart from those of the plans that run before it goes on."""
        step = self._step
        advance: Callable[[Any], Ask] = plan.send
        given: list[Any] = [None]  # no frame keeps an error that has been thrown
        while True:
            self._began = perf_counter()
            try:
                asked = advance(given.pop())
            except StopIteration as end:
                value: _Result = end.value
                return value
            finally:
                step.left = perf_counter()
                self._before += step.left - self._began
            key = id(asked.executor), asked.want
            shared = step.waiting.setdefault(key, _Pass())
            shared.num_asking += 1
            try:
                given.append((yield asked))
                advance = plan.send
            except Exception as error:  # noqa: BLE001  (the plan is told)
                given.append(error)
                advance = plan.throw
            if shared.seconds is None:
                shared.seconds = perf_counter() - step.left
                if step.waiting.get(key) is shared:  # passes of this round are fixed: who asks now waits for the next
                    step.waiting.clear()
            self.num_asking = shared.num_asking
            self._before += shared.seconds / shared.num_asking
