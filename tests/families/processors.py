"""Processors for the tests of this folder, and families that read prompts with them."""

from functools import cache

import pytest
from PIL import Image

from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import tiny_model, tiny_processor

SQUARE = Image.effect_noise((40, 40), 60).convert("RGB")
WIDE = Image.effect_noise((50, 24), 90).convert("RGB")


def processor_or_skip(model_type):
    """Up to transformers 5.17 the image processors of Idefics3 and SmolVLM insist on torchvision."""
    try:
        return tiny_processor(model_type)
    except ImportError as error:
        pytest.skip(str(error).strip().partition("\n")[0])


@cache
def _model(model_type):
    return tiny_model(model_type)


def family_with(model_type, **settings):
    """A family whose processor has other settings than usual; the model is shared."""
    processor = processor_or_skip(model_type)
    for name, value in settings.items():
        setattr(processor, name, value)
    return family_for(_model(model_type), processor)


def words(family, prompt):
    """A prompt's tokens, decoded, with a run of placeholders as one."""
    decoded = [family.tokenizer.decode([token]) for token in family.encode(prompt).token_ids[0].tolist()]
    kept = [word for place, word in enumerate(decoded) if len(word) < 2 or word != decoded[place - 1]]
    return "".join(kept)


def prefill(family, prompt):
    """Runs a prompt through the model."""
    inputs = family.encode(prompt)
    return Session(family.executor, inputs.token_ids.shape[1] + 1).prefill(inputs)
