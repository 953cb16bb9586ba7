"""`seeahead info`: the same facts as tables and as one JSON line."""

import json

import pytest

from seeahead.cli import info, main


@pytest.fixture
def facts():
    return info.collect()


def test_the_facts_are_complete(facts):
    assert set(facts) == {"versions", "devices", "families", "drafters", "demo_model"}
    assert facts["versions"]["torch"]
    assert "float32" in facts["devices"]["cpu"]["dtypes"]
    assert facts["devices"]["cpu"]["num_threads"] >= 1
    assert {"llava", "qwen2_vl", "gemma3", "llama"} <= set(facts["families"])
    assert {"none", "lookup", "language"} <= set(facts["drafters"])
    assert set(facts["demo_model"]) >= {"is_built", "folder", "num_bytes"}


def test_json_is_one_line(facts, capsys):
    assert main(["info", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == facts


def test_the_tables_show_every_fact(facts, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for entries in facts.values():
        assert all(info.LABELS.get(name, name) in shown for name in entries)
    assert "num_" not in shown


def test_in_a_narrow_terminal_a_path_is_broken_and_not_cut(facts, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert facts["demo_model"]["folder"] in "".join(line.strip() for line in shown.splitlines())


@pytest.mark.parametrize(("num", "says"), [(1, "1 core · 1 thread"), (2, "2 cores · 2 threads")])
def test_one_is_singular(num, says):
    assert info._words("cpu", {"num_cores": num, "num_threads": num}) == says


def test_bytes_and_absences_are_written_for_people():
    assert info._words("num_bytes", 36_000_000) == "36 MB"
    assert info._words("torch", None) == "not installed"
    assert info._words("is_built", False) == "no"
