"""`seeahead check`: the table of the long proof, its JSON, and the exit codes."""

import json

import pytest

from seeahead.cli import main
from seeahead.executors.slots import SlotCache


def test_everything_holds_for_a_sound_model(tiny, capsys):
    assert main(["check", "-m", tiny, "-d", "lookup:min_match=1", "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    found = json.loads(line)
    assert found["holds"]
    checks = [row["check"] for row in found["rows"]]
    assert any("a tree after an image" in check for check in checks)
    assert any("after an image, drafter random tree" in check for check in checks)
    assert any("drafter lookup:min_match=1" in check for check in checks)
    assert all(row["figure"] == "identical to generate" for row in found["rows"] if "drafter" in row["check"])
    assert main(["check", "-m", tiny]) == 0
    shown = capsys.readouterr().out
    assert "everything holds" in shown
    assert "identical to generate" in shown


def test_a_fault_is_in_the_table_and_in_the_exit_code(tiny, monkeypatch, capsys):
    keep = SlotCache.keep
    monkeypatch.setattr(SlotCache, "keep", lambda self, start, rows: keep(self, start, range(len(rows))))
    assert main(["check", "-m", tiny, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["holds"]
    failed = [row["check"] for row in found["rows"] if not row["holds"]]
    assert any("a second tree" in check for check in failed)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m", "nowhere"], "is neither a folder nor a hub id"),
        (["-d", "lokup"], "did you mean 'lookup'"),
        (["--dtype", "int3"], "dtype 'int3' is not supported"),
        (["--device", "tpu"], "device 'tpu' is not available here"),
    ],
)
def test_wrong_input_is_one_line(words, told, capsys, request):
    if "-m" not in words:
        request.getfixturevalue("never_loaded")
    assert main(["check", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
