"""Prompts through the real processor classes: as many placeholders as the model makes features of the images."""

from functools import cache

import pytest
import torch
from PIL import Image

import seeahead
from seeahead.errors import InputError
from seeahead.families.templates import refusals_told, written_for
from seeahead.families.tiny import IMAGE
from seeahead.prompt import make_prompt
from seeahead.testing import TEXT_FAMILIES, VISION_FAMILIES, tiny_model, tiny_processor
from tests.families.processors import SQUARE, WIDE, processor_or_skip

TURNS = [
    {"role": "user", "content": [{"type": "image", "image": SQUARE}, {"type": "text", "text": "What is this?"}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": [{"type": "image", "image": WIDE}, {"type": "text", "text": "And this?"}]},
]


@cache
def engine(model_type):
    return seeahead.load((tiny_model(model_type), processor_or_skip(model_type)))


def num_features(family, inputs):
    """How many tokens the model itself makes of the images."""
    names = ("pixel_values", "image_grid_thw", "image_sizes", "pixel_attention_mask", "batch_num_images")
    extras = {name: inputs.extras[name] for name in names if name in inputs.extras}
    with torch.inference_mode():
        features = family.model.get_image_features(**extras).pooler_output
    return sum(part.numel() for part in features) // family.text_config.hidden_size


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_placeholders_match_what_the_model_makes_of_the_images(model_type):
    family = engine(model_type).family
    for images in ([], [SQUARE], [WIDE], [SQUARE, WIDE], [WIDE, SQUARE, WIDE]):
        inputs = family.encode(make_prompt("What is this?", images))
        num_placeholders = int((inputs.token_ids == IMAGE).sum())
        assert num_placeholders == (num_features(family, inputs) if images else 0)
        text = family.tokenizer.decode(inputs.token_ids[0])
        assert "What is this?" in text
        assert ("pixel_values" in inputs.extras) == bool(images)
    inputs = family.encode(make_prompt(TURNS))
    assert int((inputs.token_ids == IMAGE).sum()) == num_features(family, inputs)
    text = family.tokenizer.decode(inputs.token_ids[0])
    assert text.index("What is this?") < text.index("A cat.") < text.index("And this?")


@pytest.mark.parametrize("model_type", [name for name in VISION_FAMILIES if name != "paligemma"])  # has no template
def test_a_prompt_is_what_the_processor_itself_makes_of_the_conversation(model_type):
    family, prompt = engine(model_type).family, make_prompt("What is this?", [WIDE, SQUARE])
    settings = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    with refusals_told():
        own = family.processor.apply_chat_template(written_for({"user"}, prompt.messages, "", ""), **settings)
    inputs = family.encode(prompt)
    read = {"input_ids": inputs.token_ids, **inputs.extras}
    assert set(own) - {"attention_mask"} == set(read)
    assert all(torch.equal(torch.as_tensor(own[name]), torch.as_tensor(value)) for name, value in read.items())


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_the_text_only_view_holds_no_trace_of_images(model_type):
    family = engine(model_type).family
    with_image = family.encode(make_prompt("What is this?", [SQUARE, WIDE])).token_ids[0].tolist()
    without = family.encode(make_prompt("What is this?")).token_ids[0].tolist()
    view = [token for token in with_image if token not in family.image_token_ids]
    decode = family.tokenizer.decode
    # Templates put a line break or two around an image.
    assert "".join(decode(view).split()) == "".join(decode(without).split())


@pytest.mark.parametrize("model_type", [*VISION_FAMILIES, *TEXT_FAMILIES])
def test_answers_from_chat_messages_to_text(model_type):
    sees = model_type in VISION_FAMILIES
    prompt = TURNS if sees else [{"role": "user", "content": "One two one two one two."}]
    own = engine(model_type)
    plain = own.with_drafter("none").generate(prompt, max_new_tokens=12)
    drafted = own.generate(prompt, max_new_tokens=12)
    assert own.drafter.name == "auto"
    assert (drafted.text, drafted.token_ids) == (plain.text, plain.token_ids)
    assert "".join(piece.text for piece in own.stream(prompt, max_new_tokens=12)) == plain.text
    inputs = own.family.encode(make_prompt(prompt))
    output = own.family.model.generate(
        inputs.token_ids, attention_mask=torch.ones_like(inputs.token_ids), max_new_tokens=12, **inputs.extras
    )
    assert plain.token_ids == tuple(output[0, inputs.token_ids.shape[1] :].tolist())


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_another_image_gives_another_answer(model_type):
    own = engine(model_type)
    answers = {
        own.generate("?", [image], max_new_tokens=12).token_ids
        for image in (SQUARE, Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue"))
    }
    assert len(answers) > 1


def test_wrong_prompts_are_refused_in_one_line():
    with pytest.raises(InputError, match="'llama' reads text only; leave the images out"):
        engine("llama").generate("What is this?", [SQUARE])
    blind = seeahead.load((tiny_model("llava"), tiny_processor("llava").tokenizer))
    with pytest.raises(InputError, match="no image processor; pass"):
        blind.generate("What is this?", [SQUARE])
    with pytest.raises(InputError, match="no processor or tokenizer"):
        seeahead.load((tiny_model("llava"), None)).generate("What is this?")
