"""How sure a figure is: bootstrap intervals over questions. Knows numbers only, nothing of records.

A figure is computed from weighted sums over questions. The weights are rows: the first counts every question once and
gives the figure itself, every other row is one bootstrap draw. All methods share the rows, so ratios stay paired.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NUM_DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with the `ends` of its interval, None where a single question says nothing about the spread."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    def holds(self, value: float) -> bool:
        """Whether `value` lies between the ends."""
        return self.ends is not None and self.ends[0] <= value <= self.ends[1]


def resample(strata: Sequence[Hashable], num_draws: int = NUM_DRAWS, seed: int = 0) -> Array:
    """[1 + draws, questions]: how much each question counts.

    Of a stratum's n questions, n - 1 are drawn with replacement and count n / (n - 1) each: drawing n makes intervals
    too narrow when questions are few (McCarthy and Snowden, 1985). Strata of a single question are drawn together.
    """
    generator = np.random.default_rng(seed)
    weights = np.ones((1 + num_draws, len(strata)))
    for places in _strata(strata):
        if (num := len(places)) > 1:
            drawn = generator.integers(num, size=(num_draws, num - 1)) + num * np.arange(num_draws)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=num_draws * num).reshape(num_draws, num)
            weights[1:, places] = counts * (num / (num - 1))
    return weights


def _strata(names: Sequence[Hashable]) -> list[list[int]]:
    places: dict[Hashable, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    several = [found for found in places.values() if len(found) > 1]
    single = [found[0] for found in places.values() if len(found) == 1]
    if len(single) == 1 and several:
        several[-1] = [*several[-1], *single]
    elif single:
        several.append(single)
    return several


def interval(values: Array, num_questions: int) -> Interval | None:
    """The figure in row 0 with its percentile interval; None where the figure does not exist.

    The ends are moved where needed so that the figure lies between them.
    """
    value = float(values[0])
    if not math.isfinite(value):
        return None
    draws = values[1:][np.isfinite(values[1:])]
    if num_questions < 2 or draws.size == 0:
        return Interval(value)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def ratio(above: Array, below: Array) -> Array:
    """Elementwise; not finite where there is nothing below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / below, dtype=np.float64)


def geometric_mean(values: Sequence[Array]) -> Array:
    """Over the given arrays, element by element, of what is finite and positive; NaN where nothing is."""
    if not values:
        return np.full(1, math.nan)
    stacked = np.stack(values)
    is_known = np.isfinite(stacked) & (stacked > 0)
    logs = np.log(np.where(is_known, stacked, 1.0))
    logarithm = ratio(logs.sum(axis=0), is_known.sum(axis=0).astype(np.float64))
    return np.asarray(np.exp(logarithm), dtype=np.float64)


def mean(values: Array, weights: Array) -> Array:
    """[draws]: the weighted mean over [questions] of the finite values."""
    is_known = np.isfinite(values)
    return ratio(weights[:, is_known] @ values[is_known], weights[:, is_known].sum(axis=1))


def percentile(values: Array, weights: Array, share: float) -> Array:
    """[draws]: the smallest of the [runs] values that at least `share` of the weight does not exceed."""
    if not values.size:
        return np.full(len(weights), math.nan)
    order = np.argsort(values)
    heap = np.cumsum(weights[:, order], axis=1)
    place = np.argmax(heap >= share * heap[:, -1:] - 1e-9, axis=1)
    return np.where(heap[:, -1] > 0, values[order][place], math.nan)
