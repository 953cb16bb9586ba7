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


OWN_PARTS = [
    ("llama", "tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}),
    (
        "llava",
        "processor_config.json",
        {"image_processor": {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}},
    ),
]


@pytest.mark.parametrize(("model_type", "file", "changes"), OWN_PARTS, ids=[part[1] for part in OWN_PARTS])
def test_nobody_is_asked_whether_code_of_a_folder_may_run(tmp_path, monkeypatch, model_type, file, changes):
    for part in (tiny_model(model_type), processor_or_skip(model_type)):
        part.save_pretrained(tmp_path)
    (tmp_path / file).write_text(json.dumps(json.loads((tmp_path / file).read_text()) | changes))
    (tmp_path / "own.py").write_text("raise SystemExit\n")
    monkeypatch.setattr("builtins.input", lambda *said: pytest.fail("somebody was asked"))
    with pytest.raises(ModelError, match=r"cannot be loaded: The repository .* contains custom code"):
        seeahead.load(tmp_path, device="cpu")


def test_a_type_that_a_hub_id_brings_is_refused_before_anything_is_built(monkeypatch):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", lambda *given, **more: (config, {}))
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *given, **more: pytest.fail("it was built"))
    with pytest.raises(ModelError, match="'own' is not known to transformers"):
        seeahead.load("owner/name")
    config["model_type"] = "mamba"
    with pytest.raises(ModelError, match="'mamba' has recurrent layers"):
        seeahead.load("owner/name@main")


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


IMAGE_SIZES = [
    ("llava", "size", {"shortest_edge": 100_001}, "has shortest_edge 100001; allowed: up to 100,000; get the"),
    ("llava", "size", {"height": 16, "width": 1e12}, "has width 1000000000000.0; allowed: up to 100,000"),
    ("llava", "crop_size", {"height": 10**9, "width": 16}, "has height 1000000000; allowed: up to 100,000"),
    ("qwen2_vl", "size", {"shortest_edge": 10**12, "longest_edge": 10**12}, "has longest_edge 1000000000000; allowed"),
    ("qwen2_vl", "size", {"shortest_edge": 3136, "longest_edge": 12_845_056}, None),
]


@pytest.mark.parametrize(("model_type", "name", "value", "said"), IMAGE_SIZES)
def test_a_processor_of_sizes_that_no_model_reads_is_refused(tmp_path, model_type, name, value, said):
    for part in (tiny_model(model_type), processor_or_skip(model_type)):
        part.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    config = json.loads(path.read_text())
    config["image_processor"][name] = value
    path.write_text(json.dumps(config))
    if said is None:
        assert is_loaded(tmp_path)
        return
    with pytest.raises(ModelError) as caught:
        seeahead.load(tmp_path, device="cpu")
    assert said in str(caught.value)
