"""The study of ensembles: what it measures exists, and its page says what its record says."""

from benchmarks.studies.ensemble_weights import Weights, documents, timed

SOURCE = {
    "command": ["python", "-m", "benchmarks.studies.ensemble_weights"],
    "commit": "abc",
    "hardware": {"cpu": "a CPU"},
}


def _row(views, scenario, weights=()):
    figures = {"num_steps": 10, "num_emitted": 25, "num_levels": 50, "seconds": 1.0, "seconds_weighing": 0.004}
    return {
        "views": views,
        "scenario": scenario,
        "seconds_draft": 0.1 * len(views),
        "weights": list(weights),
        **figures,
    }


RECORD = {
    "provenance": SOURCE,
    "chain": 5,
    "count": 3,
    "rows": [
        *(_row("M", "story") for _ in range(3)),
        *(_row("MTP", "story", [[1 / 3] * 3, [0.0, 0.5, 0.5]]) for _ in range(3)),
    ],
}


def test_costs_are_told_over_one_view():
    page = documents(RECORD)["results/ensembles.md"]
    assert "| M     |                 2.00 |    +0% |" in page
    assert "|                 6.00 |  +200% |              30% |             0.4% |" in page


def test_the_image_has_a_panel_per_scenario_and_a_line_per_view():
    image = documents(RECORD)["images/ensembles-weights.svg"]
    assert image.count('class="series') == 3
    assert "M: 33%, 0%; T: 33%, 50%; P: 33%, 50%" in image


def test_mean_weights_are_not_drawn_where_few_answers_reach():
    few = {**RECORD, "rows": [*RECORD["rows"], _row("MTP", "story", [[1.0, 0.0, 0.0]] * 9)]}
    assert documents(few)["images/ensembles-weights.svg"].count("<circle") == 3 * 2


def test_what_is_timed_is_there_and_is_left_as_it_was():
    before = Weights.update
    with timed() as spent:
        assert Weights.update is not before
    assert Weights.update is before
    assert spent == {"weighing": 0.0}
