"""Figures derived from records. Each function states its definition; all sums run over the given answers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from seeahead.records import Generation, Step


def block_efficiency(generations: Iterable[Generation]) -> float:
    """τ: tokens emitted per target forward, bonus included, prefill token excluded (sum of tokens / sum of steps)."""
    steps = _steps(generations)
    return sum(len(step.emitted) for step in steps) / len(steps) if steps else math.nan


def token_rate(generations: Iterable[Generation]) -> float:
    """Emitted tokens (prefill token excluded) per second of decoding (prefill excluded)."""
    steps = _steps(generations)
    seconds = sum(step.seconds for step in steps)
    return sum(len(step.emitted) for step in steps) / seconds if seconds else math.nan


def host_share(generations: Iterable[Generation]) -> float:
    """Share of decode time spent outside the drafter's and the target's forward passes."""
    return _share(generations, "seconds_host")


def draft_share(generations: Iterable[Generation]) -> float:
    """Share of decode time spent drafting."""
    return _share(generations, "seconds_draft")


def memory_bound_speed_up(block_efficiency: float, depth: float, cost_ratio: float) -> float:
    """MBSU = τ / (1 + γ·c), with γ = drafted depth, c = drafter cost per draft step / target cost per step."""
    return block_efficiency / (1 + depth * cost_ratio)


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of positive values; NaN for none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _steps(generations: Iterable[Generation]) -> list[Step]:
    return [step for generation in generations for step in generation.steps]


def _share(generations: Iterable[Generation], name: str) -> float:
    steps = _steps(generations)
    seconds = sum(step.seconds for step in steps)
    return sum(float(getattr(step, name)) for step in steps) / seconds if seconds else math.nan
