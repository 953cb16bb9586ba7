"""The study of the probe: what counts as found, and the page of what was stored."""

import pytest

from benchmarks.studies import probe
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import Dialect

AXES = Rotation(50.0, (4, 4, 4))


def row(kind, found, trained, config=None):
    told = {"found": found, "trained": trained, "config": config or Dialect()}
    surprises = {"surprise": 0.105 + 0.2 * (kind == "b"), "trained_surprise": 0.1}
    sizes = {"kind": kind, "num_dialects": 4, "seconds": 1.5, "seconds_computing": 0.5, **surprises}
    return {name: probe.axes(one) for name, one in told.items()} | sizes


@pytest.mark.parametrize(
    ("found", "mistaken"),
    [
        (Dialect(AXES), set()),
        (Dialect(AXES, is_next=True), {"place"}),
        (Dialect(Rotation(50.0, (4, 4, 4), is_interleaved=True)), {"layout"}),
        (Dialect(Rotation(50.0), layers=(1, 2, 3)), {"layout", "layers"}),
    ],
)
def test_a_dialect_is_right_on_all_axes_or_wrong(found, mistaken):
    assert probe.wrong(row("a", found, Dialect(AXES))) == mistaken


def test_on_one_axis_there_is_one_place():
    assert probe.axes(Dialect(is_next=True)) == probe.axes(Dialect())


def test_the_page_counts_whole_dialects_by_head():
    rows = [row("a", Dialect(AXES), Dialect(AXES)), row("b", Dialect(), Dialect(visual="alone"))]
    rows.append(row("c", Dialect(), Dialect(visual="alone")))
    source = {"command": ["probe.py"], "commit": "abc", "hardware": {"cpu": "a CPU"}}
    steps = {"target": 3, "head": 2, "at most": 4, "learned": 0.3, "settling": 200}
    prompts = {"texts": 2, "with images": 7}
    pages = probe.documents({"rows": rows, "provenance": source, "steps": steps, "prompts": prompts})
    page = pages["results/probe.md"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    cells = {first: others for first, *others in lines}
    assert cells["a"][:4] == ["4", "1 of 1", "1 of 1", "0 of 1"]
    assert cells["b"][:4] == ["4", "0 of 1", "0 of 1", "0 of 1"]
    assert cells["c"][:4] == ["4", "0 of 1", "1 of 1", "0 of 1"]
    assert cells["all"][:4] == ["4", "1 of 3", "2 of 3", "0 of 3"]
    assert cells["what visual slots hold"] == ["2", "2"]
    assert "9 prompts, 7 of them with images" in page
    assert "python -m benchmarks.studies.probe" in page
