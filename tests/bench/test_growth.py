"""How passes grow, on a tiny LLaVA: what is measured, what is drawn, what is refused."""

import json
import re
from types import SimpleNamespace

import pytest

from benchmarks.studies.growth import documents
from seeahead.bench import growth, growth_page
from seeahead.bench.growth import BATCHED, PASSED, READ
from seeahead.cli import main
from seeahead.errors import InputError, ModelError


@pytest.fixture(scope="module")
def found(tiny):
    told = []
    record = growth.measure(
        tiny, ["transformers"], contexts=(16, 8000), rounds=2, progress=lambda *stage: told.append(stage)
    )
    assert told[-1][0] == "batches"
    return json.loads(json.dumps(record))


def test_a_context_that_the_model_does_not_hold_becomes_its_longest(found):
    longest = 1024 - max(growth.SIZES)
    assert found["settings"]["contexts"] == [16, longest]
    assert {row["context"] for row in found[PASSED]} == {16, longest}
    assert {row["context"] for row in found[BATCHED]} == {growth.BATCH_CONTEXT}


def test_everything_is_measured_as_often_as_asked(found):
    assert [row["arm"] for row in found[READ]] == ["transformers float32"] * 2
    assert {row["size"] for row in found[PASSED]} == set(growth.SIZES)
    assert {row["num"] for row in found[BATCHED]} == set(growth.BATCHES)
    rows = [row for what in (READ, PASSED, BATCHED) for row in found[what]]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in rows)


def test_costs_are_ratios_within_a_round():
    rows = [
        {"arm": "a", "context": 8, "size": 1, "seconds": [1.0, 2.0, 4.0]},
        {"arm": "a", "context": 8, "size": 4, "seconds": [1.5, 3.0, 8.0]},
    ]
    known = growth_page.costs({PASSED: rows}, "a", 8)
    assert known[1].value == 1
    assert (known[4].value, known[4].ends) == (1.5, (1.5, 2.0))


def test_rates_count_every_request():
    assert growth_page.rate(4, [0.5, 0.5]).value == 8


def test_tables_and_charts_have_every_executor(found):
    said, drawn = growth_page.tables(found), growth_page.image(found)
    assert said.count("transformers float32") == 4
    assert "| 992 " in said
    assert drawn.count("<polyline") == 3 + 2
    assert "nan" not in drawn.lower()
    heights = [float(y) for y in re.findall(r'cy="([-\d.]+)"', drawn)]
    assert all(0 <= height <= 212 for height in heights)


def test_the_page_of_the_documents_says_what_was_cut(found):
    pages = documents(found)
    assert set(pages) == {"results/growth.md", "images/growth.svg"}
    assert "8,000 were asked for; the model holds 1,024." in pages["results/growth.md"]
    assert "take turns in one run; medians of 2 rounds" in pages["results/growth.md"]


def test_an_executor_that_is_named_must_run_here(tiny):
    with pytest.raises((InputError, ModelError), match="executor"):
        growth.measure(tiny, ["transformers", "no-such-one"], contexts=(8,), rounds=2)


@pytest.mark.parametrize("holds", [16, 32])
def test_a_model_too_short_for_the_largest_pass_is_refused(tiny, monkeypatch, holds):
    limits = SimpleNamespace(max_length=holds)
    engine = SimpleNamespace(target=SimpleNamespace(executor=SimpleNamespace(limits=limits)))
    monkeypatch.setattr(growth, "_loaded", lambda *given: {"a": engine})
    with pytest.raises(InputError, match=f"the model's context is {holds} tokens, the largest pass has 32; give a"):
        growth.measure(tiny)


@pytest.mark.parametrize(("given", "says"), [({"rounds": 1}, "rounds is 1; allowed is 2 or more")])
def test_too_little_is_refused(given, says, tiny):
    with pytest.raises(InputError, match=says):
        growth.measure(tiny, **given)


def test_the_command_writes_record_and_charts(tiny, tmp_path, capsys):
    assert main(["bench", "--quick", "--growth", "transformers:float32", "-m", tiny, "-o", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "growth.json").read_text())
    assert record["settings"]["arms"] == ["transformers float32"]
    assert tiny not in json.dumps(record)
    assert (tmp_path / "out" / "growth.svg").read_text().startswith("<svg")
    told = capsys.readouterr()
    assert "V(k) of transformers float32" in told.out
    assert "growth.svg" in told.err
