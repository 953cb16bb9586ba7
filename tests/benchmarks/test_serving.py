"""The server's load as a page: what drafts gain is told round by round, since rounds differ."""

import pytest

from benchmarks import serve_load
from benchmarks.studies import SEES, serving

PEER = "OpenVINO GenAI 1"
ROUNDS = ({"plain": 10, "msd": 15, PEER: 40}, {"plain": 20, "msd": 20, PEER: 40})
"""Tokens in a second; the second round finds another machine."""


def stored(num_rounds, **settings):
    parts = {f"{name}_{part}": 0.1 for name in ("first", "between") for part in ("p50", "p95")}
    rows = [
        {"clients": clients, "method": method, "identical": 2, "answers": 2, "tokens": tokens, "seconds": 1.0, **parts}
        for rates in ROUNDS[:num_rounds]
        for clients in serve_load.CLIENTS
        for method, tokens in rates.items()
    ]
    source = {"command": ["serve_load.py"], "commit": "0123456789ab", "hardware": {"cpu": "A", "num_cores": 2}}
    settings = {"dtype": "float32", "num_questions": 2, "num_at_once": 16, **settings}
    whole = {"provenance": source, "settings": settings, "rows": rows, "follow_ups": []}
    return {**whole, **serve_load.summary(rows, [])}


def test_ratios_are_paired_by_round_and_have_their_range():
    found = stored(2)
    assert found["over_plain"]["msd"]["4"] == [1.5, 1.0]
    pages = serving.documents(found)
    page, image = pages["results/serve-load.md"], pages["images/serve-load.svg"]
    assert "| 4 | msd | 17.5 | 1.00× | 1.25× (1.00–1.50) |" in page, "17.5 / 15 pairs no rounds"
    assert "| 4 | plain | 15.0 | 1.00× | 1.00× |" in page
    assert "in brackets stands the range of the rounds" in page
    assert "Tokens per second over plain, range of 2 rounds" in image
    assert "msd: 1.25, 1.25, 1.25, 1.25" in image


def test_one_round_has_no_range():
    pages = serving.documents(stored(1))
    assert "| 4 | msd | 15.0 | 1.00× | 1.50× |" in pages["results/serve-load.md"]
    assert "range" not in "".join(pages.values())


@pytest.mark.parametrize(("settings", "num"), [({}, 2), ({SEES: True}, 3)])
def test_a_peer_that_saw_other_images_has_no_line_over_plain(settings, num):
    image = serving.documents(stored(2, **settings))["images/serve-load.svg"]
    assert image.count("GenAI: ") == num
