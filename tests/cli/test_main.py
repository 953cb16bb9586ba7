"""The manners all verbs share: help, wrong input in one line, interruption, closed pipes."""

import subprocess
import sys
import types
from importlib import import_module

import pytest

from seeahead import __version__, cli
from seeahead.errors import ImageError


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


def test_version(capsys):
    assert cli.main(["--version"]) == 0
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


def test_a_missing_extra_names_what_to_install(verb, capsys):
    verb(failing(ModuleNotFoundError("No module named 'resvg_py'", name="resvg_py")))
    assert cli.main(["probe"]) == 2
    assert "pip install 'seeahead[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("gguf", "'seeahead[demo]'"),
        ("accelerate.hooks", "'seeahead[demo]'"),
        ("matplotlib", "'seeahead[train]'"),
        ("resvg_py", "'seeahead[train]'"),
        ("pyarrow", "'seeahead[bench]'"),
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
