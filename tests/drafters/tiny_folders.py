"""Tiny drafter folders, one of each kind, to be damaged or sent about."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from seeahead.drafters import bind
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, save_adapter
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.executors.checkpoint import WEIGHTS, unfuse
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.target import Target
from seeahead.testing import tiny_model, tiny_processor
from seeahead.train.feature_networks import Learner, saved

NUM_TARGET, NUM_OWN = 160, 60
KINDS = ("language", "vision", "msd")
CONFIG = "config.json"


def target(num_tokens: int = NUM_TARGET, width: int = 16) -> Target:
    """One that the drafters below are made for, where nothing else is said."""
    return Target(Llama(LlamaShape(num_tokens, width, 24, 1, 2, 1, 8, 256)))


def make(source: str | Path, num_tokens: int = NUM_TARGET) -> Any:
    return bind(source, target(num_tokens))


def write(kind: str, folder: Path, width: int = 16, heads: int = 2) -> Path:
    """A tiny drafter of one kind; `width` and `heads`: of a language model."""
    torch.manual_seed(0)
    vocabulary = DraftVocabulary(torch.arange(40, 40 + 2 * NUM_OWN, 2), 0)
    if kind == "msd":
        network = MsdNetwork(LlamaShape(1, 16, 24, 1, 2, 1, 8, 64), MsdOptions())
        saved(Learner(network, vocabulary), target(), folder)
        return folder
    folder.mkdir()
    decoder = Llama(LlamaShape(NUM_OWN, width, 24, 2, heads, 1, 8, 64))
    values = {"model_type": "llama", **vars(decoder.config), "unknown_draft_id": 0, "target_vocab_size": NUM_TARGET}
    if kind == "vision":
        adapter = ImageAdapter(AdapterConfig(16, 16, 8, 4))
        save_adapter(adapter, folder)
        values["image_adapter"] = adapter.config.to_json()
    (folder / CONFIG).write_text(json.dumps(values))
    save_file({**unfuse(decoder), "model.embed_tokens.weight": decoder.embedding.weight.detach()}, folder / WEIGHTS)
    save_file({"d2t": vocabulary.offsets()}, folder / VOCABULARY)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({name: v for name, v in {**values, **changes}.items() if v is not ...}))


def write_whole(folder: Path) -> Path:
    """A whole tiny vision-language model's checkpoint: a target and its own drafter at once."""
    tiny_model("llava").save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder
