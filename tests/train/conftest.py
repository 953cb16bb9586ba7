"""A target that a small drafter can learn in seconds, and a file of conversations to ask it."""

import json
import shutil

import pytest
import torch

from seeahead.data.conversations import read_conversations
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.families import family_for
from seeahead.testing import tiny_model, tiny_processor
from seeahead.train import prior


@pytest.fixture(scope="module")
def family():
    """A tiny LLaVA whose next token depends on the last one alone: something a small drafter can learn."""
    model = tiny_model("llava")
    with torch.no_grad():
        for layer in model.get_decoder().layers:
            layer.self_attn.o_proj.weight.zero_()
    return family_for(model, tiny_processor("llava"))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Conversations of so many lists of messages; every other one is about an image."""

    def read(messages):
        folder = tmp_path_factory.mktemp("talk")
        shutil.copy(PICTURES / "cow.jpg", folder)
        rows = [{"messages": one, "images": ["cow.jpg"] * (number % 2)} for number, one in enumerate(messages)]
        (folder / "talk.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return read_conversations(folder / "talk.jsonl")

    return read


@pytest.fixture(scope="session", autouse=True)
def short_priors():
    """What a training learns for `auto` takes no longer than its steps do here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior, "NUM_PROMPTS", 1)
        yield
