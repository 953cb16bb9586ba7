"""As many placeholders as image features: what processors leave out is taken from the config, the rest is one line."""

import pytest
from PIL import Image

import seeahead
from seeahead.errors import InputError
from seeahead.families import family_for
from seeahead.families.loading import load_model
from seeahead.families.processors import completed, mismatch_told
from seeahead.prompt import make_prompt
from seeahead.testing import tiny_model, tiny_processor
from tests.families.processors import SQUARE, WIDE, family_with, prefill


@pytest.mark.parametrize(
    "told",
    [
        "Image features and image tokens do not match, tokens: 3, features: 4",
        "Image features and image tokens do not match: tokens: 3, features 4",
        "Multimodal features and placeholder tokens do not match, tokens: 3, features: 4",
    ],
)
def test_models_say_it_in_several_ways(told):
    processor = family_with("llava").processor
    says = "has 3 placeholders for its images, but the model makes 4 features"
    with pytest.raises(InputError, match=says), mismatch_told(processor):
        raise ValueError(told)


def test_wrong_counts_are_for_those_who_send_images():
    processor = tiny_processor("internvl")
    processor.image_seq_length = 3
    engine = seeahead.load((tiny_model("internvl"), processor), "none")
    assert engine.generate("one two", max_new_tokens=3).token_ids
    with pytest.raises(InputError, match="placeholders for its images, but the model makes"):
        engine.generate("What?", [SQUARE], max_new_tokens=3)


LLAVA = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}


@pytest.mark.parametrize("model_type", ["llava", "llava_next"])
@pytest.mark.parametrize(
    "left_out",
    [
        {"patch_size": None},
        {"vision_feature_select_strategy": None},
        {"num_additional_image_tokens": None},
        {"patch_size": None, "vision_feature_select_strategy": None, "num_additional_image_tokens": None},
        # What an older checkpoint looks like: the class fills in the 0.
        {"patch_size": None, "vision_feature_select_strategy": None, "num_additional_image_tokens": 0},
    ],
)
def test_what_the_processor_leaves_out_comes_from_the_models_config(model_type, left_out):
    complete, family = family_with(model_type), family_with(model_type, **left_out)
    prompt = make_prompt("What?", [SQUARE, WIDE])
    assert family.encode(prompt).token_ids.equal(complete.encode(prompt).token_ids)
    # The caller's processor stays what it was.
    assert {name: getattr(family.processor, name) for name in left_out} == left_out
    quoting = make_prompt("What is <image>?", [SQUARE, WIDE])
    assert family.encode(quoting).token_ids.equal(complete.encode(quoting).token_ids)


def test_what_neither_processor_nor_config_says_is_one_line():
    family = family_with("llava", patch_size=None)
    config = family.model.config.__class__(vision_config={"model_type": "clip_vision_model"})
    config.vision_config.patch_size = None
    with pytest.raises(InputError, match=r"^neither the processor nor the model's config says patch_size; set it on"):
        completed(family.processor, config)


def test_a_saved_processor_without_its_counts_is_read(tmp_path):
    family = family_with("llava", **dict.fromkeys(LLAVA))
    family.model.save_pretrained(tmp_path)
    family.processor.save_pretrained(tmp_path)
    loaded = family_for(*load_model(tmp_path, "float32", "cpu"))
    prompt = make_prompt("What?", [SQUARE])
    assert loaded.encode(prompt).token_ids.equal(family_with("llava").encode(prompt).token_ids)


WRONG = [
    ("llava", {"num_additional_image_tokens": 0}, "3 placeholders .* 4 features"),
    ("llava", {"vision_feature_select_strategy": "full"}, "5 placeholders .* 4 features"),
    ("llava", {"patch_size": 4}, "16 placeholders .* 4 features"),
    ("llava_next", {"num_additional_image_tokens": 0}, r"\d+ placeholders .* \d+ features"),
    ("llava_next", {"patch_size": 16}, r"\d+ placeholders .* \d+ features"),
    ("idefics3", {"image_seq_len": 3}, "15 placeholders .* 20 features"),
    ("smolvlm", {"image_seq_len": 5}, "25 placeholders .* 20 features"),
    ("internvl", {"image_seq_length": 3}, "15 placeholders .* 20 features"),
    ("gemma3", {"full_image_sequence": "<start_of_image><image_soft_token><end_of_image>"}, "1 placeholders .* 4 feat"),
]


@pytest.mark.parametrize(("model_type", "settings", "numbers"), WRONG)
def test_other_numbers_of_placeholders_than_features_are_one_line_before_the_first_token(model_type, settings, numbers):
    family = family_with(model_type, **settings)
    name = next(iter(settings)).replace("full_image_sequence", "image_seq_length")
    with pytest.raises(InputError, match=rf"^the prompt has {numbers}.*settings \(.*{name}.*\)$") as told:
        prefill(family, make_prompt("What?", [SQUARE]))
    assert "\n" not in str(told.value)


def test_other_errors_of_a_forward_are_not_taken_for_this_one():
    for error in (ValueError("shapes do not match"), RuntimeError("out of memory")):
        with pytest.raises(type(error), match=str(error)), mismatch_told(None):
            raise error


def test_numbers_are_known_beforehand_where_the_pixels_say_it():
    for model_type, expected in (("llava", 8), ("idefics3", 40), ("smolvlm", 40), ("gemma3", None)):
        family = family_with(model_type)
        pixel_values = family.encode(make_prompt("What?", [SQUARE, SQUARE])).extras["pixel_values"]
        assert family.num_image_features(pixel_values) == expected
    pixel_values = family_with("llava").encode(make_prompt("?", [SQUARE])).extras["pixel_values"]
    family = family_for(tiny_model("llava"))
    family.model.config.vision_feature_select_strategy = "full"
    assert family.num_image_features(pixel_values) == 5
    family.model.config.vision_config.model_type = "another_tower"
    assert family.num_image_features(pixel_values) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (3, 700), (337, 1)])
def test_long_thin_images_have_as_many_placeholders_as_features(size):
    for model_type in ("llava_next", "llava"):
        family = family_with(model_type)
        prefill(family, make_prompt("What?", [Image.new("RGB", size, "red")]))
