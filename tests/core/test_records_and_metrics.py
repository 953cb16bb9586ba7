"""Records survive JSON; figures follow their definitions."""

import json
import math

import pytest

from seeahead import metrics
from seeahead.records import Generation, Step


def _step(emitted: int, depth: int, accepted: int, seconds: float = 1.0) -> Step:
    origins = ("drafted",) * (emitted - 1) + ("target",)
    return Step(tuple(range(emitted)), origins, depth, depth, accepted, 0.2 * seconds, 0.7 * seconds, seconds)


ANSWER = Generation(12, 5, (_step(3, 4, 2), _step(1, 4, 0), _step(2, 1, 1, 2.0)), "end", 0.5, drafter="lookup")


def test_json_there_and_back() -> None:
    assert Generation.from_json(json.loads(json.dumps(ANSWER.to_json()))) == ANSWER


def test_token_ids_and_origins_start_with_the_prefill_token() -> None:
    assert ANSWER.token_ids == (5, 0, 1, 2, 0, 0, 1)
    assert ANSWER.origins == ("target", "drafted", "drafted", "target", "target", "drafted", "target")


def test_figures() -> None:
    assert metrics.block_efficiency([ANSWER]) == 2.0
    assert metrics.token_rate([ANSWER]) == 6 / 4
    assert metrics.host_share([ANSWER]) == pytest.approx(0.1)
    assert metrics.draft_share([ANSWER]) == pytest.approx(0.2)
    assert metrics.memory_bound_speed_up(3.0, 5, 0.1) == 2.0
    assert metrics.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_no_steps_no_figure() -> None:
    assert math.isnan(metrics.block_efficiency([]))
    assert math.isnan(metrics.geometric_mean([]))
