"""The figures that claims are judged by, with every bootstrap row of them: so a ratio of two stays paired. No torch.

They come from the columns of a record, as those of its report do, and a test compares the two. A figure that the
answers do not give is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

import numpy as np

from benchmarks.claims.word_classes import count_words
from benchmarks.publish import MAIN
from seeahead import metrics
from seeahead.bench.answers import Answers, Mask, answers_of, bootstrap_weights
from seeahead.bench.figures import Sample
from seeahead.bench.markdown import shown
from seeahead.bench.record import PLAIN, Record, Run
from seeahead.bench.statistics import Array, Interval, geometric_mean, ratio
from seeahead.bench.words import number

Kind = Literal[
    "block_efficiency",
    "speed_up",
    "memory_bound_speed_up",
    "identical",
    "draft_seconds",
    "step_seconds",
    "function_words",
    "other_words",
    "num_parameters",
]


class StoredRun:
    """A record with what its figures are made from."""

    def __init__(self, file: str, record: Record) -> None:
        self.file, self.record = file, record
        self._answers: dict[tuple[str, float], Answers] = {}

    @cached_property
    def weights(self) -> Array:
        """[1 + draws, questions], as in the run's report."""
        return bootstrap_weights(self.record)

    @property
    def device(self) -> str:
        return str(self.record.settings.get("device", ""))

    @property
    def num_questions(self) -> int:
        return len({run.asked for run in self.record.runs if not run.error})

    @property
    def rank(self) -> tuple[int, bool, str, str]:
        """More questions before fewer; of as many the main run first, then newer runs before older."""
        return self.num_questions, self.file == f"{MAIN}.json", str(self.record.provenance.get("date", "")), self.file

    def answers(self, method: str, temperature: float) -> Answers:
        key = method, temperature
        if key not in self._answers:
            self._answers[key] = answers_of(self.record, method, temperature)
        return self._answers[key]

    def sample(self, method: str, temperature: float, chosen: Mask) -> Sample:
        """The method's answers to `chosen` questions, and the plain answers to the same."""
        own, plain = (self.answers(name, temperature) for name in (method, PLAIN))
        return Sample(self.record, own, plain, self.weights, chosen)


def by_scenario(sample: Sample) -> dict[str, Sample]:
    return {name: part for name, part in sample.groups["scenario"].items() if part.num_questions}


@dataclass(frozen=True)
class Figure:
    """How a figure is called, made and written. `of` a sample, and of the logit gap up to which an answer that leaves
    the plain one at a tie is as good as identical."""

    name: str
    of: Callable[[Sample, float], Any]
    digits: int = 2
    unit: str = ""
    scale: float = 1.0
    is_relative: bool = False  # says something only against another method
    is_count: bool = False  # counted and not estimated: it has no interval
    told: Callable[[Sample, float], str] = lambda sample, ties: ""  # goes on from the figure

    def draws(self, sample: Sample, ties: float = 0.0) -> Array:
        """Of every bootstrap row; row 0 is the figure itself."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.of(sample, ties), dtype=np.float64)

    def cell(self, figure: Interval) -> str:
        return shown(number(figure, self.digits, self.unit, self.scale))


def speed_up(sample: Sample, ties: float) -> Array:
    """Geometric mean over scenarios of the ratio of token rates."""
    return geometric_mean([metrics.speed_up(*part.sums) for part in by_scenario(sample).values()])


def memory_bound_speed_up(sample: Sample, ties: float) -> Any:
    """With γ the mean drafted depth, and c the drafter's parameters over the target's."""
    own, cost = sample.sums[0], _size(sample, sample.method) / _size(sample, "target")
    return metrics.memory_bound_speed_up(own.block_efficiency, own.depth, cost)


def _size(sample: Sample, name: str) -> float:
    return sample.record.num_parameters.get(name, math.nan)


def identical(sample: Sample, ties: float) -> list[float]:
    """Share of answers that are the plain ones, or leave them where two tokens tied."""
    plain = _plain_tokens(sample)
    gaps = {(gap.asked, gap.method, gap.repeat): gap.logit_gap for gap in sample.record.gaps}

    def sameness(run: Run) -> float:
        if plain.get((run.asked, run.repeat)) == run.token_ids:
            return 1.0
        gap = gaps.get((run.asked, run.method, run.repeat), math.nan)
        if gap is None or ties == 0:
            return 0.0
        # Not stored: it may have been a tie.
        return math.nan if math.isnan(gap) else float(abs(gap) <= ties)

    return [fmean(map(sameness, _runs(sample, sample.own)))]


def token_identical(sample: Sample, ties: float) -> str:
    """In which numbers that was, how many answers are the plain ones, and how far the others are from a tie; said where
    ties count as well."""
    plain, runs = _plain_tokens(sample), _runs(sample, sample.own)
    num = sum(plain.get((run.asked, run.repeat)) == run.token_ids for run in runs)
    if not ties:
        return ""
    gaps = [abs(gap.logit_gap) for gap in sample.gaps if gap.logit_gap is not None and sample.chosen[gap.asked]]
    largest = f", largest gap {max(gaps):g}" if gaps else ""
    return f" in {sample.record.dtype} ({num} of {len(runs)} token-identical{largest})"


def _plain_tokens(sample: Sample) -> dict[tuple[int, int], tuple[int, ...]]:
    return {(run.asked, run.repeat): run.token_ids for run in _runs(sample, sample.other)}


def _runs(sample: Sample, answers: Answers) -> list[Run]:
    return [run for run in answers.runs if sample.chosen[run.asked]]


def block_efficiency(sample: Sample, ties: float) -> Any:
    return sample.sums[0].block_efficiency


def draft_seconds(sample: Sample, ties: float) -> Any:
    own = sample.sums[0]
    return metrics.per(own.draft, own.levels)


def step_seconds(sample: Sample, ties: float) -> Any:
    own = sample.sums[0]
    return metrics.per(own.seconds, own.steps)


def function_words(sample: Sample, ties: float) -> Array:
    return _share_drafted(sample, "drafted_function", "num_function")


def other_words(sample: Sample, ties: float) -> Array:
    return _share_drafted(sample, "drafted_others", "num_others")


def _share_drafted(sample: Sample, drafted: str, of: str) -> Array:
    counts = np.zeros((len(sample.chosen), 2))
    for run in _runs(sample, sample.own):
        words = count_words(run.pieces)
        counts[run.asked] += getattr(words, drafted), getattr(words, of)
    sums = sample.weights @ counts
    return ratio(sums[:, 0], sums[:, 1])


def num_parameters(sample: Sample, ties: float) -> list[float]:
    return [_size(sample, sample.method)]


FIGURES: Mapping[Kind, Figure] = {
    "block_efficiency": Figure("τ", block_efficiency),
    "speed_up": Figure("speed-up", speed_up, unit="×"),
    "memory_bound_speed_up": Figure("memory-bound speed-up", memory_bound_speed_up, unit="×"),
    "identical": Figure("share of identical answers", identical, 1, " %", 100, is_count=True, told=token_identical),
    "draft_seconds": Figure("drafting time per drafted level", draft_seconds, 2, " ms", 1000, is_relative=True),
    "step_seconds": Figure("time per step", step_seconds, 1, " ms", 1000, is_relative=True),
    "function_words": Figure("share of function words drafted", function_words, 0, " %", 100),
    "other_words": Figure("share of other words drafted", other_words, 0, " %", 100),
    "num_parameters": Figure("drafter parameters", num_parameters, 2, " M", 1e-6, is_relative=True, is_count=True),
}
"""By the kind a rule names."""
