"""Bootstrap over questions: reproducible, paired, right about the spread, honest where there is none."""

import math

import numpy as np
import pytest

from seeahead.bench.statistics import Interval, geometric_mean, interval, mean, percentile, ratio, resample


def test_the_first_row_is_the_figure_itself_and_the_rest_is_seeded():
    weights = resample(["a"] * 5, num_draws=50, seed=3)
    assert weights.shape == (51, 5)
    assert (weights[0] == 1).all()
    assert (weights == resample(["a"] * 5, num_draws=50, seed=3)).all()
    assert (weights != resample(["a"] * 5, num_draws=50, seed=4)).any()


def test_every_scenario_keeps_its_weight_in_every_draw():
    weights = resample(["a", "b", "a", "b", "b"], num_draws=200)
    assert weights[:, [0, 2]].sum(axis=1) == pytest.approx(2)
    assert weights[:, [1, 3, 4]].sum(axis=1) == pytest.approx(3)


def test_the_spread_is_that_of_the_mean_even_with_few_questions():
    values = np.array([1.0, 2.0, 6.0])
    drawn = mean(values, resample(["a"] * 3, num_draws=20000))[1:]
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.05)


def test_scenarios_of_one_question_are_drawn_together():
    weights = resample(["a", "b", "c"], num_draws=100)
    assert weights[1:].std() > 0
    assert weights.sum(axis=1) == pytest.approx(3)
    joined = resample(["a", "a", "b"], num_draws=100)  # a lonely one joins the others
    assert joined[1:, 2].std() > 0


def test_a_single_question_has_no_interval():
    weights = resample(["a"], num_draws=10)
    assert (weights == 1).all()
    assert interval(weights[:, 0], 1) == Interval(1.0)


def test_an_interval_holds_its_figure_and_ignores_draws_without_one():
    assert interval(np.array([5.0, 1.0, 2.0, math.nan]), 4) == Interval(5.0, pytest.approx(1.025), 5.0)
    assert interval(np.array([math.nan, 1.0]), 4) is None
    found = interval(np.array([50.0, *range(101)]), 9)
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(97.5))


def test_ratios_and_means_of_what_is_there():
    assert ratio(np.array([1.0, 0.0]), np.array([0.0, 0.0])).tolist() == [
        math.inf,
        pytest.approx(math.nan, nan_ok=True),
    ]
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    assert mean(np.array([1.0, 3.0, math.nan]), weights).tolist() == [2.0, 1.0]
    means = geometric_mean([np.array([1.0, 2.0]), np.array([4.0, math.nan]), np.array([math.inf, 0.0])])
    assert means.tolist() == pytest.approx([2.0, 2.0])
    assert math.isnan(geometric_mean([])[0])


def test_a_percentile_is_a_value_that_was_seen():
    values = np.arange(20.0)[::-1]
    ones = np.ones((1, 20))
    assert percentile(values, ones, 0.95).tolist() == [18.0]
    assert percentile(values, ones, 1.0).tolist() == [19.0]
    assert percentile(np.array([3.0, 7.0]), np.array([[1.0, 0.0], [0.0, 2.0]]), 0.95).tolist() == [3.0, 7.0]
    assert np.isnan(percentile(np.array([]), np.ones((2, 0)), 0.95)).all()
