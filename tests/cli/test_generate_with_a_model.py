"""`seeahead generate` end to end on tiny models in folders: real answers, and refusals that only a model can know."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from seeahead.cli import main
from seeahead.testing import tiny_model, tiny_processor

CONTEXT = 96


def save(folder, model_type, **changes):
    tiny_model(model_type, **changes).save_pretrained(folder)
    tiny_processor(model_type).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return save(tmp_path_factory.mktemp("llava"), "llava", max_position_embeddings=CONTEXT)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save(tmp_path_factory.mktemp("llama"), "llama", max_position_embeddings=CONTEXT)


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    path = tmp_path / "cat.png"
    Image.new("RGB", (20, 30), "orange").save(path)
    return str(path)


def answered(words, capsys):
    assert main(["generate", *map(str, words), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def refused(words, capsys):
    assert main(["generate", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("seeahead: error: ")
    return line


def test_pictures_matter_and_drafters_do_not(llava, llama, picture, capsys):
    asked = ["-m", llava, "--max-new-tokens", 20, "What?"]
    blind = answered([*asked, "-d", "none"], capsys)
    seen = [answered([*asked, "-i", picture, "-d", drafter], capsys) for drafter in ("none", "lookup", llama)]
    assert len(blind["token_ids"]) == 20
    assert blind["token_ids"] != seen[0]["token_ids"]
    assert seen[0]["token_ids"] == seen[1]["token_ids"] == seen[2]["token_ids"]
    assert [value["drafter"] for value in seen] == ["none", "lookup", "language"]


def test_the_same_seed_is_the_same_answer_whatever_the_drafter(llava, capsys):
    asked = ["-m", llava, "--max-new-tokens", 16, "--temperature", 1, "What?"]
    values = [
        answered([*asked, "--seed", seed, "-d", drafter], capsys)
        for seed, drafter in ((3, "none"), (3, "lookup"), (4, "none"))
    ]
    assert values[0]["token_ids"] == values[1]["token_ids"] != values[2]["token_ids"]


def test_printed_text_is_the_text_of_the_json(llava, capsys):
    words = ["-m", llava, "--max-new-tokens", 12, "What?"]
    value = answered(words, capsys)
    assert main(["generate", *map(str, words)]) == 0
    assert capsys.readouterr().out == value["text"] + "\n"


def test_a_prompt_beyond_the_context_says_both_numbers(llava, capsys):
    line = refused(["-m", llava, "a" * 300], capsys)
    assert f"maximum context length is {CONTEXT}" in line
    assert "the prompt has 3" in line


def test_an_answer_is_cut_where_the_context_ends(llava, capsys):
    value = answered(["-m", llava, "--max-new-tokens", 5000, "a" * 40], capsys)
    assert value["finish_reason"] == "context"
    assert value["num_prompt_tokens"] + len(value["token_ids"]) == CONTEXT


def test_a_text_model_refuses_pictures(llama, picture, capsys):
    assert "reads text only" in refused(["-m", llama, "-i", picture, "What?"], capsys)


def test_a_drafter_of_another_vocabulary(llava, tmp_path, capsys):
    other = save(tmp_path / "other", "llama", vocab_size=2000)
    table = json.loads((other / "tokenizer.json").read_text())
    table["model"]["vocab"] = {f"other {word}": number for word, number in table["model"]["vocab"].items()}
    (other / "tokenizer.json").write_text(json.dumps(table))  # where words agree, a table may be larger
    capsys.readouterr()  # transformers draws a bar while it saves; only our own words are judged
    line = refused(["-m", llava, "-d", other, "What?"], capsys)
    assert "2000 tokens are not the target's 160" in line
    assert "drafter='lookup'" in line or "lookup" in line


def test_an_incomplete_checkpoint_names_what_is_missing(llava, tmp_path, capsys):
    for file in llava.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "mlp" in name)
    del weights[gone]
    save_file(
        {name: torch.clone(value) for name, value in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    line = refused(["-m", tmp_path, "What?"], capsys)
    assert "incomplete" in line
    assert "mlp" in line


def test_a_truncated_checkpoint(llava, tmp_path, capsys):
    for file in llava.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert "cannot be loaded" in refused(["-m", tmp_path, "What?"], capsys)


def test_folders_that_are_no_models(tmp_path, capsys):
    assert "'config.json' in" in refused(["-m", tmp_path, "What?"], capsys)
    assert "neither a folder nor a hub id" in refused(["-m", tmp_path / "no" / "where", "What?"], capsys)
