"""`seeahead completion`: shells that are here read it, and complete by it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from seeahead.cli import VERBS, main, parser_of
from seeahead.cli.completion import SHELLS
from seeahead.executors import DTYPES, conversion
from seeahead.families import loading

ASK = {
    "bash": 'source "$1"; COMP_WORDS=({}); COMP_CWORD=$(({} - 1)); _seeahead; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": "source $argv[1]; complete -C '{}' | string split -f1 \\t",
}


@pytest.fixture
def script(tmp_path, capsys):
    def write(shell):
        assert main(["completion", shell]) == 0
        path = tmp_path / f"seeahead.{shell}"
        path.write_text(capsys.readouterr().out)
        return str(path)

    return write


def here(shell):
    return shutil.which(shell) or pytest.skip(f"no {shell} here")


@pytest.mark.parametrize("shell", SHELLS)
def test_it_names_every_verb_and_option_and_the_shell_can_read_it(shell, script):
    path = script(shell)
    text = Path(path).read_text(encoding="utf-8")
    for verb in VERBS:
        assert verb in text
        for action in parser_of(verb)._actions:
            assert all(name.lstrip("-") in text for name in action.option_strings)
    result = subprocess.run([here(shell), "-n", path], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("shell", sorted(ASK))
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["seeahead", "gen"], {"generate"}),
        (["seeahead", "help", "rep"], {"report"}),
        (["seeahead", "generate", "--tem"], {"--temperature"}),
        (["seeahead", "train", ""], {"drafter"}),
        (["seeahead", "bench", "--set"], {"--set-up-peers"}),
        (["seeahead", "bench", "--executor", "open"], {"openvino"}),
        (["seeahead", "generate", "--dtype", "int"], {"int8", "int4"}),
        (["seeahead", "bench", "--suite", "three"], {"three-tasks"}),
        (["seeahead", "generate", "-d", "tab"], {"tabed"}),
    ],
)
def test_words_are_completed(shell, typed, completed, script, tmp_path):
    if shell == "bash":
        asked = ASK[shell].format(" ".join(word or "''" for word in typed), len(typed))
        words = [here(shell), "-c", asked, "bash", script(shell)]
    else:
        words = [here(shell), "-c", ASK[shell].format(" ".join(typed)), script(shell)]
    result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert set(result.stdout.split()) - {f"seeahead.{shell}"} == completed, result.stderr


def test_dtypes_are_those_that_are_loaded():
    assert set(DTYPES) == {"auto", *loading.DTYPES, *conversion.PRECISIONS}


def test_an_unknown_shell_is_told_which_there_are(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "choose from" in capsys.readouterr().err
