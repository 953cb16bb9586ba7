"""A method's answers at one temperature as columns of numbers, and how questions are drawn and grouped. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from seeahead.bench.record import Asked, Record, Run
from seeahead.bench.statistics import Array, resample
from seeahead.metrics import Totals

Mask = npt.NDArray[np.bool_]
QUANTITIES = tuple(entry.name for entry in fields(Totals))

LENGTHS = {"up to 16": (0, 16), "17 to 64": (16, 64), "65 to 256": (64, 256), "over 256": (256, np.inf)}
"""Groups of questions by the number of tokens of the plain answer (averaged over repeats): above, up to."""

KINDS: Mapping[str, Callable[[Asked], bool]] = {
    "one image": lambda asked: len(asked.pictures) == 1 and not asked.earlier,
    "two images": lambda asked: len(asked.pictures) == 2 and not asked.earlier,
    "more images": lambda asked: len(asked.pictures) > 2 and not asked.earlier,
    "later turn": lambda asked: bool(asked.pictures and asked.earlier),
    "no image": lambda asked: not asked.pictures,
}
"""Groups of questions by what the target sees, and whether it follows another question."""


@dataclass(frozen=True)
class Answers:
    """One method at one temperature. A question's repeats are averaged, so that each question counts once."""

    method: str
    temperature: float
    runs: tuple[Run, ...]  # those that succeeded
    errors: tuple[str, ...]  # of those that did not
    means: Array  # [questions, QUANTITIES], zero where nothing was answered
    is_answered: Mask

    @property
    def has_steps(self) -> bool:
        return bool(self.runs) and all(run.generation is not None for run in self.runs)

    @property
    def each(self) -> Totals:
        """Arrays over [questions]."""
        return Totals(*self.means.T)

    def totals(self, weights: Array, chosen: Mask) -> Totals:
        """The weighted sums over the chosen questions, one per bootstrap row."""
        return Totals(*(weights[:, chosen] @ self.means[chosen]).T)

    @property
    def seconds_split(self) -> dict[str, float]:
        """Mean seconds of a whole answer, by what they went into."""
        if not self.runs:
            return {}
        mean = Totals(*(float(column.mean()) for column in self.means[self.is_answered].T))
        if not self.has_steps:
            return {"prefill": mean.first, "not split": max(0.0, mean.total - mean.first)}
        draft = mean.start + mean.draft
        host = max(0.0, mean.total - mean.prefill - draft - mean.target)
        return {"prefill": mean.prefill, "draft": draft, "target": mean.target, "host": host}


def answers_of(record: Record, method: str, temperature: float) -> Answers:
    asked = [run for run in record.runs if run.method == method and run.temperature == temperature]
    runs = tuple(run for run in asked if not run.error)
    sums, counts = np.zeros((len(record.asked), len(QUANTITIES))), np.zeros(len(record.asked))
    cost = cache(record.costs.ratio)
    for run in runs:
        steps = run.generation.steps if run.generation is not None else ()
        totals = replace(run.totals, passes=sum(cost(1 + step.num_drafted) for step in steps))
        sums[run.asked] += [getattr(totals, name) for name in QUANTITIES]
        counts[run.asked] += 1
    errors = tuple(run.error for run in asked if run.error)
    return Answers(method, temperature, runs, errors, sums / np.maximum(counts, 1)[:, None], counts > 0)


def bootstrap_weights(record: Record) -> Array:
    """[1 + draws, questions]: clusters are drawn, each in the place of one with as many conversations of the same
    scenarios, so that scenarios keep their weight."""
    clusters = np.array(record.clusters, dtype=np.intp)
    opened: list[list[str]] = [[] for _ in set(record.clusters)]
    for cluster, entry in zip(record.clusters, record.asked, strict=True):
        if not entry.earlier:
            opened[cluster].append(entry.scenario)
    drawn = resample([tuple(sorted(names)) for names in opened], seed=int(record.settings.get("seed") or 0))
    return np.asarray(drawn[:, clusters], dtype=np.float64)


def num_drawn(record: Record, chosen: Mask) -> int:
    """How many clusters the `chosen` questions are of, which are what intervals draw from."""
    return len(np.unique(np.array(record.clusters, dtype=np.intp)[chosen]))
