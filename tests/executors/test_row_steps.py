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
    """Passes on a machine that reads eight rows as quickly as four, and 32 bits in `share` of the time of 16."""

    def __init__(self, share=1.0):
        self.num_asked, self.share = 0, share

    def __call__(self, size, in_32_bits):
        self.num_asked += 1
        return max(size, 8.0) * (self.share if in_32_bits else 1.0)


NUM_ASKED = 4 * (2 * len(STEPS) + 2)


def read(folder, clock, *, has_choice=True):
    return row_steps(folder, clock, has_choice=has_choice)


def test_a_machine_is_measured_once(tmp_path):
    clock = Clock()
    assert [read(tmp_path, clock) for _ in range(3)] == 3 * [RowSteps(8, long_in_32_bits=False)]
    assert clock.num_asked == NUM_ASKED


@pytest.mark.parametrize(("share", "expected"), [(0.7, True), (0.95, False), (1.3, False)])
def test_long_passes_are_in_32_bits_where_these_take_clearly_less(share, expected, tmp_path):
    clock = Clock(share)
    assert [read(tmp_path, clock).long_in_32_bits for _ in range(2)] == [expected, expected]
    assert not read(tmp_path, clock, has_choice=False).long_in_32_bits, "whatever was measured before"


def test_what_has_no_choice_is_not_measured_in_32_bits(tmp_path):
    def measure(size, in_32_bits):
        assert not in_32_bits
        assert size != LONG
        return 1.0

    assert read(tmp_path, measure, has_choice=False) == RowSteps(16, long_in_32_bits=False)


def test_another_machine_is_measured_for_itself(tmp_path, monkeypatch):
    clock = Clock()
    read(tmp_path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_machine", lambda: "another one")
        read(tmp_path, clock)
    assert clock.num_asked == 2 * NUM_ASKED
    read(tmp_path, clock)
    assert clock.num_asked == 2 * NUM_ASKED, "both are kept: one folder may be of several machines"


@pytest.mark.parametrize(
    "damage",
    [
        *("", "{", "[]", "null", "{}", '{"step": "8", "long_in_32_bits": false}'),
        *('{"step": 5, "long_in_32_bits": false}', '{"step": 8, "long_in_32_bits": 1}'),
        '{"step": 8, "long_in_32_bits": "yes"}',
    ],
)
def test_what_is_damaged_is_measured_again(damage, tmp_path):
    clock = Clock()
    read(tmp_path, clock)
    [path] = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    path.write_text(damage)
    assert read(tmp_path, clock).step == read(tmp_path, clock).step == 8
    assert clock.num_asked == 2 * NUM_ASKED
    assert json.loads(path.read_text()) == kept


def test_a_folder_that_takes_no_file_costs_a_measuring_at_each_load(tmp_path):
    clock = Clock()
    folder = tmp_path / "file"
    folder.write_text("no folder")
    assert [read(folder, clock).step for _ in range(2)] == [8, 8]
    assert clock.num_asked == 2 * NUM_ASKED
