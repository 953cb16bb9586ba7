"""The step under way: what `auto` knows of its requests together, and what drafting takes each of them."""

from __future__ import annotations

import threading
from collections import Counter
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from seeahead.drafting import Plan

_Result = TypeVar("_Result")


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
        self.ran = 0.0
        """Seconds in which plans themselves ran, not the passes that they wait for."""
        self.waiting: dict[object, list[int]] = {}
        """By pass that is waited for: how many plans wait for it, in a list of one."""
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
        advance, given = plan.send, None
        while True:
            self._began = perf_counter()
            try:
                asked = advance(given)  # type: ignore[arg-type]  # a plan begins with None
            except StopIteration as end:
                value: _Result = end.value
                return value
            finally:
                ran = perf_counter() - self._began
                self._before += ran
                self._step.ran += ran
            key = id(asked.executor), asked.want
            together = self._step.waiting.setdefault(key, [0])
            together[0] += 1
            started, others = perf_counter(), self._step.ran
            try:
                advance, given = plan.send, (yield asked)
            except Exception as error:  # noqa: BLE001  (the plan is told)
                advance, given = plan.throw, error  # type: ignore[assignment]
            if self._step.waiting.get(key) is together:  # who asks from now on waits for the next pass
                del self._step.waiting[key]
            self.num_asking = together[0]
            self._before += (perf_counter() - started - (self._step.ran - others)) / self.num_asking
