"""What the drafts of a method were like, and what they would be worth if drafting, host or checking were free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seeahead.bench.columns import Answers, Mask, by_depth
from seeahead.bench.record import Record
from seeahead.bench.statistics import Array, Interval, interval, ratio


@dataclass(frozen=True)
class Drafts:
    """Figures of a method whose steps are known; the symbols are those of `definitions`."""

    block_efficiency: Interval | None  # τ
    accepted_per_round: Interval | None  # τ - 1
    acceptance_by_depth: tuple[Interval | None, ...]
    depth: Interval | None  # γ
    num_drafted: Interval | None  # nodes per step
    host_share: Interval | None
    draft_share: Interval | None
    parameter_cost: float  # c
    measured_cost: Interval | None  # c
    memory_bound_by_parameters: Interval | None
    memory_bound_by_measure: Interval | None
    ceiling: Interval | None  # drafting and host free
    ceiling_if_checking_is_free: Interval | None  # τ


def drafts_of(record: Record, own: Answers, plain: Answers, weights: Array, both: Mask) -> Drafts:
    mine, base = own.sums(weights, both), plain.sums(weights, both)
    num = int(both.sum())
    efficiency, depth = ratio(mine["emitted"], mine["steps"]), ratio(mine["levels"], mine["steps"])
    plain_step = ratio(base["seconds"], base["steps"])
    draft_per_step = ratio(ratio(mine["draft"], mine["steps"]), plain_step)  # γ·c as measured
    parameters = record.num_parameters.get(own.method, 0) / max(1, record.num_parameters.get("target", 1))
    host = mine["seconds"] - mine["draft"] - mine["target"]
    reached, accepted = by_depth(own, len(record.asked))
    shares = ratio(weights @ np.where(both[:, None], accepted, 0.0), weights @ np.where(both[:, None], reached, 0.0))
    return Drafts(
        block_efficiency=interval(efficiency, num),
        accepted_per_round=interval(efficiency - 1, num),
        acceptance_by_depth=tuple(
            interval(share, int((both & (count > 0)).sum())) for share, count in zip(shares.T, reached.T, strict=True)
        ),
        depth=interval(depth, num),
        num_drafted=interval(ratio(mine["drafted"], mine["steps"]), num),
        host_share=interval(ratio(host, mine["seconds"]), num),
        draft_share=interval(ratio(mine["draft"], mine["seconds"]), num),
        parameter_cost=parameters,
        measured_cost=interval(ratio(ratio(mine["draft"], mine["levels"]), plain_step), num),
        memory_bound_by_parameters=interval(ratio(efficiency, 1 + depth * parameters), num),
        memory_bound_by_measure=interval(ratio(efficiency, 1 + draft_per_step), num),
        ceiling=interval(ratio(mine["emitted"], mine["passes"]), num),
        ceiling_if_checking_is_free=interval(efficiency, num),
    )
