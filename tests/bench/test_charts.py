"""Names in charts: none over another, none outside, each led to its dot."""

import itertools

import pytest

from seeahead.bench import charts
from seeahead.bench.charts import Dot
from tests.bench.reader import Reader


@pytest.mark.parametrize("count", [1, 5, 16])
def test_names_of_crowded_dots_stand_apart_and_inside(count):
    dots = [Dot(f"method {number:02}", "red", 2.0, 1.2 + 0.01 * number, None, None, None) for number in range(count)]
    reader = Reader(charts.plane("p", "a plane", dots, [], ("τ", "speed-up")))
    (chart,) = reader.all("svg")
    heights = sorted(float(text["y"]) for text in reader.all("text") if "class" not in text)[-count:]
    assert all(after - before >= 13.9 for before, after in itertools.pairwise(heights))
    assert max(heights) < float(chart["viewbox"].split()[3]) - 30


def test_a_name_moves_only_for_one_that_it_would_cover():
    near = Dot("left", "red", 1.1, 1.5, None, None, None), Dot("right", "red", 2.5, 1.5, None, None, None)
    reader = Reader(charts.plane("p", "a plane", near, [], ("τ", "speed-up")))
    left, right = [text for text in reader.all("text") if "class" not in text][-2:]
    assert left["y"] == right["y"]


def test_a_line_leads_to_a_name_that_had_to_move():
    def num_lines(*heights):
        dots = [Dot("a", "red", 2.0, height, None, None, None) for height in heights]
        return charts.plane("p", "a plane", dots, [], ("τ", "speed-up")).count('class="faint"')

    assert num_lines(1.0, 1.9) == 0
    assert num_lines(1.5, 1.51) == 1
