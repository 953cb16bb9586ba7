"""What steps of the target take: measured, learned, and in the steps in which executors fill passes up."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import pytest

from seeahead.drafters import costs, pass_times
from seeahead.drafters.costs import passes_between
from seeahead.drafters.experience import Experience
from seeahead.drafters.pass_times import PassTimes
from seeahead.executor import NOTHING, Widths
from tests.table_executor import TableExecutor

TARGET = TableExecutor.random(12, seed=1, spread=4.0)


FILLING = TableExecutor(TARGET.table)
"""Fills passes up to multiples of four rows."""
FILLING.limits = replace(FILLING.limits, row_step=4)


def test_passes_are_filled_up_in_steps_and_stay_wide_for_a_while():
    widths = Widths(FILLING.limits)
    assert [widths.width(rows)[0] for rows in (1, 2, 5, 8, 3, 3, 3, 1, 1, 1)] == [1, 4, 8, 8, 8, 8, 4, 4, 4, 1]
    widths.width(9)
    widths.forget()
    assert widths.width(2) == (4, True)
    assert widths.width(3) == (4, False)
    others = Widths(TARGET.limits)
    assert [others.width(rows)[0] for rows in (5, 3, 8, 1)] == [5, 3, 8, 1]


def test_passes_are_filled_up_to_sizes_that_need_no_preparation():
    widths = Widths(replace(FILLING.limits, fixed_rows=(1, 4, 16)))
    assert [widths.width(rows) for rows in (1, 2, 5, 16, 3)] == [
        (1, False),
        (4, False),
        (16, False),
        (16, False),
        (4, False),
    ]
    assert [widths.width(rows) for rows in (17, 9, 18, 30)] == [(20, True), (16, False), (20, False), (32, True)]
    assert [widths.changes(width) for width in (1, 16, 20, 32, 36)] == [False, False, False, False, True]


def test_passes_of_one_width_cost_the_same():
    assert passes_between({1: 1.0, 8: 2.0}, TARGET)[3] == pytest.approx(1 + 3 / 7)
    assert passes_between({1: 1.0, 4: 2.0, 8: 3.0}, FILLING) == (1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0)


def test_a_pass_is_measured_once_none_before_keeps_it_wide(monkeypatch):
    widths = Widths(FILLING.limits)
    monkeypatch.setattr(costs, "_pass_seconds", lambda session, tokens: float(widths.width(len(tokens))[0]))
    session, inputs, sizes = costs.prompted(FILLING, range(12), 16, [1, 4, 8, 16])
    assert list(costs.time_passes(session, inputs, sizes, 5)) == [{size: float(size) for size in sizes}] * 5


def test_another_width_costs_more_at_first_where_it_is_a_larger_one(monkeypatch):
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 4 + (1.2,) * 4)
    monkeypatch.setattr(pass_times, "_change_seconds", lambda *_: 0.5)
    times = PassTimes(FILLING)
    times.begin()
    assert [times.seconds(rows) for rows in (1, 3, 7)] == [1.5, 1.5, 1.7]
    for _ in range(9):
        times.learn(3, 1, 1.0 if times.seconds(3) < 1.2 else 1.5)
    assert [times.seconds(rows) for rows in (1, 3, 7)] == pytest.approx([1.0, 1.0, 1.7])
    assert times.plain() == pytest.approx(1.0)
    times.begin()
    assert times.seconds(3) == pytest.approx(1.5)


def test_what_a_change_costs_is_no_reason_to_think_the_machine_slow(monkeypatch):
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 8)
    monkeypatch.setattr(pass_times, "_change_seconds", lambda *_: 1.0)
    times = PassTimes(FILLING)
    for number in range(200):
        times.learn(1 if number % 4 < 3 else 8, 1, 2.0 if number % 4 in (2, 3) else 1.0)
    assert times.plain() == pytest.approx(1.0, rel=0.01)


def test_times_are_measured_and_follow_the_machine():
    times = PassTimes(TARGET)
    assert times.seconds(1) > 0
    for _ in range(50):
        times.learn(1, 1, 2.0)
        times.learn(9, 1, 6.0)
        times.learn(8, 8, 4.0)
    assert times.seconds(1) == pytest.approx(2.0, rel=0.3)
    assert times.seconds(9) == pytest.approx(6.0, rel=0.3)
    assert times.seconds(8, 8) == pytest.approx(4.0, rel=0.1)
    assert times.seconds(100) > times.seconds(9)


@pytest.mark.parametrize("measured", [(1.0,) + (3.0,) * 15, (2.0,) * 16])
def test_measuring_that_was_disturbed_is_set_right_by_a_few_steps(monkeypatch, measured):
    """In truth passes of up to eight rows take 1.2, and a machine's noise is a tenth."""
    monkeypatch.setattr(pass_times, "_measured", lambda executor: measured)
    times, rng = PassTimes(TARGET), random.Random(0)
    for number in range(24):
        rows = 8 if number % 3 < 2 else 1
        times.learn(rows, 1, (1.2 if rows == 8 else 1.0) * math.exp(rng.gauss(0.0, 0.1)))
    assert times.seconds(8) / times.plain() == pytest.approx(1.2, rel=0.15)
    assert times.seconds(16) / times.plain() < 2.0, "larger ones were disturbed alike"


def test_a_step_that_was_held_up_is_forgotten_by_the_next(monkeypatch):
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 8)
    times = PassTimes(TARGET)
    for _ in range(20):
        times.learn(8, 1, 1.0)
    times.learn(8, 1, 20.0)
    times.learn(8, 1, 1.0)
    times.learn(8, 1, 0.0)
    assert times.seconds(8) > 0.7
    times.learn(8, 1, 1.0)
    times.learn(8, 1, 20.0)
    assert times.seconds(8) < 1.3
    times.learn(8, 1, 1.0)
    assert times.seconds(8) == pytest.approx(1.0, rel=0.1)
    assert times.seconds(8) / times.plain() == pytest.approx(1.0, rel=0.1)


def test_a_size_is_tried_once_two_steps_had_it(monkeypatch):
    times = PassTimes(FILLING)
    times.learn(3, 1, 1.0)
    assert not times.has_tried(4, 1)
    times.learn(4, 1, 1.0)
    assert times.has_tried(2, 1)
    assert not times.has_tried(8, 1)
    assert not times.has_tried(4, 8), "what requests together take is another thing"


def test_what_is_known_of_single_requests_is_where_several_begin(monkeypatch):
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 32)
    times = PassTimes(TARGET)
    for number in range(40):
        times.learn(1 + 15 * (number % 2), 1, 1.0 + number % 2)
    assert times.seconds(16, 4) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("num_requests", [1, 4])
def test_after_long_prompts_rows_have_costs_of_their_own(num_requests, monkeypatch):
    """As attention over 8,000 tokens makes eight rows twice as dear; short answers in between do not confuse that."""
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 32)
    times = PassTimes(TARGET)

    def step(length, rows):
        times.at(length)
        times.learn(rows, num_requests, (1.0 if length < 1024 else 1.5) * (2.0 if length >= 1024 and rows > 1 else 1.0))

    for number in range(400):
        step(100, 1 + 7 * (number % 2))
    for number in range(60):
        step(9000, 1 + 7 * (number // 2 % 2))
        step(100, 1 + 7 * (number % 2))
    for length, expected in ((200, 1.0), (8500, 2.0), (900, 1.0)):
        times.at(length)
        assert times.seconds(8, num_requests) / times.seconds(1, num_requests) == pytest.approx(expected, rel=0.1)
    times.at(40_000)
    ratio = times.seconds(8, num_requests) / times.seconds(1, num_requests)
    assert ratio > 1.5, "it begins with what a shorter context has shown"


def test_more_rows_than_a_pass_takes_are_several_passes(monkeypatch):
    monkeypatch.setattr(pass_times, "_measured", lambda executor: tuple(1.0 + 0.1 * rows for rows in range(8)))
    executor = TableExecutor(TARGET.table)
    executor.limits = replace(TARGET.limits, max_rows=8)
    times = PassTimes(executor)
    assert times.seconds(8, 4) == pytest.approx(1.7)
    assert times.seconds(20, 4) == pytest.approx(2 * 1.7 + 1.3)


def test_no_size_is_ever_in_more_doubt_than_at_first(monkeypatch):
    """Else the first step of a size after an hour without it is believed, whatever held it up."""
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 32)
    times = PassTimes(TARGET)
    for _ in range(20_000):
        times.learn(1, 1, 1.0)
    times.learn(16, 1, 10.0)
    assert times.seconds(16) < 3.0


def test_a_shorter_pass_never_costs_more_than_a_longer_one():
    assert passes_between({1: 3.0, 4: 1.5, 8: 2.0}, TARGET) == pytest.approx((1.5,) * 4 + (1.625, 1.75, 1.875, 2.0))


def test_a_row_more_never_seems_to_cost_much(monkeypatch):
    """What was seen of small and of large passes says something of those between: no cliff where a tree would end."""
    monkeypatch.setattr(pass_times, "_measured", lambda executor: (1.0,) * 32)
    times = PassTimes(TARGET)
    for number in range(200):
        times.learn(4 + number % 3, 1, 1.0)
        times.learn(10 + number % 3, 1, 1.3)
    steps = [times.seconds(rows + 1) - times.seconds(rows) for rows in range(1, 32)]
    assert max(steps) < 0.1
    assert times.seconds(11) == pytest.approx(1.3 * times.seconds(5), rel=0.1)


def test_where_the_machine_slows_drafters_and_target_slow_alike():
    times = PassTimes(TARGET)
    experience = Experience(times)
    for _ in range(60):
        times.learn(1, 1, 1.0)
        experience.drafted("one", 1, 0.1)
        experience.started("one", (0, True), 0.3)
    for _ in range(20):
        times.learn(1, 1, 2.0)
    assert experience.level("one", 1) == pytest.approx(0.2, rel=0.1)
    assert experience.start_seconds("one", (0, True)) == pytest.approx(0.6, rel=0.1)


def test_of_a_slow_model_one_pass_is_measured():
    slow, seen = TableExecutor(TARGET.table), []

    def forward(trees, want=NOTHING):
        seen.append(sum(len(tree.parents) for tree in trees))
        time.sleep(0.25)
        return TableExecutor.forward(slow, trees, want)

    slow.forward, slow.limits = forward, replace(slow.limits, row_step=4)
    times = PassTimes(slow)
    assert seen == [1, 1]
    assert times.seconds(1) < times.seconds(8) < 2 * times.seconds(1)
