"""From a folder to an engine, for every family; and what is said, in one line, where that cannot be."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import seeahead
from seeahead.compat import processor_type, takes_images
from seeahead.errors import ModelError
from seeahead.families import TESTED, check_loadable, check_supported, class_of, family_for, register_family
from seeahead.families.base import Family
from seeahead.families.inspection import borders_of
from seeahead.families.particular import CLASSES
from seeahead.families.processors import processor_class
from seeahead.testing import TEXT_FAMILIES, VISION_FAMILIES, tiny_family, tiny_model
from tests import own_family
from tests.families.processors import processor_or_skip

IMAGE = Image.effect_noise((40, 40), 60).convert("RGB")


def save(folder, model_type, **changes):
    model, processor = tiny_model(model_type, **changes), processor_or_skip(model_type)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


@pytest.mark.parametrize("model_type", [*VISION_FAMILIES, *TEXT_FAMILIES])
def test_a_folder_gives_the_same_answers_as_the_pair(tmp_path, capfd, model_type):
    images = [IMAGE] if model_type in VISION_FAMILIES else []
    pair = seeahead.load(save(tmp_path, model_type))
    if model_type == "gemma2":
        # A folder is loaded with the attention that honours soft caps; some releases' sdpa drops them.
        pair.family.model.set_attn_implementation("eager")
    expected = pair.generate("What is this?", images, max_new_tokens=8)
    capfd.readouterr()
    loaded = seeahead.load(tmp_path, device="cpu")
    assert capfd.readouterr() == ("", ""), "loading from a folder is silent"
    assert loaded.family.dtype == torch.float32
    assert loaded.generate("What is this?", images, max_new_tokens=8).token_ids == expected.token_ids


def test_every_class_of_our_own_serves_a_type_that_transformers_knows():
    for model_type, kind in CLASSES.items():
        check_loadable(model_type)
        assert class_of(model_type) is kind
        assert issubclass(kind, Family)
        assert kind is not Family


def test_a_family_of_ones_own_is_short():
    assert len(Path(own_family.__file__).read_text(encoding="utf-8").splitlines()) <= 60
    assert type(tiny_family(own_family.MODEL_TYPE)) is own_family.OwnVlm


def test_every_tested_type_is_built():
    assert set(TESTED) == {*VISION_FAMILIES, *TEXT_FAMILIES}


def test_loading_leaves_transformers_as_it_was(tmp_path):
    save(tmp_path, "llama")
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    seeahead.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError):
        seeahead.load(tmp_path)
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before
    assert logging.getLogger("transformers").level == before[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", torch.bfloat16])
def test_dtype_is_what_was_asked_for(tmp_path, dtype):
    save(tmp_path, "llama")
    family = seeahead.load(tmp_path, dtype=dtype).family
    assert family.dtype == (dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype))


def refusal(target, **settings):
    with pytest.raises(ModelError) as caught:
        seeahead.load(target, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_model_type_lists_the_tested_ones(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lava"}))
    assert "'lava' is not known to transformers; did you mean 'llava'? tested are llava, " in refusal(tmp_path)


@pytest.mark.parametrize("model_type", ["t5", "whisper", "clip", "wav2vec2"])
def test_what_is_no_decoder_is_refused_before_it_is_loaded(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert f"'{model_type}' is neither a text decoder nor a vision-language model" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "reason"), [("mpt", "ALiBi"), ("mllama", "cross-attention"), ("roberta", "is an encoder")]
)
def test_what_is_known_not_to_work_is_refused_with_the_reason(tmp_path, model_type, reason):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert reason in refusal(tmp_path)


def test_a_falcon_that_weighs_by_distance_is_refused():
    shape = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.AutoConfig.for_model("falcon", **shape, alibi=True)
    with pytest.raises(ModelError, match="ALiBi"):
        family_for(transformers.AutoModelForCausalLM.from_config(config))


def test_scores_that_are_capped_are_computed_by_the_attention_that_caps_them(tmp_path):
    """Up to transformers 5.17 a Gemma2 loads with sdpa unless told otherwise, and its caps are forgotten."""
    save(tmp_path, "gemma2")
    assert seeahead.load(tmp_path, device="cpu").family.text_config._attn_implementation == "eager"


def test_a_decoder_that_nobody_has_tested_is_loaded(tmp_path):
    config = transformers.AutoConfig.for_model(
        "starcoder2",
        vocab_size=160,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=2,
    )
    assert config.model_type not in TESTED
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    processor_or_skip("llama").save_pretrained(tmp_path)
    assert type(seeahead.load(tmp_path, device="cpu").family) is Family


class Own(Family):
    name = "own"


class Newer(Family):
    name = "newer"


def test_a_registered_family_serves_its_model_type_and_the_last_one_counts(monkeypatch, tmp_path):
    monkeypatch.setattr("seeahead.families._REGISTERED", {})
    model = save(tmp_path, "llama")[0]
    assert type(family_for(model)) is Family
    for family in (Own, Newer):
        seeahead.register_family("llama", family)
        assert type(family_for(model)) is family
    assert type(seeahead.load(tmp_path, device="cpu").family) is Newer
    register_family("mamba", Own)
    register_family("of_my_own", Own)
    for model_type in ("mamba", "of_my_own"):
        check_supported(model_type)
        check_loadable(model_type)


@pytest.mark.parametrize("family", [None, "own", Own.__mro__[-1], torch.nn.Linear, Own.name])
def test_what_is_no_family_is_not_registered(monkeypatch, family):
    monkeypatch.setattr("seeahead.families._REGISTERED", {})
    with pytest.raises(ModelError, match="has to be a class derived from seeahead"):
        register_family("llama", family)
    for name in ("", None, 3):
        with pytest.raises(ModelError, match="a model type is a name like 'llava'"):
            register_family(name, Own)
    assert type(family_for(tiny_model("llama"))) is Family


def test_an_incomplete_checkpoint_names_the_tensors(tmp_path):
    save(tmp_path, "llava")
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    lost = next(name for name in sorted(state) if name.endswith("q_proj.weight"))
    del state[lost]
    save_file(state, path, {"format": "pt"})
    message = refusal(tmp_path)
    assert "is incomplete: " in message
    assert lost.rpartition("layers")[2] in message
    short = next(name for name in sorted(state) if name.endswith("k_proj.weight"))
    save_file({**state, lost: state[short], short: state[short][:3].clone()}, path, {"format": "pt"})
    assert "is incomplete: " in refusal(tmp_path)


def test_a_torn_file_and_a_missing_one_are_told(tmp_path):
    save(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert "cannot be loaded: " in refusal(tmp_path)
    path.unlink()
    assert "cannot be loaded: " in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "'config.json' in" in refusal(tmp_path)


def test_a_model_that_was_never_downloaded_is_told_in_our_words():
    told = refusal("nobody/has-this")
    assert told.startswith("'nobody/has-this' is no folder here and was not downloaded, and the hub cannot be reached")


def test_what_is_no_folder_is_told(tmp_path):
    assert "is neither a folder nor a hub id" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is neither a folder nor a hub id" in refusal(tmp_path / "file")
    assert "'config.json' in" in refusal(tmp_path)
    save(tmp_path, "llama")
    assert "device 'tpu' is not available here; available: cpu" in refusal(tmp_path, device="tpu")
    assert "dtype 'int3' is not supported" in refusal(tmp_path, dtype="int3")


@pytest.mark.parametrize("model_type", ["mamba", "qwen3_next"])
def test_recurrent_layers_are_refused_with_the_way_out(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    told = f"'{model_type}' has recurrent layers, whose cache cannot roll back refused tokens; use a model whose layers"
    assert told in refusal(tmp_path)
    config = transformers.AutoConfig.for_model("mamba", vocab_size=40, hidden_size=16, num_hidden_layers=1)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert "'mamba' has recurrent layers" in refusal((model, None))


def test_layer_types_decide_for_a_supported_type():
    model = tiny_model("qwen3")
    model.config.layer_types = ["full_attention", "linear_attention"]
    assert "has linear_attention layers, whose cache cannot roll back" in refusal((model, None))
    for unknown in ("indexed_attention", "minimax_m3_sparse", "compressed_sparse_attention"):
        model.config.layer_types = ["full_attention", unknown]
        assert f"has {unknown} layers, for which no tree mask is known" in refusal((model, None))


def test_attention_without_a_tree_mask_is_refused():
    model = tiny_model("llava")
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    assert "'flash_attention_2' takes no tree mask; load the model with attn_implementation='sdpa'" in refusal(
        (model, None)
    )


def test_a_config_that_asks_for_flash_attention_is_loaded_without(tmp_path):
    save(tmp_path, "llama")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_attn_implementation": "flash_attention_2"}))
    assert seeahead.load(tmp_path).generate("Hello", max_new_tokens=3).token_ids


def test_a_model_without_language_head_is_refused():
    with pytest.raises(ModelError, match="LlamaModel has no language head; load the model with"):
        family_for(tiny_model("llama").model)


@pytest.mark.parametrize("written", ["[]", "3", '"x"', "null", "[" * 100_000, '{"a": 1', "", "9" * 5000])
def test_a_config_that_is_no_object_is_named(tmp_path, written):
    (tmp_path / "config.json").write_text(written, encoding="utf-8")
    assert "'config.json' in" in refusal(tmp_path)


def test_a_config_with_a_byte_order_mark_is_transformers_to_refuse(tmp_path):
    save(tmp_path, "llama")
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "cannot be loaded: " in refusal(tmp_path)


def test_a_config_that_is_no_text_is_named(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "'config.json' in" in refusal(tmp_path)


@pytest.mark.parametrize("source", ["x" * 5000, "owner/" + "x" * 5000, "\0", "a/\x1b[31m", "two\nlines", "\ud800"])
def test_what_cannot_be_a_path_is_refused_on_one_short_line(source):
    message = refusal(source)
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize("model_type", ["\x1b[31m", "two\nlines", "x" * 5000, ["llama"], {"a": 1}, 10**400])
def test_a_model_type_that_is_none_is_shown_on_one_short_line(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    message = refusal(tmp_path)
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "initializer_range", 1e308),
        ("config.json", "hidden_act", ["silu"]),
        ("config.json", "num_attention_heads", 0),
        ("config.json", "vocab_size", "many"),
        ("tokenizer.json", "added_tokens", [{"id": "-1"}]),
        ("tokenizer.json", "model", 3),
        ("tokenizer_config.json", "tokenizer_class", {"a": 1}),
    ],
)
def test_whatever_transformers_raises_about_a_folder_is_one_line(tmp_path, file, key, value):
    tiny_model("llama").save_pretrained(tmp_path)
    processor_or_skip("llama").save_pretrained(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    message = refusal(tmp_path)
    assert "cannot be loaded: " in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("model_type", "has_tower", "sees"),
    [
        ("llava", True, True), ("gemma3", True, True), ("gemma3", False, False), ("llama", False, False),
        ("chameleon", False, True), ("phi4_multimodal", True, False), ("of_somebody", True, True),
    ],
)  # fmt: skip
def test_what_a_model_is_loaded_as_is_what_transformers_knows_it_as(model_type, has_tower, sees):
    assert takes_images(model_type, has_tower=has_tower) == sees


def test_a_processor_with_its_parts_in_another_order_is_made_as_it_is():
    for model_type in ("video_llava", "llava_next_video"):
        assert processor_class(model_type) is processor_type(model_type)
    assert processor_class("qwen2_vl") is not processor_type("qwen2_vl")


def test_a_tokenizer_of_another_library_is_told_in_one_line():
    with pytest.raises(ModelError, match="a object is no tokenizer of transformers"):
        family_for(tiny_model("llama"), object())


def test_a_config_that_does_not_say_its_context_has_no_borders():
    config = SimpleNamespace(rope_parameters={"rope_type": "default"})
    assert borders_of(config) == ([], [])


def test_a_folder_that_holds_an_adapter_alone_is_told(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds an adapter \(PEFT\), not a model; .* or save the merged model"):
        seeahead.load(tmp_path)
