"""The figures that claims are judged by, from the tallies of stored results. No torch.

They are defined as in `seeahead.metrics`; a figure that the answers do not give is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.claims.evidence import Tally
from seeahead import metrics


@dataclass(frozen=True)
class Sample:
    """One method's answers, the plain answers to the same questions, and sizes by method (and "target")."""

    method: str
    mine: Sequence[Tally]
    plain: Sequence[Tally]
    num_parameters: Mapping[str, int]
    ties_up_to: float = 0.0  # logit gap at which leaving the plain answer counts as rounding


@dataclass(frozen=True)
class Figure:
    """How a figure is called, made and written."""

    words: str
    value: Callable[[Sample], float]
    form: str = ".2f"
    is_relative: bool = False  # says something only against another method


def block_efficiency(sample: Sample) -> float:
    return _over(sum(tally.num_tokens for tally in sample.mine), _num_steps(sample))


def speed_up(sample: Sample) -> float:
    """Geometric mean over scenarios of the ratio of token rates."""
    names = dict.fromkeys(tally.scenario for tally in sample.mine)
    ratios = (_over(_token_rate(sample.mine, name), _token_rate(sample.plain, name)) for name in names)
    # A scenario of one-token answers has no decoding to time.
    return metrics.geometric_mean(ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0)


def memory_bound_speed_up(sample: Sample) -> float:
    """With γ the mean drafted depth, and c the drafter's parameters over the target's."""
    depth = _over(sum(tally.num_levels for tally in sample.mine), _num_steps(sample))
    cost = _over(_size(sample, sample.method), _size(sample, "target"))
    return metrics.memory_bound_speed_up(block_efficiency(sample), depth, cost)


def identical(sample: Sample) -> float:
    """Share of answers that are the plain ones, or leave them where two tokens tied."""

    def sameness(tally: Tally) -> float:
        if tally.is_identical or tally.logit_gap is None or sample.ties_up_to == 0:
            return float(tally.is_identical)
        # Not stored: it may have been a tie.
        return math.nan if math.isnan(tally.logit_gap) else float(abs(tally.logit_gap) <= sample.ties_up_to)

    return _over(sum(map(sameness, sample.mine)), len(sample.mine))


def draft_seconds(sample: Sample) -> float:
    levels = sum(tally.num_levels for tally in sample.mine)
    return _over(sum(tally.seconds_draft for tally in sample.mine), levels)


def step_seconds(sample: Sample) -> float:
    return _over(sum(tally.seconds for tally in sample.mine), _num_steps(sample))


def function_words(sample: Sample) -> float:
    words = [tally.words for tally in sample.mine]
    return _over(sum(count.drafted_function for count in words), sum(count.num_function for count in words))


def other_words(sample: Sample) -> float:
    words = [tally.words for tally in sample.mine]
    return _over(sum(count.drafted_others for count in words), sum(count.num_others for count in words))


def num_parameters(sample: Sample) -> float:
    return _size(sample, sample.method)


FIGURES: dict[str, Figure] = {
    "block_efficiency": Figure("τ", block_efficiency),
    "speed_up": Figure("speed-up", speed_up),
    "memory_bound_speed_up": Figure("memory-bound speed-up", memory_bound_speed_up),
    "identical": Figure("share of identical answers", identical, ".1%"),
    "draft_seconds": Figure("drafting seconds per drafted level", draft_seconds, ".2g", True),
    "step_seconds": Figure("seconds per step", step_seconds, ".2g", True),
    "function_words": Figure("share of function words drafted", function_words),
    "other_words": Figure("share of other words drafted", other_words),
    "num_parameters": Figure("drafter parameters", num_parameters, ",.0f", True),
}
"""By the kind a rule names."""


def _num_steps(sample: Sample) -> int:
    return sum(tally.num_steps for tally in sample.mine)


def _size(sample: Sample, name: str) -> float:
    return sample.num_parameters.get(name, math.nan)


def _token_rate(tallies: Sequence[Tally], scenario: str) -> float:
    part = [tally for tally in tallies if tally.scenario == scenario]
    return _over(sum(tally.num_tokens for tally in part), sum(tally.seconds for tally in part))


def _over(amount: float, whole: float) -> float:
    return amount / whole if whole else math.nan
