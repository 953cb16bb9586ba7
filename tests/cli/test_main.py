"""The manners all verbs share: help, wrong input in one line, interruption, closed pipes."""

import json
import re
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

from seeahead import __version__, cli
from seeahead.cache_folder import default_cache
from seeahead.cli import streams, terminal
from seeahead.cli.options import add_cache
from seeahead.errors import ImageError
from tests.documents import commands_in


@pytest.fixture
def verb(monkeypatch):
    """A verb named `probe` whose run is given by the test."""

    def install(run, add_arguments=lambda parser: None):
        module = types.ModuleType("seeahead.cli.probe", "Probe things.\n\nMore.")
        module.add_arguments, module.run = add_arguments, run
        monkeypatch.setitem(sys.modules, "seeahead.cli.probe", module)
        monkeypatch.setitem(cli.VERBS, "probe", "probe things")

    return install


def failing(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(words, capsys):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown and summary in shown for verb, summary in cli.VERBS.items())


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_listed_verb_exists_and_has_help(name, capsys):
    module = import_module(f"seeahead.cli.{name}")
    assert callable(module.add_arguments)
    assert callable(module.run)
    assert cli.main([name, "--help"]) == 0
    assert f"usage: seeahead {name}" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(word, capsys):
    assert cli.main([word]) == 0
    assert capsys.readouterr().out == f"seeahead {__version__}\n"


def test_an_unknown_verb_names_the_nearest(capsys):
    assert cli.main(["genrate"]) == 2
    assert "did you mean 'generate'?" in capsys.readouterr().err
    assert cli.main(["qqqq"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("given", ["gen", "gene", "inf", "rep"])
def test_the_beginning_of_one_verb_names_it(given, capsys):
    assert cli.main([given]) == 2
    assert f"did you mean '{next(verb for verb in cli.VERBS if verb.startswith(given))}'?" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "meant"), [("helpp", "help"), ("verison", "version"), ("vers", "version")])
def test_words_that_are_no_verbs_are_named_too(given, meant, capsys):
    assert cli.main([given]) == 2
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--cache-dir", "", "hello"],
        ["generate", "-m", "", "hello"],
        ["generate", "--drafter=", "hello"],
        ["demo", "-o", ""],
        ["bench", "-o", ""],
        ["bench", "--data", ""],
        ["report", ""],
        ["serve", "--host", ""],
        ["train", "drafter", "--recipe", "r.toml", "--output="],
        ["export", "out/mine", "--as", "eagle3", "-o", ""],
    ],
    ids=" ".join,
)
def test_what_is_empty_is_not_the_folder_in_which_one_is(words, capsys):
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is empty; " in line


def test_help_explains_one_verb(capsys):
    assert cli.main(["help", "generate"]) == 0
    shown = capsys.readouterr().out
    assert cli.main(["generate", "--help"]) == 0
    assert shown == capsys.readouterr().out
    assert cli.main(["help", "genrate"]) == 2
    assert "did you mean 'generate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "out/x"), "'out/x' cannot be used: No space left on device"),
        (PermissionError(13, "Permission denied", "out/x"), "'out/x' cannot be used: Permission denied"),
        (OSError(28, "No space left on device"), "cannot read or write: No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_one_line(error, says, verb, capsys):
    verb(failing(error))
    assert cli.main(["probe"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_wrong_input_is_one_line_and_exit_code_2(verb, capsys):
    verb(failing(ImageError("first\n  second")))
    assert cli.main(["probe"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "seeahead: error: first second\n"
    assert captured.out == ""


def test_wrong_options_are_one_line_too(verb, capsys):
    verb(lambda args: 0, lambda parser: parser.add_argument("--count", type=int))
    assert cli.main(["probe", "--count", "x"]) == 2
    assert cli.main(["probe", "--none"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("seeahead: error: ") and "seeahead probe --help" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--temprature", "--temperature"), ("--temp=1", "--temperature"), ("--sead", "--seed"), ("-x", None)],
)
def test_an_unknown_option_names_the_nearest(given, meant, capsys):
    assert cli.main(["generate", given, "1", "hello"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"unknown option '{given.partition('=')[0]}'; " in line
    assert ("did you mean" in line) == bool(meant)
    assert f"did you mean '{meant}'? see seeahead generate --help" in line or meant is None


def test_words_too_many_are_shown(capsys):
    assert cli.main(["generate", "What", "is", "this?"]) == 2
    assert "nothing is expected at 'is this?'; put words that belong together in quotes" in capsys.readouterr().err


def test_an_option_before_the_command_is_told_where_it_belongs(capsys):
    assert cli.main(["-q", "generate", "hello"]) == 2
    assert "options follow the command, as in seeahead generate -q" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_has_examples_that_it_takes(name):
    parser = cli.parser_of(name)
    examples = [line for line in (parser.epilog or "").splitlines() if line.startswith("  ")]
    assert parser.epilog.startswith("examples:\n  ")
    for example in examples:
        assert commands_in(example), example
        for words in commands_in(example):
            cli.parser_of(words[0]).parse_args(words[1:])


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_what_several_verbs_have_has_one_name(name):
    names = {name for action in cli.parser_of(name)._actions for name in action.option_strings}
    assert {"-q", "--quiet", "-v", "--verbose", "--debug", "-h", "--help"} <= names
    assert not names & {"--out", "--html", "--markdown", "--cache", "--target", "--path", "--page"}
    assert ("--cache-dir" in names) == (name not in ("report", "export", "completion"))
    assert ("-o" in names) == ("--output" in names) == (name in ("demo", "bench", "report", "train", "export"))


def test_quiet_leaves_errors_and_what_was_asked_for(verb, capsys):
    def run(args):
        with terminal.Progress() as report:
            report("loading", 0.0)
        streams.note("a note")
        streams.say("a figure", is_asked=True)
        raise ImageError("broken")

    verb(run)
    assert cli.main(["probe", "-q"]) == 2
    assert capsys.readouterr().err.splitlines() == ["a figure", "seeahead: error: broken"]
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err.splitlines()[:2] == ["seeahead: loading …", "seeahead: a note"]
    assert cli.main(["probe", "-v"]) == 2
    told = re.sub(r"\d+\.\d s", "N s", capsys.readouterr().err).splitlines()
    assert told[:3] == ["seeahead: N s: loading the model …", "seeahead: N s: loading …", "seeahead: N s: done"]
    assert cli.main(["probe", "-q", "-v"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_debug_shows_where_an_error_was_raised(verb, capsys):
    verb(failing(ImageError("broken")))
    assert cli.main(["probe", "--debug"]) == 2
    *shown, last = capsys.readouterr().err.splitlines()
    assert shown[0] == "Traceback (most recent call last):"
    assert any("in failing" in line or "in run" in line for line in shown)
    assert last == "seeahead: error: broken"


def test_things_are_kept_where_the_user_says(verb, tmp_path, monkeypatch, capsys):
    found = []
    verb(lambda args: found.append(default_cache()) or 0, add_cache)
    for words, environment, folder in (
        (["--cache-dir", str(tmp_path / "mine")], "", tmp_path / "mine"),
        ([], str(tmp_path / "theirs"), tmp_path / "theirs"),
        (["--cache-dir", "~/kept"], str(tmp_path / "theirs"), Path.home() / "kept"),
        ([], "", default_cache()),
    ):
        monkeypatch.setenv("SEEAHEAD_CACHE_DIR", environment)
        assert cli.main(["probe", *words]) == 0
        assert found.pop() == folder
    assert cli.main(["info", "--json", "--cache-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["demo_model"]["folder"].startswith(f"{tmp_path}/demo-")


def test_a_missing_extra_names_what_to_install(verb, capsys):
    verb(failing(ModuleNotFoundError("No module named 'resvg_py'", name="resvg_py")))
    assert cli.main(["probe"]) == 2
    assert "pip install '.[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("gguf", "'.[demo]'"),
        ("accelerate.hooks", "'.[demo]'"),
        ("matplotlib", "'.[train]'"),
        ("resvg_py", "'.[train]'"),
        ("pyarrow", "'.[bench]'"),
        ("some_package.inside", "pip install some_package"),
    ],
)
def test_every_optional_package_names_what_brings_it(module, says, verb, capsys, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    verb(failing(ModuleNotFoundError(f"No module named '{module}'", name=module)))
    assert cli.main(["probe"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the package {module.partition('.')[0]} is not installed" in line
    assert says in line


@pytest.mark.parametrize("module", ["seeahead.x", "rich.no_such_part"])
def test_a_missing_module_of_a_package_that_is_there_is_a_bug(module, verb):
    verb(failing(ModuleNotFoundError(f"No module named '{module}'", name=module)))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["probe"])


def test_a_bug_keeps_its_traceback(verb):
    verb(failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_interruption(verb, capsys):
    verb(failing(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_exit_code_of_a_verb_is_passed_on(verb):
    verb(lambda args: 3)
    assert cli.main(["probe"]) == 3


def test_a_reader_who_leaves_is_no_error():
    code = "import sys; from seeahead import cli; cli._overview = lambda: 'x' * 10**6; sys.exit(cli.main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_help_imports_no_verb_and_no_heavy_package():
    code = (
        "import sys; from seeahead import cli; cli.main(['--help']);"
        "heavy = {'torch', 'transformers', 'PIL', 'numpy', 'rich'};"
        "print(sorted(heavy & set(sys.modules)), [verb for verb in cli.VERBS if f'seeahead.cli.{verb}' in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[] []"


def test_python_m_is_the_same_command():
    result = subprocess.run([sys.executable, "-m", "seeahead", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"seeahead {__version__}\n")
