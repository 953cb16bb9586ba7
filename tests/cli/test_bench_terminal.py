"""What `seeahead bench` prints of a stranger's names and ids: nothing that steers a terminal."""

import json
import shutil

from seeahead.bench import growth, growth_page
from seeahead.cli import main
from seeahead.data.suite import BUNDLED as IMAGES

STEERING = "\x1b]0;title\x07\x1b[31m\u202e"


def test_what_steers_a_terminal_in_a_file_of_questions_does_not_reach_it(tiny, tmp_path, capsys):
    shutil.copy(IMAGES / "cat.jpg", tmp_path / "cat.jpg")
    (tmp_path / "half.jpg").write_bytes((IMAGES / "cat.jpg").read_bytes()[:5000])
    rows = [{"id": f"{name}{STEERING}", "image": name, "turns": ["What is this?"]} for name in ("cat.jpg", "half.jpg")]
    questions = tmp_path / f"my{STEERING}.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["bench", "--quick", "--data", str(questions), "-m", tiny, "-d", "lookup", "-o", str(tmp_path / "out")]
    assert main([*words, "--max-new-tokens", "4"]) == 0
    told = capsys.readouterr()
    assert "half.jpg" in told.out
    assert not {"\x1b", "\x07", "\u202e"} & {*told.out, *told.err}


def test_what_steers_a_terminal_does_not_reach_it_from_growth(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(growth, "measure", lambda *given, **more: {})
    monkeypatch.setattr(growth_page, "image", lambda found: "<svg/>")
    monkeypatch.setattr(growth_page, "tables", lambda found: f"of {STEERING}")
    assert main(["bench", "--growth", "-o", str(tmp_path)]) == 0
    assert not {"\x1b", "\x07", "\u202e"} & {*capsys.readouterr().out}
