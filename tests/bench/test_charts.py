"""Charts: bars as long as their figures; names none over another, none outside, each led to its dot."""

import itertools
import re
from types import SimpleNamespace

import pytest

from seeahead.bench import bar_charts, charts
from seeahead.bench.record import Costs
from seeahead.bench.statistics import Interval
from tests.bench.reader import Reader


class Method:
    """What charts see of a method."""

    is_peer, own = False, SimpleNamespace(errors=())

    def __init__(self, method, figures):
        self.method, self.figures = method, figures

    def __getitem__(self, word):
        return self.figures[word]


def method(name, efficiency=2.0, speed_up=1.5):
    return Method(name, {"τ": Interval(efficiency), "ceiling": None, "ratio of sums": Interval(speed_up)})


def plane(*methods):
    return charts.speed_against_efficiency("p", methods, Costs(0, {}))


@pytest.mark.parametrize("count", [1, 5, 16])
def test_names_of_crowded_dots_stand_apart_and_inside(count):
    crowd = [method(f"method {number:02}", 2.0, 1.2 + 0.01 * number) for number in range(count)]
    reader = Reader(plane(*crowd))
    (chart,) = reader.all("svg")
    heights = sorted(float(text["y"]) for text in reader.all("text") if "class" not in text)[-count:]
    assert all(after - before >= 13.9 for before, after in itertools.pairwise(heights))
    assert max(heights) < float(chart["viewbox"].split()[3]) - 30


def test_a_name_moves_only_for_one_that_it_would_cover():
    reader = Reader(plane(method("left", 1.1), method("right", 2.5)))
    left, right = [text for text in reader.all("text") if "class" not in text][-2:]
    assert left["y"] == right["y"]


def test_a_line_leads_to_a_name_that_had_to_move():
    def num_lines(*heights):
        return plane(*(method(name, 2.0, height) for name, height in zip("ab", heights))).count('class="faint"')

    assert num_lines(1.0, 1.9) == 0
    assert num_lines(1.5, 1.51) == 1


def test_bars_are_as_long_as_their_figures():
    drawn = bar_charts.bars("x", "t", [method("a"), method("b")], [Interval(1.0), Interval(2.0, 1.8, 2.1)], 2.1)
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.1)
    assert drawn.count('class="whisker"') == 3
    assert "b 2.00 (1.80 to 2.10)" in drawn


def test_an_interval_beyond_the_scale_ends_in_an_arrow_and_shortens_no_bar():
    wide = {"end to end": Interval(2.0), "speed-up": Interval(2.0, 1.0, 50.0)}
    drawn = bar_charts.overview("x", [Method("none", {word: Interval(1.0) for word in wide}), Method("b", wide)])
    widths = [[float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', chart)] for chart in drawn.values()]
    assert widths[0] == widths[1]
    assert widths[0][1] > 100
    ends = [float(x) for x in re.findall(r' x2="([\d.]+)"', drawn["speed-up"])]
    assert max(ends) <= charts.WIDTH - 48
    assert "b 2.00 (1.00 to 50.00)" in drawn["speed-up"]


def test_a_name_is_written_over_no_dot():
    crowd = [method("alpha", 2.0, 1.5), method("beta", 2.1, 1.52), method("gamma", 2.2, 1.48)]
    reader = Reader(plane(*crowd))
    dots = [float(dot["cx"]) for dot in reader.all("circle")]
    names = [(float(name["x"]), name["text-anchor"]) for name in reader.all("text") if "class" not in name][-3:]
    assert all(x > max(dots) if anchor == "start" else x < min(dots) for x, anchor in names)
