"""A drafter of a format of ours: its folder, here or on the hub, read and checked, and the drafter made of it.

A folder holds config.json, model.safetensors (a Llama's tensors, or one layer's), the map of its vocabulary and, for a
vision drafter, adapter.safetensors. Nothing in it is run, and every size is checked before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError

from seeahead.checked import placed, read_json
from seeahead.drafters import kind_of
from seeahead.drafters.feature import FeatureDrafter
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafters.vocabulary import FILE_NAME, DraftVocabulary
from seeahead.drafting import Drafter
from seeahead.errors import DrafterError, ModelError, SeeaheadError, escaped, shown
from seeahead.models import adapter, checkpoint
from seeahead.models.adapter import AdapterConfig, load_adapter
from seeahead.models.checkpoint import load_decoder
from seeahead.models.decoder import DecoderConfig
from seeahead.models.feature import load_feature_network

FILES = ("config.json", checkpoint.WEIGHTS, FILE_NAME, adapter.FILE_NAME)


def read_config(folder: Path) -> dict[str, Any]:
    """What a folder's config.json says. Raises ModelError where it says nothing."""
    return read_json(folder / "config.json", "give a model folder, or get it again", ModelError)


def is_ours(folder: Path, values: Mapping[str, Any]) -> bool:
    """Whether a folder is a drafter's; else it is any model's."""
    return "unknown_draft_id" in values or kind_of(values) != "language" or (folder / FILE_NAME).is_file()


def find(source: str | Path) -> Path | None:
    """The folder of a drafter of ours, fetched from the hub where `source` is an id; None for another model.

    Raises DrafterError for an id that the hub, or its copy here, does not have."""
    folder = Path(source)
    if not folder.is_dir():
        return _fetched(str(source))
    return folder if is_ours(folder, read_config(folder)) else None


def _fetched(name: str) -> Path | None:
    try:
        config = Path(hf_hub_download(name, "config.json"))
        if not is_ours(config.parent, read_config(config.parent)):
            return None
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except SeeaheadError:
        raise
    except (OSError, ValueError, EntryNotFoundError) as error:
        reason = escaped(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise DrafterError(
            f"drafter {shown(name)} is no folder here, and the hub does not give it: {reason}; check the id, or give a "
            "folder"
        ) from None


def make(folder: Path, dtype: torch.dtype, device: torch.device) -> Drafter:
    """The drafter in a folder of ours. Raises ModelError, in one line, for whatever in it is missing or damaged."""
    values = read_config(folder)
    vocabulary, kind = DraftVocabulary.read(folder, values), kind_of(values)
    if kind == "msd":
        return FeatureDrafter(load_feature_network(folder, values, dtype, device), vocabulary)
    config = shape_of(folder, values, vocabulary)
    if kind == "language":
        return LanguageDrafter(load_decoder(folder, config, dtype, device), vocabulary)
    shape = AdapterConfig.from_json(values[adapter.CONFIG_KEY])
    if shape.width != config.hidden_size:
        raise ModelError(
            f"{placed(folder / 'config.json')}: the image adapter makes embeddings of width {shape.width}, the "
            f"model reads {config.hidden_size}; get the whole drafter folder again"
        )
    decoder = load_decoder(folder, config, dtype, device)
    return VisionDrafter(decoder, vocabulary, adapter=load_adapter(folder, shape, dtype, device))


def shape_of(folder: Path, values: dict[str, Any], vocabulary: DraftVocabulary) -> DecoderConfig:
    """Of a language model over a vocabulary. Raises ModelError where the two do not fit."""
    config = DecoderConfig.from_json(values, placed(folder / "config.json"))
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"{shown(str(folder))} maps {len(vocabulary)} draft tokens, its model has {config.vocab_size}; get the "
            "whole drafter folder again"
        )
    return config
