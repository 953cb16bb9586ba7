"""Words, texts and folders that look right and are not: one line each, before anything is done with them."""

import io
import json
import sys

import pytest
from PIL import Image

from seeahead import bench
from seeahead.cli import generate, main
from seeahead.cli.defaults import defaults
from seeahead.data.conversations import conversations_from
from seeahead.data.corpora import read_texts
from seeahead.data.own_data import load_own
from seeahead.drafters import check_names, spec_of
from seeahead.errors import DrafterError, InputError
from seeahead.generation_config import check_settings


def settings_of(*words):
    arguments = generate.argparse.ArgumentParser()
    generate.add_arguments(arguments)
    return generate.read_settings(arguments.parse_args(["hi", *words]))


@pytest.mark.parametrize(("word", "value"), [("False", False), ("false", False), ("True", True), ("None", None)])
def test_a_flag_in_pythons_spelling_is_that_flag(word, value):
    assert settings_of("--option", f"do_sample={word}") == {"do_sample": value}


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": "no"},
        {"renormalize_logits": 1},
        {"remove_invalid_values": "False"},
        {"exponential_decay_length_penalty": [5, "x"]},
        {"exponential_decay_length_penalty": 5},
    ],
)
def test_values_that_nothing_else_checks_are_checked(settings):
    from transformers import GenerationConfig

    with pytest.raises(InputError, match=f"{next(iter(settings))} is .*; allowed: "):
        check_settings(GenerationConfig(), settings, None, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lookup:own=x", "has no setting 'own'"),
        ("language:source=out/mine", "has no setting 'source'; give a folder itself as drafter"),
        ("lookup:depth", "'depth' in drafter 'lookup:depth' is not a setting; write settings as lookup:NAME=VALUE"),
        ("language:tuned", "write settings as language:NAME=VALUE"),
        ("lookup:as=target", "allowed: any name but target"),
    ],
)
def test_settings_of_drafters_that_are_none_are_told(text, says):
    with pytest.raises(DrafterError, match=says):
        spec_of(text)


def test_nothing_is_no_training_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "mine.png")
    for source, says in {"": "--data is empty", " ": "--data is empty", "sharegpt=": "names no folder"}.items():
        with pytest.raises(InputError, match=says):
            conversations_from(source, 5)
    assert len(conversations_from(".", 5)) == 1


def test_a_name_that_is_no_text_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("seeahead.api.load", lambda *_, **__: pytest.fail("nothing is to be loaded"))
    with pytest.raises(InputError, match="is not valid text"):
        bench.run("demo", ["lookup:as=caf\udce9"], "demo")
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(folder / "a.png")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="is not valid text"):
        load_own(generate.Path(), count=None, seed=0, max_new_tokens=5)
    check_names(["lookup"], {})


def test_no_question_has_room_for_more_tokens_than_a_record_takes(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="the limit of new tokens is 9999999999999; give 1 to 1,000,000"):
        load_own(tmp_path, count=None, seed=0, max_new_tokens=9999999999999)


@pytest.mark.parametrize("data", ["\ufeffÄrger?\r\n".encode(), "Ärger?\n\n".encode()])
def test_a_text_from_elsewhere_comes_without_its_mark_and_its_ends_of_lines(data, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert generate.read_prompt("-") == "Ärger?"
    monkeypatch.setattr(generate, "_MOST_BYTES", 3)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(InputError, match="has more than 3 bytes"):
        generate.read_prompt(None)


def test_a_corpus_in_another_encoding_is_not_learned_from(tmp_path):
    (tmp_path / "novel.txt").write_bytes("Es war einmal.".encode("utf-16"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_texts(str(tmp_path / "novel.txt"), tmp_path)


def test_no_memory_is_one_line(monkeypatch, capsys):
    class OutOfMemoryError(RuntimeError):
        pass

    for error in (MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 9 bytes")):
        monkeypatch.setattr("seeahead.cli._dispatch", lambda words, error=error: (_ for _ in ()).throw(error))
        assert main(["info"]) == 2
        assert "no memory is left for this" in capsys.readouterr().err
    monkeypatch.setattr("seeahead.cli._dispatch", lambda words: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info"])


def test_the_home_folder_in_a_file_of_settings_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('model = "~/qwen"\ndrafter = "~/d"\n')
    monkeypatch.setenv("SEEAHEAD_CONFIG", str(tmp_path / "mine.toml"))
    monkeypatch.setenv("HOME", "/somewhere")
    assert (defaults().model, defaults().drafter) == ("/somewhere/qwen", "/somewhere/d")


def test_a_message_with_one_image_under_another_name_is_told(tmp_path):
    path = tmp_path / "talk.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "What?"}], "image": "cat.jpg"}))
    with pytest.raises(InputError, match='unknown key "image"; did you mean "images"'):
        conversations_from(path, 5)


@pytest.mark.parametrize("roles", [["user", "system", "assistant"], ["user", "system"]])
def test_a_system_message_is_the_first_or_none(tmp_path, roles):
    path = tmp_path / "talk.jsonl"
    path.write_text(json.dumps({"messages": [{"role": role, "content": role} for role in roles]}))
    with pytest.raises(InputError, match="after a system message, user and assistant take turns"):
        conversations_from(path, 5)
