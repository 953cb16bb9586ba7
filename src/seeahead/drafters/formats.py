"""What tells a published drafter from any other model: a few words of its config, and the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from seeahead.checked import shown_value
from seeahead.errors import ModelError
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.executors.tensor_files import Entries, opened

FORMATS = ("eagle3", "vispec", "msd", "eagle")
SPECFORGE, ANGELSLIM = "LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM"
SPECULATORS = ("Eagle3Speculator", "Eagle3DraftModel")
"""Architectures that configs of EAGLE-3 name, by who wrote them."""
LAYER_IDS = "eagle_aux_hidden_state_layer_ids"
_OTHERS = re.compile(r"(?!Eagle3|LlamaEagle|Vispec)\w*(DraftModel|Speculator)")
"""Architectures of drafters that are none of `FORMATS`, whatever tensors they share with these."""
_FEW_LAYERS = 4
"""Of a config that may be a drafter's."""
SAFE, SAVED = ("model*.safetensors",), ("model*.bin", "pytorch_model*.bin")
"""Files of weights, by name; the second only where there are none of the first."""


def weight_files(folder: Path) -> list[Path]:
    """At least one, which may be missing."""
    for patterns in (SAFE, SAVED):
        if found := sorted(path for pattern in patterns for path in folder.glob(pattern)):
            return found
    return [folder / WEIGHTS]


def named(values: Mapping[str, Any]) -> list[str]:
    """The architectures that a config names; none, whatever else it has there."""
    found = values.get("architectures")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def writer_of(values: Mapping[str, Any]) -> str:
    """Who wrote a config of EAGLE-3, by the first of the architectures that they name; "": it does not say."""
    if "speculators_model_type" in values or set(SPECULATORS).intersection(named(values)):
        return SPECULATORS[0]
    return next((one for one in named(values) if one in (SPECFORGE, ANGELSLIM)), "")


def check_is_read(values: Mapping[str, Any], where: str) -> None:
    """Raises ModelError where a config says that it is a drafter's of another format."""
    kind = values.get("speculators_model_type", "eagle3")
    found = [f"speculators model type {shown_value(kind)}"] if kind != "eagle3" else []
    if str(values.get("model_type", "")).endswith("_assistant"):
        found += [f"model type {shown_value(values['model_type'])}"]
    found += [f"architecture {shown_value(one)}" for one in named(values) if _OTHERS.fullmatch(one)]
    if found:
        raise ModelError(f"{where}: {found[0]} is not read here; read are {', '.join(FORMATS)}: take one of these")


def is_named(values: Mapping[str, Any]) -> bool:
    """Whether a config says that it is a published drafter's."""
    return bool(writer_of(values)) or "vispec_num_query_tokens" in values


def may_be(values: Mapping[str, Any]) -> bool:
    """Whether a config may be one's: its tensors tell. Those of EAGLE-1, MSD and ViSpec call themselves by their
    target's type, and have fewer layers than a model."""
    layers = values.get("num_hidden_layers")
    is_small = isinstance(layers, int) and layers <= _FEW_LAYERS and "text_config" not in values
    return is_named(values) or is_small or layers == 1


def is_published(folder: Path, values: Mapping[str, Any]) -> bool:
    """Whatever its config says, unless that names a format. Raises ModelError for files of weights that cannot be read,
    where the config may be a drafter's."""
    files = weight_files(folder)
    if is_named(values) or not files[0].is_file():
        return is_named(values)
    try:
        with opened(files) as entries:
            return format_of(stripped(entries)) is not None
    except ModelError:
        if may_be(values):
            raise
        return False  # transformers reads older files too, and says what is wrong with those that it does not


def format_of(names: Collection[str]) -> str | None:
    """By a file's names of tensors; None: of no published drafter."""
    if "fc.weight" not in names:
        return None
    if any(name.startswith(("imadpt.", "img_adaptor.")) for name in names):
        return "vispec"
    if {"midlayer.hidden_norm.weight", "layers.0.hidden_norm.weight"}.intersection(names):
        return "eagle3"
    if "layers.0.self_attn.q_proj.weight" not in names:
        return None
    # MSD's for Qwen2-VL has both; without a bias the tensors of the two are the same.
    is_eagle = "layers.0.self_attn.q_proj.bias" in names and "layers.0.input_layernorm.weight" not in names
    return "eagle" if is_eagle else "msd"


def stripped(entries: Entries) -> Entries:
    """Without the "module." or "model." that all names begin with in some files, and without what older trainers kept
    beside the weights and their engines do not read: tables of rotations, and the target's head as a bare "weight"."""
    entries = {name: entry for name, entry in entries.items() if name != "weight"}
    for prefix in ("module.", "model."):
        if entries and all(name.startswith(prefix) for name in entries):
            entries = {name.removeprefix(prefix): entry for name, entry in entries.items()}
    return {name: entry for name, entry in entries.items() if not name.endswith("rotary_emb.inv_freq")}
