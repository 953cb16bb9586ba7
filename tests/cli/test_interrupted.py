"""Ctrl-C: exit code 130 from every verb, and the cursor is back; SIGTERM ends a server whatever it is doing."""

import io
import signal
import subprocess
import sys
from contextlib import closing, nullcontext, suppress
from types import SimpleNamespace

import pytest
from rich.console import Console

from seeahead import cli
from seeahead.bench.record import PLAIN
from seeahead.cli import terminal
from seeahead.cli.live import Board
from seeahead.data.suite import Question
from seeahead.serve import run as serve_run


def on_a_terminal():
    stream = io.StringIO()
    return stream, Console(file=stream, force_terminal=True, width=80, _environ={"TERM": "xterm"})


def gives_the_cursor_back(stream):
    shown = stream.getvalue()
    return shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_drawn_board_gives_the_cursor_back():
    stream, console = on_a_terminal()
    with suppress(KeyboardInterrupt), closing(Board(console, lambda: None)) as board:
        board.begin([PLAIN, "lookup"], 1)
        board.ask(Question("describe", ("cat.jpg",), "What is this?", 32))
        interrupted()
    assert gives_the_cursor_back(stream)


def test_a_drawn_bar_gives_the_cursor_back():
    stream, console = on_a_terminal()
    with suppress(KeyboardInterrupt), terminal.Progress(notes=console) as progress:
        progress("loading", 0.5)
        interrupted()
    assert gives_the_cursor_back(stream)


@pytest.mark.parametrize("words", [["generate", "hi"], ["demo"], ["bench", "--quick"], ["train", "drafter", "-o", "x"]])
def test_every_verb_that_runs_long_ends_with_130(monkeypatch, words, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"seeahead.cli.{words[0]}.run", interrupted)
    assert cli.main(words) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("started", [True, False])
def test_a_server_ends_well_by_ctrl_c_once_it_answers(monkeypatch, started):
    stopped = []
    server = SimpleNamespace(run=interrupted, started=started)
    monkeypatch.setattr(serve_run, "server_of", lambda *_: server)
    owner = SimpleNamespace(stop=stopped.append)
    with nullcontext() if started else pytest.raises(KeyboardInterrupt):
        serve_run.serve(None, owner, None, None)
    assert stopped, "in either case"


SWALLOWS = """
import signal

try:
    signal.raise_signal(signal.SIGTERM)
except BaseException:
    raise ImportError from None
"""
IMPORTS = """
import time
from seeahead.cli.serve import _ends_well

with _ends_well():
    import swallows
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_server_that_is_told_to_end_within_an_import_ends_after_it(tmp_path):
    """Modules in C++ make an ImportError of what is raised while they begin."""
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    ended = subprocess.run([sys.executable, "-c", IMPORTS], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "")
