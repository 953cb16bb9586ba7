"""What choosing and weighing takes `auto`, beside what its members take: `Clocked` answers as it does, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from seeahead.drafters.auto import AutoDrafter
from seeahead.drafters.auto_drafting import AutoDrafting
from seeahead.drafters.auto_models import AutoModels
from seeahead.drafters.base import DraftModel
from seeahead.drafters.candidates import Candidates
from seeahead.drafting import DraftContext, Drafting, Feedback, Plan
from seeahead.tree import Draft

_Value = TypeVar("_Value")
_SECONDS: Counter[str] = Counter()
"""In all that `auto` does, in what its members do, and in what of this adds to the pool."""
_inside = [""]


def weighed_seconds() -> float:
    """Of all answers of `Clocked` so far."""
    return float(_SECONDS["auto"] - _SECONDS["members"] + _SECONDS["pool"])


@contextmanager
def _clock(name: str) -> Iterator[None]:
    started, before = perf_counter(), _inside[0]
    _inside[0] = name
    try:
        yield
    finally:
        _inside[0] = before
        _SECONDS[name] += perf_counter() - started  # type: ignore[assignment]  # Counters of seconds are none of theirs


def _driven(plan: Generator[Any, Any, _Value], name: str) -> Generator[Any, Any, _Value]:
    """A plan, of which the seconds between its passes are counted."""
    answer = None
    while True:
        with _clock(name):
            try:
                asked = plan.send(answer)
            except StopIteration as stop:
                value: _Value = stop.value
                return value
        answer = yield asked


class _Pool(Candidates):
    def add(self, name: str, parent: int, proposed: Sequence[tuple[int, float]]) -> None:
        with _clock("pool" if _inside[0] == "members" else "again"):
            super().add(name, parent, proposed)

    def score(self, first: int = 0) -> None:
        with _clock("pool" if _inside[0] == "members" else "again"):
            super().score(first)


class _Models(AutoModels):
    def read(self, name: str, pool: Candidates, num_children: int) -> Plan[DraftModel | None]:
        return (yield from _driven(super().read(name, pool, num_children), "members"))

    def expand(
        self, name: str, pool: Candidates, nodes: Sequence[int], places: dict[int, int], children: int
    ) -> Plan[None]:
        return (yield from _driven(super().expand(name, pool, nodes, places, children), "members"))

    def accept(self, feedback: Feedback) -> None:
        with _clock("members"):
            super().accept(feedback)


class _Member:
    """A member that is no model."""

    def __init__(self, drafting: Drafting) -> None:
        self._drafting = drafting

    def propose(self, budget: int) -> Draft:
        with _clock("members"):
            return self._drafting.propose(budget)

    def accept(self, feedback: Feedback) -> None:
        with _clock("members"):
            self._drafting.accept(feedback)


class Clocked(AutoDrafting):
    """One request at a time."""

    models = _Models

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        super().__init__(drafter, context)
        self._draftings = {name: _Member(one) for name, one in self._draftings.items()}

    def plan(self, budget: int) -> Plan[Draft]:
        return (yield from _driven(super().plan(budget), "auto"))

    def accept(self, feedback: Feedback) -> None:
        with _clock("auto"):
            super().accept(feedback)

    def _empty(self) -> Candidates:
        return _Pool(self._calibrations, self._context.end_tokens)
