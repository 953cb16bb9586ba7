"""The figures that claims are judged by, with every bootstrap row of them: so a ratio of two stays paired. No torch.

They come from the columns of a record, as those of its report do, and a test compares the two. A figure that the
answers do not give is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Literal

import numpy as np

from benchmarks.claims.word_classes import count_words
from seeahead.bench.answers import Answers, Mask, answers_of, bootstrap_weights, num_drawn
from seeahead.bench.markdown import shown
from seeahead.bench.record import PLAIN, Record, Run
from seeahead.bench.statistics import Array, Interval, geometric_mean, ratio
from seeahead.bench.words import number
from seeahead.metrics import Totals

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
    def rank(self) -> tuple[int, str, str]:
        """More questions before fewer, newer runs before older."""
        return self.num_questions, str(self.record.provenance.get("date", "")), self.file

    def answers(self, method: str, temperature: float) -> Answers:
        key = method, temperature
        if key not in self._answers:
            self._answers[key] = answers_of(self.record, method, temperature)
        return self._answers[key]


@dataclass(frozen=True)
class Sample:
    """One method's answers to `chosen` questions, and the plain answers to the same."""

    run: StoredRun
    method: str
    temperature: float
    chosen: Mask
    ties_up_to: float = 0.0

    @property
    def num_drawn(self) -> int:
        return num_drawn(self.run.record, self.chosen)

    @property
    def own(self) -> Totals:
        return self._sums(self.method)

    @property
    def plain(self) -> Totals:
        return self._sums(PLAIN)

    def answers(self, method: str) -> list[Run]:
        return [run for run in self.run.answers(method, self.temperature).runs if self.chosen[run.asked]]

    def by_scenario(self) -> dict[str, Sample]:
        names = np.array([asked.scenario for asked in self.run.record.asked], dtype=object)
        masks = {name: self.chosen & (names == name) for name in dict.fromkeys(names.tolist())}
        return {name: replace(self, chosen=mask) for name, mask in masks.items() if mask.any()}

    def size(self, name: str) -> float:
        return self.run.record.num_parameters.get(name, math.nan)

    def _sums(self, method: str) -> Totals:
        return self.run.answers(method, self.temperature).totals(self.run.weights, self.chosen)


@dataclass(frozen=True)
class Figure:
    """How a figure is called, made and written."""

    name: str
    draws: Callable[[Sample], Array]  # row 0 is the figure itself
    digits: int = 2
    unit: str = ""
    scale: float = 1.0
    is_relative: bool = False  # says something only against another method
    is_count: bool = False  # counted and not estimated: it has no interval
    told: Callable[[Sample], str] = lambda sample: ""  # goes on from the figure

    def cell(self, figure: Interval) -> str:
        return shown(number(figure, self.digits, self.unit, self.scale))


def block_efficiency(sample: Sample) -> Array:
    own = sample.own
    return ratio(own.tokens, own.steps)


def speed_up(sample: Sample) -> Array:
    """Geometric mean over scenarios of the ratio of token rates."""
    parts = [(part.own, part.plain) for part in sample.by_scenario().values()]
    return geometric_mean([ratio(_token_rate(own), _token_rate(plain)) for own, plain in parts])


def memory_bound_speed_up(sample: Sample) -> Array:
    """With γ the mean drafted depth, and c the drafter's parameters over the target's."""
    own, cost = sample.own, sample.size(sample.method) / sample.size("target")
    return ratio(block_efficiency(sample), 1 + ratio(own.levels, own.steps) * cost)


def identical(sample: Sample) -> Array:
    """Share of answers that are the plain ones, or leave them where two tokens tied."""
    plain = _plain_tokens(sample)
    gaps = {(gap.asked, gap.method, gap.repeat): gap.logit_gap for gap in sample.run.record.gaps}

    def sameness(run: Run) -> float:
        if plain.get((run.asked, run.repeat)) == run.token_ids:
            return 1.0
        gap = gaps.get((run.asked, run.method, run.repeat), math.nan)
        if gap is None or sample.ties_up_to == 0:
            return 0.0
        # Not stored: it may have been a tie.
        return math.nan if math.isnan(gap) else float(abs(gap) <= sample.ties_up_to)

    return np.array([fmean(map(sameness, sample.answers(sample.method)))])


def token_identical(sample: Sample) -> str:
    """How many answers are the plain ones, where ties count as well."""
    plain, runs = _plain_tokens(sample), sample.answers(sample.method)
    num = sum(plain.get((run.asked, run.repeat)) == run.token_ids for run in runs)
    return f" ({num} of {len(runs)} token-identical)" if sample.ties_up_to else ""


def _plain_tokens(sample: Sample) -> dict[tuple[int, int], tuple[int, ...]]:
    return {(run.asked, run.repeat): run.token_ids for run in sample.answers(PLAIN)}


def draft_seconds(sample: Sample) -> Array:
    own = sample.own
    return ratio(own.draft, own.levels)


def step_seconds(sample: Sample) -> Array:
    own = sample.own
    return ratio(own.seconds, own.steps)


def function_words(sample: Sample) -> Array:
    return _share_drafted(sample, "drafted_function", "num_function")


def other_words(sample: Sample) -> Array:
    return _share_drafted(sample, "drafted_others", "num_others")


def num_parameters(sample: Sample) -> Array:
    return np.array([sample.size(sample.method)])


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


def _token_rate(sums: Totals) -> Array:
    return ratio(sums.tokens, sums.seconds)


def _share_drafted(sample: Sample, drafted: str, of: str) -> Array:
    counts = np.zeros((len(sample.chosen), 2))
    for run in sample.answers(sample.method):
        words = count_words(run.pieces)
        counts[run.asked] += getattr(words, drafted), getattr(words, of)
    sums = sample.run.weights @ counts
    return ratio(sums[:, 0], sums[:, 1])
