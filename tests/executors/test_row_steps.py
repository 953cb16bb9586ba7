"""How a machine takes passes: chosen by what was measured, kept for this machine, measured again if damaged."""

import json

import pytest

from seeahead.executors import row_steps as module
from seeahead.executors.row_steps import LONG, STEPS, RowSteps, best_step, row_steps


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((20.3, 28.2, 40.3), 4),
        ((12.6, 13.9, 19.1), 8),
        ((27.7, 36.1, 38.6), 4),  # though eight rows take about as long as sixteen
        ((11.5, 11.8, 12.6), 16),
        ((10.0, 10.0, 10.0), 16),
    ],
)
def test_the_largest_step_of_which_no_smaller_one_takes_clearly_less(seconds, expected):
    assert best_step(dict(zip(STEPS, seconds, strict=True))) == expected


class Clock:
    """Passes on a machine that reads eight rows as quickly as four, and 32 bits in `share` of the time of 16 from
    `least` rows on, fewer in the same. Those of the numbers `held_up` take three times as long."""

    def __init__(self, share=1.0, held_up=(), least=0):
        self.num_asked, self.share, self.held_up, self.least = 0, share, held_up, least

    def __call__(self, size, in_32_bits):
        self.num_asked += 1
        share = self.share if in_32_bits and size >= self.least else 1.0
        return max(size, 8.0) * share * (3.0 if self.num_asked in self.held_up else 1.0)


OF_STEPS = 4 * 2 * len(STEPS)
NUM_ASKED = OF_STEPS + 2 * 7


def read(folder, clock, *, has_choice=True):
    return row_steps(folder, clock, has_choice=has_choice)


def test_a_machine_is_measured_until_two_loads_agree(tmp_path):
    clock = Clock()
    assert [read(tmp_path, clock) for _ in range(4)] == 4 * [RowSteps(8, long_rows=0)]
    assert clock.num_asked == 2 * NUM_ASKED


def test_what_a_busy_machine_was_measured_at_does_not_stay(tmp_path):
    busy = Clock(4.0)
    assert not read(tmp_path, busy).long_rows
    assert [read(tmp_path, Clock(0.7)).long_rows for _ in range(3)] == [16, 16, 16]
    assert not read(tmp_path, busy, has_choice=False).long_rows
    assert read(tmp_path, Clock(0.7)).long_rows


def test_single_passes_that_are_held_up_say_nothing_of_32_bits(tmp_path):
    """The first of 32 bits is compiled; two more are held up."""
    firsts = OF_STEPS + 2, OF_STEPS + 6, OF_STEPS + 10
    assert read(tmp_path, Clock(0.7, firsts)).long_rows
    assert not read(tmp_path / "other", Clock(1.1, [first - 1 for first in firsts])).long_rows


@pytest.mark.parametrize(
    ("share", "least", "expected"),
    [(0.7, 0, 16), (0.7, 24, 16), (0.7, 30, 32), (0.7, 50, 64), (0.95, 0, 0), (1.3, 0, 0)],
)
def test_passes_are_in_32_bits_from_where_these_take_clearly_less(share, least, expected, tmp_path):
    clock = Clock(share, least=least)
    assert [read(tmp_path, clock).long_rows for _ in range(2)] == [expected, expected]
    assert not read(tmp_path, clock, has_choice=False).long_rows, "whatever was measured before"


def test_what_has_no_choice_is_not_measured_in_32_bits(tmp_path):
    def measure(size, in_32_bits):
        assert not in_32_bits
        assert size != LONG
        return 1.0

    assert read(tmp_path, measure, has_choice=False) == RowSteps(16, long_rows=0)


def test_another_machine_is_measured_for_itself(tmp_path, monkeypatch):
    clock = Clock()
    both = read(tmp_path, clock), read(tmp_path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_machine", lambda: "another one")
        assert (read(tmp_path, clock), read(tmp_path, clock)) == both
    assert clock.num_asked == 4 * NUM_ASKED
    read(tmp_path, clock)
    assert clock.num_asked == 4 * NUM_ASKED, "both are kept: one folder may be of several machines"


@pytest.mark.parametrize(
    "damage",
    [
        *("", "{", "[]", "null", "{}", '{"step": "8", "long_rows": 0, "is_sure": true}'),
        '{"step": 5, "long_rows": 0, "is_sure": true}',
        '{"step": 8, "long_rows": 7, "is_sure": true}',
        '{"step": 8, "long_rows": 0, "is_sure": "yes"}',
        '{"step": 8, "long_rows": 0}',
    ],
)
def test_what_is_damaged_is_measured_again(damage, tmp_path):
    clock = Clock()
    for _ in range(2):
        read(tmp_path, clock)
    [path] = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    path.write_text(damage)
    assert [read(tmp_path, clock).step for _ in range(3)] == [8, 8, 8]
    assert clock.num_asked == 4 * NUM_ASKED
    assert json.loads(path.read_text()) == kept


def test_a_folder_that_takes_no_file_costs_a_measuring_at_each_load(tmp_path):
    clock = Clock()
    folder = tmp_path / "file"
    folder.write_text("no folder")
    assert [read(folder, clock).step for _ in range(2)] == [8, 8]
    assert clock.num_asked == 2 * NUM_ASKED
