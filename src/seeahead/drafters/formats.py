"""What tells a published drafter from any other model: a few words of its config, and the names of its tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from seeahead.executors.checkpoint import WEIGHTS
from seeahead.executors.tensor_files import Entries, opened

FORMATS = ("eagle3", "vispec", "msd", "eagle")
SPECFORGE, ANGELSLIM = "LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM"
SPECULATORS = ("Eagle3Speculator", "Eagle3DraftModel")
"""Architectures that configs of EAGLE-3 name, by who wrote them."""
SAFE, SAVED = ("model*.safetensors",), ("model*.bin", "pytorch_model*.bin")
"""Files of weights, by name; the second only where there are none of the first."""


def weight_files(folder: Path) -> list[Path]:
    """At least one, which may be missing."""
    for patterns in (SAFE, SAVED):
        if found := sorted(path for pattern in patterns for path in folder.glob(pattern)):
            return found
    return [folder / WEIGHTS]


def is_named(values: Mapping[str, Any]) -> bool:
    """Whether a config says that it is a published drafter's."""
    named = values.get("architectures")
    known = (SPECFORGE, ANGELSLIM, *SPECULATORS)
    is_known = isinstance(named, list) and any(one in known for one in named)
    return is_known or "speculators_model_type" in values or "vispec_num_query_tokens" in values


def may_be(values: Mapping[str, Any]) -> bool:
    """Whether a config may be one's: its tensors tell. Those of EAGLE-1, MSD and ViSpec call themselves by their
    target's type, and have one layer."""
    return is_named(values) or values.get("num_hidden_layers") == 1


def is_published(folder: Path, values: Mapping[str, Any]) -> bool:
    """Raises ModelError for files of weights that cannot be read."""
    if is_named(values) or not may_be(values):
        return is_named(values)
    files = weight_files(folder)
    if not files[0].is_file():
        return False
    with opened(files) as entries:
        return format_of(stripped(entries)) is not None


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
    """Without the "module." or "model." that all names begin with in some files, and without tables of rotations, which
    older trainers kept beside the weights and their engines do not read."""
    for prefix in ("module.", "model."):
        if entries and all(name.startswith(prefix) for name in entries):
            entries = {name.removeprefix(prefix): entry for name, entry in entries.items()}
    return {name: entry for name, entry in entries.items() if not name.endswith("rotary_emb.inv_freq")}
