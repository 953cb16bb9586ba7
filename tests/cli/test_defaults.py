"""What need not be said each time: the command line wins over the environment, and that over a file."""

import argparse

import pytest

from seeahead.cli import main
from seeahead.cli.defaults import Defaults, defaults
from seeahead.cli.options import add_target
from seeahead.errors import InputError, ModelError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config" / "seeahead" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def parsed(*words, **settings):
    parser = argparse.ArgumentParser()
    add_target(parser, "a drafter", **settings)
    return vars(parser.parse_args(words))


def test_nothing_said_is_the_demo_as_it_runs_best():
    assert defaults() == Defaults()
    autos = dict.fromkeys(("dtype", "executor", "device"), "auto")
    assert parsed() == {"model": "demo", "drafter": None, "cache_dir": None, **autos}


def test_the_command_line_wins_then_the_environment_then_the_file(file, monkeypatch):
    file.write_text('model = "from-file"\ndrafter = "msd"\ndtype = "int8"\n')
    monkeypatch.setenv("SEEAHEAD_MODEL", "from-environment")
    monkeypatch.setenv("SEEAHEAD_EXECUTOR", "openvino")
    monkeypatch.setenv("SEEAHEAD_DTYPE", "")
    found = parsed("--executor", "transformers")
    assert (found["model"], found["drafter"], found["dtype"]) == ("from-environment", "msd", "int8")
    assert found["executor"] == "transformers"
    assert parsed("-m", "given")["model"] == "given"
    assert parsed("-d", "lookup", takes_several=True)["drafter"] == ["lookup"], "alone, without the default beside it"
    assert parsed(asks_user=False)["model"] == "demo"


def test_a_file_may_lie_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('device = "cpu"')
    monkeypatch.setenv("SEEAHEAD_CONFIG", str(tmp_path / "mine.toml"))
    assert parsed()["device"] == "cpu"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = 3", "model is 3; allowed: a text in quotes"),
        ("modell = 'x'", "unknown modell; allowed here: cache_dir, device, drafter, dtype, executor, model"),
        ("model = ", "is not TOML"),
        (f"model = {'[' * 10_000}", "is not TOML: nested too deep"),
        (f"model = {'1' * 5_000}", "is not TOML: Exceeds the limit"),
        ("[model]\nname = 'x'", "allowed: a text in quotes"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(file, text, told, capsys):
    file.write_text(text)
    assert main(["generate", "hello"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert told in said
    assert "config.toml" in said


def test_a_file_that_is_not_there_is_told_where_it_was_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SEEAHEAD_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match="is missing; give a file of lines"):
        defaults()


def test_the_overview_says_so_and_needs_no_file(file, capsys):
    file.write_text("broken")
    assert main([]) == 0
    assert "SEEAHEAD_MODEL" in capsys.readouterr().out


def test_homes_that_nobody_knows_are_one_line_or_nothing(monkeypatch, capsys):
    assert main(["info", "--cache-dir", "~nosuch-user/x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "~nosuch-user" in line

    def unknown():
        raise ModelError("no home folder is known")

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("seeahead.cli.defaults.home", unknown)
    assert defaults() == Defaults()
