"""`seeahead demo` as a whole, on a tiny LLaVA: what it prints, writes and refuses."""

import io
import json

import pytest
from rich.console import Console

from seeahead import bench
from seeahead.bench.benchmark import ASKING, Result
from seeahead.bench.benchmark import _drafters as usual_drafters
from seeahead.bench.figures import SHORT
from seeahead.bench.record import PLAIN
from seeahead.bench.summary import summarize
from seeahead.cli import demo, main, terminal
from seeahead.cli.live import Board
from seeahead.data.suite import Question
from seeahead.errors import InputError
from seeahead.testing import tiny_model, tiny_processor
from tests.bench.exchanges import drafted_run, plain_run
from tests.bench.made_record import made_record


def test_a_quick_run_ends_with_the_table_and_the_page(tiny, tmp_path, capsys):
    page = tmp_path / "out" / "demo.html"
    assert main(["demo", "--quick", "-m", tiny, "-o", str(page)]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    assert "1/3 caption · fire_engine.jpg" in captured.out
    assert "same answer" in captured.out
    assert "speed-up" in captured.out
    assert "geometric mean" in captured.out
    assert "warming up" in captured.err
    assert f"written: {page}" in captured.err.replace("\n", "")
    assert "</html>" in page.read_text(encoding="utf-8")


def test_json_is_alone_on_stdout(tiny, capsys):
    assert main(["demo", "--quick", "-m", tiny, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    value = json.loads(line)
    assert [entry["method"] for entry in value["methods"]] == ["none", "lookup", "auto"]
    assert all(entry["num_identical"] == entry["num_answers"] == 3 for entry in value["methods"])
    assert value["differences"] == []
    assert (value["model_type"], value["dtype"], value["device"]) == ("llava", "float32", "cpu")
    assert tiny not in line


def test_several_drafters_may_have_one_name(tiny, capsys):
    assert main(["demo", "--quick", "-m", tiny, "-d", "lookup", "-d", "lookup", "-d", "none", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [entry["method"] for entry in value["methods"]] == ["none", "lookup", "lookup 2"]


def test_a_model_that_cannot_see_is_asked_in_words_only(tmp_path, capsys):
    tiny_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path)
    tiny_processor("llama").save_pretrained(tmp_path)
    assert main(["demo", "-m", str(tmp_path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert {round_["question"]["scenario"] for round_ in value["rounds"]} == {"text only, short", "text only, long"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-d", "langage"], "did you mean 'language'?"),
        (["-o", "."], "cannot be written as a file"),
        (["-o", "pyproject.toml/page.html"], "cannot be written as a file"),
        (["--dtype", "int3"], "allowed are auto, float32"),
        (["--device", "abacus"], "is not available here"),
        (["-m", "no/such/folder"], "neither a folder nor a hub id"),
        (["extra"], "see seeahead demo --help"),
    ],
)
def test_wrong_input_is_one_line(words, says, capsys, request):
    if "-m" not in words:
        request.getfixturevalue("never_loaded")
    assert main(["demo", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("seeahead: error: ")
    assert says in line


def test_help_names_the_drafters_that_run(capsys):
    assert main(["demo", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    of_demo, of_others = (", ".join(usual_drafters(None, name)) for name in ("demo", "other"))
    assert f"(default: {of_demo}; with another model {of_others})" in told


def test_what_the_user_has_set_for_other_verbs_is_not_the_demos(monkeypatch):
    for name in ("MODEL", "DRAFTER", "DTYPE", "EXECUTOR", "DEVICE"):
        monkeypatch.setenv(f"SEEAHEAD_{name}", "abacus")
    asked = {}

    def run(model, drafters, questions, **more):
        asked.update(model=model, drafters=drafters, **more)
        raise InputError("enough")

    monkeypatch.setattr(bench, "run", run)
    assert main(["demo"]) == 2
    told = [asked[name] for name in ("model", "drafters", "dtype", "executor", "device")]
    assert told == ["demo", None, "float32", "auto", "auto"]


@pytest.mark.parametrize(("words", "is_said"), [([], True), (["-m", "owner/other"], False)])
def test_the_board_says_of_the_demo_model_alone_how_small_it_is(words, is_said, monkeypatch, capsys):
    """As soon as the asking begins."""

    def run(*given, watch, **more):
        watch.begin([PLAIN, "lookup"], 1)
        raise InputError("enough")

    monkeypatch.setattr(bench, "run", run)
    assert main(["demo", *words]) == 2
    assert (demo.ABOUT in " ".join(capsys.readouterr().out.split())) == is_said


def played(console, **how):
    board, question = Board(console, lambda: None), Question("describe", ("cat.jpg",), "What is this?", 32)
    board.begin([PLAIN, "lookup"], 1)
    board.ask(question)
    for run in (plain_run(), drafted_run(**how)):
        for text, origin in run.pieces:
            board.piece(run.method, text, origin)
        board.finish(run)
    board.close()


def test_on_a_terminal_the_answers_fill_columns_in_colour():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=100, _environ={"TERM": "xterm"})
    played(console)
    shown = stream.getvalue()
    assert "\x1b[1;32m drafted" in shown
    assert "= same answer" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is given back


def test_no_word_is_cut_off_in_a_narrow_terminal():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=40, color_system=None, _environ={"TERM": "xterm"})
    played(console)
    assert "…" not in stream.getvalue()
    assert stream.getvalue().count("plain") >= 1


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_no_figure_is_cut_off_in_a_narrow_terminal(width):
    stream = io.StringIO()
    names = ("drafter", "τ", "tokens/s", "speed-up", "end to end", "identical", "host")
    rows = [("plain", "1.00", "37.3", "1.00×", "1.00×", "55 of 55", "1 %"), ("msd", *["3.14"] * 6)]
    demo.show_figures(Console(file=stream, width=width), names, rows)
    shown = stream.getvalue()
    assert "…" not in shown
    assert all(value in shown for row in rows for value in row)
    assert all(name in shown for name in names[1:])


def test_after_the_closing_table_stand_few_lines():
    stream, names, record = io.StringIO(), [column.word for column in SHORT], made_record(gaps=())
    demo.show(Console(file=stream, width=1000), Result(record, summarize(record)))
    shown = stream.getvalue().splitlines()
    first = next(number for number, line in enumerate(shown) if line.startswith(f"{names[0]}:"))
    assert [line.partition(":")[0] for line in shown[first:] if line] == names


def test_elsewhere_there_are_lines_without_escape_codes():
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    played(console, wrong_at=2)
    shown = stream.getvalue()
    assert "\x1b" not in shown
    assert "another answer" in shown
    assert "20.0 tokens/s · 3.00 tokens per pass · 1.2 s" in shown


def test_progress_is_a_line_per_stage_where_nobody_looks(capsys):
    with terminal.Progress() as report:
        for share in (0.0, 0.5, 1.0):
            report("building", share)
        report("saving", 0.0)
    assert capsys.readouterr().err.splitlines() == ["seeahead: building …", "seeahead: saving …"]


def test_on_a_terminal_no_bar_is_drawn_beside_the_board(monkeypatch):
    """It would move the lines that the board has drawn, and redraw."""
    drawn, waits = io.StringIO(), "seconds of the loading"
    how = {"file": drawn, "force_terminal": True, "color_system": None, "width": 100, "_environ": {"TERM": "xterm"}}
    monkeypatch.setattr(terminal, "console", lambda **which: Console(**how))
    monkeypatch.setattr(terminal, "is_live", lambda at: True)

    def run(*given, progress, watch, **more):
        progress(waits, 0.5)
        watch.begin([PLAIN, "lookup"], 1)
        drawn.truncate(0)
        progress(ASKING, 0.0)
        progress(ASKING, 0.5)
        raise InputError("enough")

    monkeypatch.setattr(bench, "run", run)
    assert main(["demo"]) == 2
    assert ASKING not in drawn.getvalue()
