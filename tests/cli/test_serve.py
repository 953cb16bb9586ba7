"""The command line of the server: what it makes of its options, before a model is loaded."""

import argparse

import pytest

from seeahead.cli import main, serve
from seeahead.errors import InputError
from seeahead.serve.settings import settings_from


def settings(*words):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return serve._settings(parser.parse_args(words))


def test_defaults_are_those_of_the_settings():
    assert settings() == settings_from(model_name="demo")


def test_options_become_settings():
    pages = "--allowed-origin", "https://page.test", "--allowed-host", "one.test", "--allowed-host", "two.test"
    prefix = "--root-path", "/some/prefix/"
    given = settings("--port", "0", "--timeout", "2.5", "--num-at-once", "3", "--max-pixels", "900", *pages, *prefix)
    wanted = {
        "port": 0,
        "timeout_seconds": 2.5,
        "max_pixels": 900,
        "num_at_once": 3,
        "allowed_origins": ("https://page.test",),
    }
    wanted["allowed_hosts"] = ("one.test", "two.test")
    wanted["root_path"] = "/some/prefix"
    assert given == settings_from(model_name="demo", **wanted)


def test_keys_come_from_the_environment_and_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv(serve.KEYS, "one two")
    keys = tmp_path / "keys.txt"
    keys.write_text("three\n\nfour\n")
    assert settings("--api-key-file", str(keys)).api_keys == ("one", "two", "three", "four")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--port", "65536"), ("--timeout", "0"), ("--num-at-once", "0"), ("--served-model-name", "x" * 201)),
        *(("--root-path", path) for path in ("prefix", "/a b", "/a//b", "/?a", "https://my.test/a")),
    ],
)
def test_a_refusal_names_the_option(option, value):
    with pytest.raises(InputError, match=f"^{option} is "):
        settings(option, value)


def test_a_refusal_says_what_is_allowed():
    with pytest.raises(InputError, match="--port is '65536'; allowed: at most 65535"):
        settings("--port", "65536")


def test_a_name_that_no_host_can_have_is_one_line(never_loaded, capsys):
    assert main(["serve", "--host", "a..b"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'a..b' port 8000 cannot be listened on: it is no name of a host; choose another --host" in line


def test_every_drafter_is_known_before_a_model_is_loaded(never_loaded, capsys):
    assert main(["serve", "--port", "0", "-d", "lookup", "-d", "langage"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'language'?" in line
