"""A record as columns: what each question took, by method and temperature. From these every figure is summed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seeahead.bench.record import Costs, Record, Run
from seeahead.bench.statistics import Array, ratio
from seeahead.records import Step

Mask = npt.NDArray[np.bool_]
Sums = Mapping[str, Array]
"""By quantity the weighted sums over some questions, one per bootstrap row."""

QUANTITIES = (
    "tokens",  # after the first
    "seconds",  # of decoding
    "all_tokens",
    "total",  # seconds from the call to the last token
    "first",  # seconds from the call to the first token
    "steps",
    "emitted",
    "levels",
    "drafted",
    "draft",  # seconds of drafting, in steps
    "target",  # seconds of the target's passes, in steps
    "prefill",
    "start",  # seconds of the drafter's start
    "passes",  # every step's pass in units of a pass over one token: V(1 + drafted)
)


@dataclass(frozen=True)
class Answers:
    """One method at one temperature. A question's repeats are averaged, so that each question counts once."""

    method: str
    runs: tuple[Run, ...]  # those that succeeded
    errors: tuple[str, ...]  # of those that did not
    means: Array  # [questions, QUANTITIES], zero where nothing was answered
    is_answered: Mask

    @property
    def has_steps(self) -> bool:
        return bool(self.runs) and all(run.generation is not None for run in self.runs)

    def column(self, name: str) -> Array:
        return np.asarray(self.means[:, QUANTITIES.index(name)], dtype=np.float64)

    def sums(self, weights: Array, chosen: Mask) -> Sums:
        summed = weights[:, chosen] @ self.means[chosen]
        return dict(zip(QUANTITIES, summed.T, strict=True))

    def rates(self) -> Array:
        """[questions]: tokens per second of decoding."""
        return ratio(self.column("tokens"), self.column("seconds"))


def answers_of(record: Record, method: str, temperature: float) -> Answers:
    asked = [run for run in record.runs if run.method == method and run.temperature == temperature]
    runs = tuple(run for run in asked if not run.error)
    sums = np.zeros((len(record.asked), len(QUANTITIES)))
    counts = np.zeros(len(record.asked))
    for run in runs:
        sums[run.asked] += _quantities(run, record.costs)
        counts[run.asked] += 1
    errors = tuple(run.error for run in asked if run.error)
    return Answers(method, runs, errors, sums / np.maximum(counts, 1)[:, None], counts > 0)


def _quantities(run: Run, costs: Costs) -> list[float]:
    generation = run.generation
    steps: tuple[Step, ...] = generation.steps if generation is not None else ()
    return [
        run.num_decoded,
        run.seconds_decode,
        len(run.token_ids),
        run.seconds_total,
        run.seconds_first,
        len(steps),
        sum(len(step.emitted) for step in steps),
        sum(step.depth for step in steps),
        sum(step.num_drafted for step in steps),
        sum(step.seconds_draft for step in steps),
        sum(step.seconds_target for step in steps),
        generation.seconds_prefill if generation is not None else 0.0,
        generation.seconds_drafter_start if generation is not None else 0.0,
        float(cost_ratios(costs, [1 + step.num_drafted for step in steps]).sum()),
    ]


def cost_ratios(costs: Costs, num_tokens: Sequence[float]) -> Array:
    """V(k) for many k at once, as `Costs.ratio`; NaN when nothing was measured."""
    known = sorted(costs.seconds)
    if not known:
        return np.full(len(num_tokens), math.nan)
    seconds = [costs.seconds[k] for k in known]
    return np.asarray(np.interp(num_tokens, known, seconds) / seconds[0], dtype=np.float64)


def by_depth(answers: Answers, num_questions: int) -> tuple[Array, Array]:
    """([questions, depths] steps whose draft reached the depth, [questions, depths] steps that accepted as many)."""
    steps = [(run.asked, step) for run in answers.runs if run.generation is not None for step in run.generation.steps]
    deepest = max((step.depth for _, step in steps), default=0)
    reached, accepted = np.zeros((num_questions, deepest)), np.zeros((num_questions, deepest))
    for question, step in steps:
        reached[question, : step.depth] += 1
        accepted[question, : min(step.num_accepted, step.depth)] += 1
    return reached, accepted
