"""Output never fails: any encoding, closed streams, full disks; and stderr has our own lines only."""

import io
import json
import logging
import os
import shlex
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from seeahead import cli
from seeahead.cli import streams, terminal

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def shell(words: str, **environment):
    """A command line through the shell, `seeahead` being this one."""
    command = words.replace("seeahead", f'"{sys.executable}" -m seeahead', 1)
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, errors="replace", env={**os.environ, **environment}
    )


def one_line(result) -> str:
    (line,) = result.stderr.splitlines()
    assert line.startswith("seeahead: error: ")
    assert result.returncode == 2
    return line


EVERY_HELP = """
import sys
from seeahead import cli
sys.exit(max(cli.main([*verb, "--help"]) for verb in ([], *([name] for name in cli.VERBS))))
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environment: next(iter(environment.values())),
)
def test_every_help_text_is_printed_in_every_encoding(environment):
    result = subprocess.run(
        [sys.executable, "-c", EVERY_HELP],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"usage: seeahead {verb}" in result.stdout for verb in ("<command>", *cli.VERBS))


SAYING = """
import sys, types
from seeahead import cli
from seeahead.cli import streams, terminal
def run(args):
    terminal.console().print("τ 🐱 caf\\udce9", soft_wrap=True)
    streams.say("… ·")
    streams.print_json({"text": "π 🐱"})
    return 0
module = types.ModuleType("seeahead.cli.probe")
module.add_arguments, module.run = lambda parser: None, run
sys.modules["seeahead.cli.probe"] = module
cli.VERBS["probe"] = ""
sys.exit(cli.main(["probe"]))
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict", "utf-8:strict", "cp437"])
def test_words_of_a_model_and_json_come_out_in_every_encoding(encoding):
    result = subprocess.run(
        [sys.executable, "-c", SAYING], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert result.returncode == 0, result.stderr
    text, line = result.stdout.decode(encoding.partition(":")[0]).splitlines()
    assert json.loads(line) == {"text": "π 🐱"}
    assert text.startswith(("τ", "\\u03c4"))
    assert text.endswith("caf\\udce9")


@full_disk
@pytest.mark.parametrize("words", ["--version", "--help", "help", "generate --help", "help bench", "info --json"])
def test_a_full_disk_is_one_line(words):
    assert "No space left on device" in one_line(shell(f"seeahead {words} >/dev/full"))


@full_disk
def test_a_stderr_that_takes_nothing_changes_no_exit_code():
    assert shell("seeahead nosuch 2>/dev/full").returncode == 2
    assert shell("seeahead --version 2>/dev/full").returncode == 0
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([sys.executable, "-c", SAYING], stdout=subprocess.PIPE, stderr=full, text=True)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, '{"text": "π 🐱"}')


@pytest.mark.parametrize("words", ["--version", "generate hi", "info"])
def test_a_closed_stdout_is_one_line_before_anything_is_loaded(words):
    assert "standard output is closed" in one_line(shell(f"seeahead {words} >&-"))


def test_a_closed_stdin_has_no_prompt():
    assert "no prompt was given" in one_line(shell("seeahead generate <&-"))
    assert "no prompt was given" in one_line(shell("seeahead generate - <&-"))


def test_notes_do_not_go_to_stdout_where_stderr_is_closed():
    result = subprocess.run(
        f"{shlex.quote(sys.executable)} -c {shlex.quote(SAYING)} 2>&-", shell=True, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2


def test_with_every_stream_closed_it_still_ends_in_order():
    assert shell("seeahead generate hi <&- >&- 2>&-").returncode == 2


def test_what_a_message_carries_cannot_steer_the_terminal(capsys):
    assert cli.main(["\x1b]0;PWNED\x07\x1b[31m"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


def test_warnings_logs_and_bars_of_libraries_are_not_shown_where_the_process_is_ours():
    code = (
        "import sys; sys.argv = ['seeahead', '--version']; from seeahead.cli import main; main();"
        "import warnings, logging; warnings.warn('later', FutureWarning); warnings.warn('never');"
        "logging.getLogger('library').warning('a log line');"
        "from huggingface_hub.utils import are_progress_bars_disabled; print(are_progress_bars_disabled())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stderr, result.stdout.splitlines()[-1]) == ("", "True")


def test_who_asks_python_for_warnings_gets_them():
    code = (
        "from seeahead.cli import main; import sys, warnings; sys.argv[1:] = ['--version']; main(); warnings.warn('x')"
    )
    result = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True)
    assert "UserWarning: x" in result.stderr


def test_called_from_python_the_filters_stay_as_they_are():
    assert cli.main(["--version"]) == 0
    with pytest.raises(UserWarning, match="ours"):
        warnings.warn("ours", UserWarning, stacklevel=1)


def test_no_color_means_plain_text(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert terminal.console().color_system is None
    assert terminal.console(stderr=True).color_system is None


def test_a_bar_has_no_thread_while_something_is_timed():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    before = {*threading.enumerate()}
    with terminal.Progress(timed=("asking",), notes=console) as report:
        report("warming up", 0.5)
        assert {*threading.enumerate()} - before
        for share in (0.0, 0.5, 1.0):
            report("asking", share)
        for thread in {*threading.enumerate()} - before:
            thread.join(60)  # it was told to end
            assert not thread.is_alive()
    assert "warming up" in console.file.getvalue()
    assert "asking" in console.file.getvalue()


def test_a_long_stage_is_a_line_per_twentieth_where_nobody_looks(capsys):
    with terminal.Progress(timed=("asking",)) as report:
        for number in range(81):
            report("asking", number / 80)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["seeahead: asking …", "seeahead: asking 5%", "seeahead: asking 10%"]
    assert len(lines) == 21


@pytest.mark.parametrize(
    "kept", ["1\u00a0000", "\u3042\u3000\u3044", "\u0645\u06cc\u200c\u062e", "\U0001f469\u200d\U0001f4bb", "a\n\tb"]
)
def test_letters_and_joiners_of_every_script_stay(kept):
    assert streams.printable(kept) == kept


@pytest.mark.parametrize("sign", ["\x1b", "\x07", "\r", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"])
def test_what_steers_a_terminal_or_turns_its_lines_does_not(sign):
    assert streams.printable(f"a{sign}b") == "a\ufffdb"


@pytest.fixture
def logs():
    """As in a process that is all ours."""
    own = logging.getLogger("seeahead")
    before = own.level, list(own.handlers)
    streams.set_up_logs()
    streams.set_up_logs()  # nothing is told twice
    yield logging.getLogger("seeahead.part")
    own.setLevel(before[0])
    own.handlers[:] = before[1]
    streams.set_talk(streams.Talk.NORMAL)


def test_what_our_own_code_logs_reaches_the_reader(logs, capsys):
    logs.info("auto drafts with lookup")
    logs.warning("auto goes on\nwithout msd")
    assert capsys.readouterr().err == "seeahead: auto goes on without msd\n"
    streams.set_talk(streams.Talk.VERBOSE)
    logs.info("auto drafts with lookup")
    assert capsys.readouterr().err == "seeahead: auto drafts with lookup\n"


def test_a_server_s_log_has_what_an_answer_failed_of(logs, capsys):
    streams.set_talk(streams.Talk.QUIET)
    logs.warning("no matter")
    try:
        raise ZeroDivisionError("the reason")
    except ZeroDivisionError as error:
        logs.error("request 1234 failed", exc_info=error)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert (first, last) == ("seeahead: request 1234 failed", "ZeroDivisionError: the reason")
