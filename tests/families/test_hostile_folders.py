"""A model's folder is a stranger's word: its code is not run, its pickles are not opened, its names stay inside."""

import json
import pickle

import pytest
import transformers

import seeahead
from seeahead.errors import ModelError
from seeahead.families.loading import check_sizes
from seeahead.testing import TEXT_FAMILIES, VISION_FAMILIES, tiny_model
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


def resized(folder, path, value):
    """The folder, whose config says `value` at a `path` of keys."""
    config = json.loads((folder / "config.json").read_text())
    *outer, last = path.split(".")
    table = config
    for name in outer:
        table = table[name]
    table[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


HUGE = [
    ("llama", "num_hidden_layers", 1_000_000_000, "has num_hidden_layers 1000000000; allowed: up to 1,024; get the"),
    ("llama", "num_hidden_layers", 10**4000, "; allowed: up to 1,024; get the"),
    ("llama", "vocab_size", 1 << 25, "has vocab_size 33554432; allowed: up to 16,777,216"),
    ("llama", "vocab_size", 1 << 24, "has vocab_size 16777216, intermediate_size 96, hidden_size 64, for which its "),
    ("llama", "hidden_size", 131_072, "has hidden_size 131072, vocab_size 160, intermediate_size 96, for which its "),
    ("llama", "intermediate_size", 1 << 23, "bytes of weights are too few; get the model again"),
    ("llama", "num_attention_heads", 10**12, "has num_attention_heads 1000000000000; allowed"),
    ("llava", "text_config.num_hidden_layers", 1025, "has num_hidden_layers 1025; allowed: up to 1,024"),
    ("llava", "vision_config.image_size", 1 << 23, "has image_size 8388608, "),
    ("llava", "vision_config.num_hidden_layers", 10**9, "has num_hidden_layers 1000000000; allowed"),
    ("llava", "vision_config.hidden_size", 1_000_000, "has hidden_size 1000000, "),
]


@pytest.mark.parametrize("role", ["target", "drafter"])
@pytest.mark.parametrize(("model_type", "path", "value", "said"), HUGE, ids=[f"{row[1]} {row[3]}" for row in HUGE])
def test_sizes_that_no_model_has_are_refused_before_layers_are_built(
    tmp_path, monkeypatch, role, model_type, path, value, said
):
    """A drafter's folder is a language drafter's, or with a tower a vlm drafter's."""
    pair = tiny_model(model_type), processor_or_skip(model_type)
    for part in pair:
        part.save_pretrained(tmp_path)
    resized(tmp_path, path, value)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *given, **more: pytest.fail("it was built"))
    with pytest.raises(ModelError) as caught:
        seeahead.load(tmp_path) if role == "target" else seeahead.load(pair, tmp_path)
    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 400


def test_sizes_of_models_that_there_are_pass(tmp_path):
    """Folders without weights, whose sizes nothing but the limits can tell; and some smaller than what they say."""
    for model_type in (*TEXT_FAMILIES, *VISION_FAMILIES):
        check_sizes(tmp_path, json.loads(transformers.AutoConfig.for_model(model_type).to_json_string()))
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    check_sizes(tmp_path, json.loads(transformers.AutoConfig.for_model("gpt2").to_json_string()))
    big = {"num_hidden_layers": 126, "hidden_size": 16_384, "intermediate_size": 53_248, "vocab_size": 128_256}
    with pytest.raises(ModelError, match="has vocab_size 128256, intermediate_size 53248, hidden_size 16384"):
        check_sizes(tmp_path, big)
    (tmp_path / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
    check_sizes(tmp_path, big)
    with (tmp_path / "model.safetensors").open("wb") as file:  # 405 thousand million weights of 4 bits
        file.truncate(405 * 10**9 // 2)
    check_sizes(tmp_path, {**big, "head_dims": [128, 128], "hidden_act": "silu", "num_layers": None})
    with pytest.raises(ModelError, match="has depths 2000; allowed: up to 1,024"):
        check_sizes(tmp_path, {"parts": {"depths": [2, 2000]}})
