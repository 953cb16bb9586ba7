"""Records survive JSON; figures follow their definitions."""

import json
import math

import pytest

from seeahead import metrics
from seeahead.errors import InputError
from seeahead.records import Generation, Step


def _step(emitted: int, depth: int, accepted: int, seconds: float = 1.0) -> Step:
    origins = ("drafted",) * (emitted - 1) + ("target",)
    return Step(tuple(range(emitted)), origins, depth, depth, accepted, 0.2 * seconds, 0.7 * seconds, seconds)


ANSWER = Generation(12, 5, (_step(3, 4, 2), _step(1, 4, 0), _step(2, 1, 1, 2.0)), "end", 0.5, drafter="lookup")


def test_json_there_and_back() -> None:
    assert Generation.from_json(json.loads(json.dumps(ANSWER.to_json()))) == ANSWER


WRONG = [None, -1, 10**30, 1.5, math.nan, "x", "\ud800", True, [], {}, [[1]], b"x", object()]


def _places(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, entry in entries for found in _places(entry, (*place, key)))]


@pytest.mark.parametrize("place", _places(json.loads(json.dumps(ANSWER.to_json())))[1:], ids=str)
def test_whatever_is_spoiled_in_an_answer_is_one_line_or_another_answer(place: tuple[str | int, ...]) -> None:
    for wrong in (*WRONG, "delete"):
        value = inner = json.loads(json.dumps(ANSWER.to_json()))
        for key in place[:-1]:
            inner = inner[key]
        if wrong == "delete":
            del inner[place[-1]]
        else:
            inner[place[-1]] = wrong
        found, message = None, ""
        try:
            found = Generation.from_json(value)
        except InputError as error:
            message = str(error)
        assert "\n" not in message
        assert found is None or len(found.token_ids) == len(found.origins)


@pytest.mark.parametrize("value", [None, 3, [], "x", b"x", {}, {1: 2}, math.nan])
def test_what_is_no_answer_at_all_is_one_line(value: object) -> None:
    with pytest.raises(InputError, match="this is no record of an answer"):
        Generation.from_json(value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"emitted": [1]}, "tokens (1) and their origins (3) differ"),
        ({"num_accepted": 1}, "more tokens (3) than it accepted (1) and one"),
        ({"num_drafted": 1}, "than nodes (1)"),
        ({"origins": ["drafted", 7, "target"]}, "steps.0.origins.1"),
        ({"more": 1}, "it has an unknown steps.0.more"),
    ],
)
def test_a_step_that_does_not_add_up_is_named(change: dict[str, object], says: str) -> None:
    value = json.loads(json.dumps(ANSWER.to_json()))
    value["steps"][0] |= change
    with pytest.raises(InputError) as refused:
        Generation.from_json(value)
    assert says in str(refused.value)


def test_token_ids_and_origins_start_with_the_prefill_token() -> None:
    assert ANSWER.token_ids == (5, 0, 1, 2, 0, 0, 1)
    assert ANSWER.origins == ("target", "drafted", "drafted", "target", "target", "drafted", "target")


def test_figures() -> None:
    totals = metrics.Totals.of(ANSWER)
    assert totals.block_efficiency == 2.0
    assert totals.token_rate == 6 / 4
    assert totals.host_share == pytest.approx(0.1)
    assert totals.draft_share == pytest.approx(0.2)
    assert metrics.memory_bound_speed_up(3.0, 5, 0.1) == 2.0


def test_no_steps_no_figure() -> None:
    assert math.isnan(metrics.Totals.of(Generation(12, 5)).block_efficiency)
