"""The script that renders stored results: the documents show what was stored."""

import sys

import pytest

from benchmarks import render
from seeahead.bench.record import write_record
from seeahead.drafters.at_hand import PublishedTable
from tests.bench.made_record import made_record
from tests.drafters.head_folders import DIALECTS


def test_results_stand_between_the_markers():
    block = "| a | b |"
    text = f"before\n{render.BEGIN}\nold\n{render.END}\nafter\n"
    fresh = render.rendered(text, block)
    assert fresh == f"before\n{render.BEGIN}\n{block}\n{render.END}\nafter\n"
    assert render.rendered(fresh, block) == fresh
    assert render.rendered(fresh, "") == f"before\n{render.BEGIN}\n{render.END}\nafter\n"
    with pytest.raises(ValueError, match="has no"):
        render.rendered(f"{render.BEGIN} only", block)


PAGES = {render.CLAIMS, render.GLOSSARY, render.OPTIONS, render.PUBLISHED, render.COMMANDS, render.INDEX}
"""Of tables that are no results, and the list of those."""


def test_every_record_gets_its_documents(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    for name in (render.README, render.GLOSSARY):
        (tmp_path / name).write_text(f"{render.BEGIN}\n{render.END}\n")
    (tmp_path / render.COMMANDS).write_text("\n".join(render.OF_COMMANDS))
    assert set(render.fresh_documents(tmp_path)) == {"README.md", *PAGES}
    write_record(tmp_path / "results" / "bench-demo.json", made_record())
    write_record(tmp_path / "results" / "bench-x.json", made_record())
    found = render.fresh_documents(tmp_path)
    assert {"docs/results/bench-x.md", "docs/images/bench-x-speed.svg"} <= set(found)
    assert found["README.md"].count("| plain ") == 1, "the main run alone has its table in the README"
    assert "](bench-x.md): ten scenarios" in found["docs/results/README.md"]
    assert "docs/choosing-a-drafter.md" in found


def test_a_study_of_several_machines_shows_each_of_them(tmp_path):
    path, *_ = (render.ROOT / "results").glob("gpu-*.json")
    stored, names = path.read_text(encoding="utf-8"), ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    for number, one in enumerate(names):
        (tmp_path / f"gpu-{number}.json").write_text(stored.replace(names[0], one), encoding="utf-8")
    records = render.stored_study(tmp_path, "gpu")
    [page] = render.STUDIES["gpu"][0](records).values()
    part = render.STUDY_METHODS["gpu"][0](records)
    for one in names:
        assert page.count(f"\n## {one}\n") == 1
        assert part.count(f"{one}, torch ") == 1
    assert render.stored_study(tmp_path, "growth") is None


def test_the_page_of_a_method_begins_with_the_chart_of_its_run():
    for run, page in render.METHODS.items():
        head = (render.ROOT / page).read_text(encoding="utf-8").partition("\n## ")[0]
        assert f"](../images/{run}-speed.svg)" in head, page


def test_the_documents_show_what_is_stored(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    assert render.main() == 0, capsys.readouterr().out


def test_every_stored_result_is_on_a_page_or_has_a_script_that_makes_it_again():
    stored = {path.stem for path in (render.ROOT / "results").rglob("*.json")}
    shown = {name for name in stored if name.startswith("bench-")} | set(render.STUDIES)
    shown |= {name for name in stored if name.partition("-")[0] in render.BY_MACHINE}
    scripts = {path.stem.replace("_", "-") for path in (render.ROOT / "benchmarks").glob("*.py")}
    assert stored <= shown | scripts


def test_every_published_drafter_has_a_format_and_every_format_dialects_that_tests_know():
    table = PublishedTable.read()
    formats, rows = table.formats, table.drafters
    assert {row.format for row in rows} == formats.keys()
    assert table.targets.keys() <= {row.target for row in rows}
    assert len({row.id for row in rows}) == len(rows)
    named = [name for one in formats.values() for name in one.dialects]
    assert sorted(named) == sorted(DIALECTS)
    assert all(one.dialects or one.told for one in formats.values())
