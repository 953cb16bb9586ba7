"""A model's folder is a stranger's word: its code is not run, its pickles are not opened, its names stay inside."""

import json
import pickle

import pytest

import seeahead
from seeahead.errors import ModelError
from seeahead.testing import tiny_model
from tests.families.processors import processor_or_skip


class Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return self.canary.write_text, ("run",)


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "model")
    processor_or_skip("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def is_loaded(folder):
    """Else it is refused on one line."""
    try:
        seeahead.load(folder, device="cpu")
    except ModelError as error:
        message = str(error)
    else:
        return True
    assert "\n" not in message
    return False


def test_code_that_a_folder_brings_is_not_run(folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / "own.py").write_text(f"open({str(canary)!r}, 'w').close()\nOwn = OwnConfig = object\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    assert is_loaded(folder), "the type is one that transformers knows"
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own"}))
    assert not is_loaded(folder)
    assert not canary.exists()


def test_a_pickle_in_a_folder_is_not_opened(folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": Runs(canary)}))
    assert not is_loaded(folder)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["../outside.safetensors", ["model.safetensors"], None])
def test_weights_outside_the_folder_are_not_read(folder, tmp_path, name):
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    names = ["model.norm.weight", "model.embed_tokens.weight"]
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_loaded(folder)
