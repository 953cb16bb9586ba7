"""The step between sizes of passes: chosen by what was measured, kept for this machine, measured again if damaged."""

import json

import pytest

from seeahead.executors import row_steps
from seeahead.executors.row_steps import STEPS, best_step, row_step


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
    """Passes on a machine that reads eight rows as quickly as four."""

    def __init__(self):
        self.num_asked = 0

    def __call__(self, sizes):
        self.num_asked += 1
        return {size: max(size, 8.0) for size in sizes}


def test_a_machine_is_measured_once(tmp_path):
    clock = Clock()
    assert [row_step(tmp_path, clock) for _ in range(3)] == [8, 8, 8]
    assert clock.num_asked == 1


def test_another_machine_is_measured_for_itself(tmp_path, monkeypatch):
    clock = Clock()
    row_step(tmp_path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(row_steps, "_machine", lambda: "another one")
        row_step(tmp_path, clock)
    assert clock.num_asked == 2
    row_step(tmp_path, clock)
    assert clock.num_asked == 2, "both are kept: one folder may be of several machines"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", "{}", '{"step": "8"}', '{"step": 5}', '{"step": 8, "more": 1}']
)
def test_what_is_damaged_is_measured_again(damage, tmp_path):
    clock = Clock()
    row_step(tmp_path, clock)
    [path] = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    path.write_text(damage)
    assert row_step(tmp_path, clock) == row_step(tmp_path, clock) == 8
    assert clock.num_asked == 2
    assert json.loads(path.read_text()) == kept


def test_a_folder_that_takes_no_file_costs_a_measuring_at_each_load(tmp_path):
    clock = Clock()
    folder = tmp_path / "file"
    folder.write_text("no folder")
    assert [row_step(folder, clock) for _ in range(2)] == [8, 8]
    assert clock.num_asked == 2
