"""The figures of the demo, worked out by hand on made-up exchanges."""

import json

import pytest

from seeahead.bench.compare import Difference, Round
from seeahead.bench.definitions import heading
from seeahead.bench.figures import COLUMNS, as_json, cells, definitions, difference_line, pace, summary_of
from seeahead.bench.record import PLAIN
from seeahead.records import Generation
from tests.bench.exchanges import drafted_answer, exchange, plain_answer, question


def figures(rounds):
    """By method."""
    return {entry["method"]: entry for entry in as_json(rounds, [])["methods"]}


def test_every_figure_of_one_exchange():
    value = figures([exchange()])["lookup"]
    # 12 tokens in 4 steps of 0.15 s against 12 steps of 0.1 s.
    assert value["block_efficiency"] == 3.0
    assert value["token_rate"] == pytest.approx(20.0)
    assert value["speed_up"] == pytest.approx(2.0)
    assert value["end_to_end"] == pytest.approx((0.5 + 1.2) / (0.5 + 0.1 + 0.6))
    assert (value["num_identical"], value["num_answers"], value["num_tokens"]) == (1, 1, 13)
    assert value["host_share"] == pytest.approx(0.02 / 0.15)
    assert value["draft_share"] == pytest.approx(0.03 / 0.15)


def test_plain_compared_with_itself():
    value = figures([exchange(), exchange("text only")])[PLAIN]
    assert value["block_efficiency"] == pytest.approx(1.0)
    assert value["speed_up"] == value["end_to_end"] == pytest.approx(1.0)
    assert value["num_identical"] == value["num_answers"] == 2


def test_the_speed_up_is_a_geometric_mean_over_scenarios_of_ratios_of_sums():
    rounds = [exchange("describe"), exchange("describe"), exchange("text only", per_step=1, seconds=0.2)]
    value = figures(rounds)["lookup"]
    assert value["speed_up"] == pytest.approx((2.0 * 0.5) ** 0.5)
    assert value["speed_up_by_scenario"] == {"describe": pytest.approx(2.0), "text only": pytest.approx(0.5)}


def test_an_answer_of_one_token_counts_but_is_not_timed():
    short = Round(question("question"), {PLAIN: plain_answer(1), "lookup": drafted_answer(num_tokens=1)})
    value = figures([exchange(), short])["lookup"]
    assert value["speed_up"] == pytest.approx(2.0)
    assert value["num_answers"] == value["num_identical"] == 2
    assert pace(short.plain) == "1 token"
    assert figures([short])["lookup"]["speed_up"] is None
    json.dumps(as_json([short], []), allow_nan=False)


def test_the_table_has_a_cell_per_word():
    rounds = [exchange(), exchange(wrong_at=5)]
    (plain, lookup) = summary_of(rounds).headline_methods
    assert tuple(definitions()) == COLUMNS
    assert len(cells(plain)) == len(cells(lookup)) == len(COLUMNS)
    assert cells(lookup)[:3] == ["3.00", "20.0", "2.00×"]
    assert "1 of 2" in cells(lookup)
    assert [heading(entry.method) for entry in (plain, lookup)] == ["none (plain)", "lookup"]


def test_differences_are_told_with_their_logit_gap():
    line = difference_line(Difference("lookup", question(), 17, 0.0625))
    assert line == "lookup: 'What is this?' differs from plain at token 18, logit gap +0.062"
    assert "ends earlier" in difference_line(Difference("lookup", question(), 17, None))


def test_json_holds_the_records_that_the_figures_are_derived_from():
    rounds = [exchange(wrong_at=3)]
    value = json.loads(json.dumps(as_json(rounds, [Difference("lookup", question(), 3, 0.1)]), allow_nan=False))
    assert [entry["method"] for entry in value["methods"]] == [PLAIN, "lookup"]
    assert value["differences"] == [{"method": "lookup", "question": "What is this?", "position": 3, "logit_gap": 0.1}]
    stored = dict(value["rounds"][0]["answers"]["lookup"])
    assert stored.pop("text").startswith(" w0 drafted drafted own")
    assert Generation.from_json(stored) == rounds[0].answers["lookup"].generation
