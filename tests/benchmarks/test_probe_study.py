"""The study of the probe: what counts as found, and the page of what was stored."""

import pytest

from benchmarks.studies import probe
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import Dialect

AXES = Rotation(50.0, (4, 4, 4))


def row(kind, found, trained, config=None):
    told = {"found": found, "trained": trained, "config": config or Dialect()}
    sizes = {"kind": kind, "num_dialects": 4, "seconds": 1.5, "seconds_computing": 0.5}
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
    source = {"command": ["probe.py"], "commit": "abc", "hardware": {"cpu": "a CPU"}}
    pages = probe.documents(
        {"rows": rows, "provenance": source, "steps": {"target": 3, "head": 2, "at most": 4, "learned": 0.3}}
    )
    page = pages["results/probe.md"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    cells = {first: others for first, *others in lines}
    assert cells["a"][:3] == ["4", "1 of 1", "0 of 1"]
    assert cells["b"][:3] == ["4", "0 of 1", "0 of 1"]
    assert cells["all"][:3] == ["4", "1 of 2", "0 of 2"]
    assert cells["what visual slots hold"] == ["1", "1"]
    assert "python -m benchmarks.studies.probe" in page
