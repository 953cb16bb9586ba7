"""The model families we serve, by transformers' `model_type`. Implementations are imported when first needed."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seeahead.errors import ModelError

if TYPE_CHECKING:
    from seeahead.families.base import Family

SUPPORTED: dict[str, str] = {
    "llava": "LLaVA-1.5",
    "llava_next": "LLaVA-NeXT",
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "idefics3": "Idefics3",
    "smolvlm": "SmolVLM",
    "gemma3": "Gemma3",
    "internvl": "InternVL",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma3_text": "Gemma3 (text)",
}
"""Model type -> the family's name for people."""

_CLASSES = {
    "qwen2_vl": "qwen_vl:QwenVL",
    "qwen2_5_vl": "qwen_vl:QwenVL",
    "qwen3_vl": "qwen_vl:QwenVL",
    "idefics3": "idefics3:Idefics3",
    "smolvlm": "idefics3:Idefics3",
    "gemma3": "gemma3:Gemma3",
    "internvl": "internvl:InternVL",
}

_RECURRENT = ("mamba", "jamba", "bamba", "zamba", "rwkv", "xlstm", "recurrent_gemma", "qwen3_next", "qwen3_5", "lfm2")
"""Model types, or parts of them, whose layers carry a state that no refused token can be taken out of again."""


def check_supported(model_type: str) -> None:
    """Raises ModelError, with the supported model types, for one we do not know."""
    if model_type not in SUPPORTED:
        if any(part in model_type for part in _RECURRENT):
            raise ModelError(
                f"model type '{model_type}' has recurrent layers, whose cache cannot roll back refused tokens; use a "
                f"model whose layers are all attention: {', '.join(SUPPORTED)}"
            )
        near = difflib.get_close_matches(model_type, SUPPORTED, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ModelError(f"model type '{model_type}' is not supported; {hint}supported are {', '.join(SUPPORTED)}")


def family_for(model: Any, processor: Any = None) -> Family:
    """The family object that runs `model` (a transformers model with its language head)."""
    model_type = model.config.model_type
    check_supported(model_type)
    module, _, name = _CLASSES.get(model_type, "base:Family").partition(":")
    family: type[Family] = getattr(import_module(f".{module}", __name__), name)
    return family(model, processor)
