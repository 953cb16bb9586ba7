"""Figures derived from records: the one place where τ, token rate, speed-up and MBSU are defined.

Every figure is made of `Totals`, sums over answers, which are numbers or arrays of numbers (one per bootstrap draw).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from seeahead.records import Generation


@dataclass(frozen=True)
class Totals:
    """Counts and seconds of some answers, added up."""

    tokens: Any = 0  # after the first, which comes with the prompt
    seconds: Any = 0.0  # of decoding
    all_tokens: Any = 0
    total: Any = 0.0  # seconds from the call to the last token
    first: Any = 0.0  # seconds from the call to the first token
    steps: Any = 0
    levels: Any = 0  # drafted depths
    drafted: Any = 0  # drafted nodes
    draft: Any = 0.0  # seconds of drafting, in steps
    target: Any = 0.0  # seconds of the target's passes, in steps
    prefill: Any = 0.0
    start: Any = 0.0  # seconds of the drafter's start
    passes: Any = 0.0  # every step's pass in units of a pass over one token: V(1 + drafted)

    @classmethod
    def of(cls, answer: Generation) -> Totals:
        """What an answer says of itself; `total`, `first` and `passes` are not among it."""
        steps = answer.steps
        return cls(
            tokens=len(answer.token_ids) - 1,
            seconds=sum(step.seconds for step in steps),
            all_tokens=len(answer.token_ids),
            steps=len(steps),
            levels=sum(step.depth for step in steps),
            drafted=sum(step.num_drafted for step in steps),
            draft=sum(step.seconds_draft for step in steps),
            target=sum(step.seconds_target for step in steps),
            prefill=answer.seconds_prefill,
            start=answer.seconds_drafter_start,
        )

    @property
    def block_efficiency(self) -> Any:
        """τ: tokens emitted per target forward, bonus included, prefill token excluded."""
        return per(self.tokens, self.steps)

    @property
    def token_rate(self) -> Any:
        """Emitted tokens (prefill token excluded) per second of decoding (prefill excluded)."""
        return per(self.tokens, self.seconds)

    @property
    def depth(self) -> Any:
        """γ: drafted levels per step."""
        return per(self.levels, self.steps)

    @property
    def draft_share(self) -> Any:
        return per(self.draft, self.seconds)

    @property
    def host_share(self) -> Any:
        """Share of decode time spent outside the drafter's and the target's forward passes."""
        return per(self.seconds - self.draft - self.target, self.seconds)


def per(amount: Any, whole: Any) -> Any:
    """`amount / whole`; NaN where a number has nothing to be divided by."""
    try:
        return amount / whole
    except ZeroDivisionError:
        return math.nan


def speed_up(own: Totals, plain: Totals) -> Any:
    """Token rate over the plain token rate."""
    return per(own.token_rate, plain.token_rate)


def end_to_end(own: Totals, plain: Totals) -> Any:
    """The same of whole answers: all tokens over the seconds from the call to the last of them."""
    return per(per(own.all_tokens, own.total), per(plain.all_tokens, plain.total))


def memory_bound_speed_up(block_efficiency: Any, depth: Any, cost_ratio: Any) -> Any:
    """MBSU = τ / (1 + γ·c), with γ = drafted depth, c = drafter cost per draft step / target cost per step."""
    return block_efficiency / (1 + depth * cost_ratio)
