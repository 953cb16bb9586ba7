"""Which transformers models are served: any decoder, with or without images, but those known not to work.

Implementations are imported when first needed.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seeahead.errors import ModelError

if TYPE_CHECKING:
    from seeahead.families.base import Family
    from seeahead.families.tiny import Tiny

FILES: dict[str, dict[str, str | None]] = {
    "llava": {"llava": "LLaVA-1.5"},
    "llava_next": {"llava_next": "LLaVA-NeXT", "llava_onevision": "LLaVA-OneVision"},
    "qwen_vl": {"qwen2_vl": "Qwen2-VL", "qwen2_5_vl": "Qwen2.5-VL"},
    "qwen3_vl": {"qwen3_vl": "Qwen3-VL", "qwen3_vl_moe": "Qwen3-VL-MoE"},
    "idefics3": {"idefics3": "Idefics3", "smolvlm": "SmolVLM"},
    "gemma3": {"gemma3": "Gemma3"},
    "internvl": {"internvl": "InternVL"},
    "mistral3": {"mistral3": "Mistral 3 (Pixtral)"},
    "glm4v": {"glm4v": "GLM-4V", "glm46v": "GLM-4.6V"},
    "aya_vision": {"aya_vision": "Aya Vision"},
    "paligemma": {"paligemma": "PaliGemma"},
    "llama4": {"llama4_text": "Llama 4 (text)", "llama4": None},
    "text": {
        "llama": "Llama",
        "mistral": "Mistral",
        "qwen2": "Qwen2",
        "qwen3": "Qwen3",
        "qwen3_moe": "Qwen3-MoE",
        "gemma2": "Gemma2",
        "gemma3_text": "Gemma3 (text)",
        "phi3": "Phi-3",
        "olmo2": "OLMo 2",
        "granite": "Granite",
        "gpt_oss": "gpt-oss",
        "cohere2": "Command R7B",
        "smollm3": "SmolLM3",
        "exaone4": "EXAONE 4",
        "ministral": "Ministral",
    },
}
"""File of this folder -> the model types it is about, with a name for people; None: no tiny model of it is tested.

Such a file names the class that serves them (`FAMILY`) and describes their tiny models (`TINY`). Models of other types
are served by the base class, once they have passed the proof at load."""

_FILE_OF = {model_type: file for file, types in FILES.items() for model_type in types}
TESTED = {model_type: name for types in FILES.values() for model_type, name in types.items() if name is not None}
"""Model type -> name for people, of the families that run through the matrix of tests."""

_REGISTERED: dict[str, type[Family]] = {}

_RECURRENT = (
    "bailing_hybrid", "bamba", "falcon_h1", "jamba", "kimi_linear", "lfm2", "lfm3", "mamba", "nemotron_h",
    "olmo_hybrid", "qwen3_5", "qwen3_next", "recurrent_gemma", "rwkv", "xlstm", "zamba",
)  # fmt: skip
"""Model types, or parts of them, whose layers carry a state that no refused token can be taken out of again."""

_ALIBI = "it weighs tokens by their distance in the cache (ALiBi), where those of a drafted tree lie side by side"
_CROSS = "it reads images through cross-attention, whose keys lie in the cache beside those of the text"
_ENCODER = "it is an encoder, whose tokens see what comes after them"
_ENCODERS = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
    "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xlnet", "xmod",
)  # fmt: skip
_REFUSED = {
    "bloom": _ALIBI,
    "mpt": _ALIBI,
    "idefics": _CROSS,
    "mllama": _CROSS,
    **dict.fromkeys(_ENCODERS, _ENCODER),
}
"""Model type -> why drafted trees cannot be scored by it."""


def register_family(model_type: str, family_class: type[Family]) -> None:
    """Serve models of `model_type` through `family_class`; the last one registered for a type counts.

    Raises ModelError for a class that is not derived from `seeahead.families.base.Family`.
    """
    from seeahead.families.base import Family  # here and not above: it needs torch and transformers

    if not isinstance(model_type, str) or not model_type:
        raise ModelError(f"a model type is a name like 'llava', as in a model's config.json, not {model_type!r}")
    if not isinstance(family_class, type) or not issubclass(family_class, Family):
        raise ModelError(
            f"the family of '{model_type}' has to be a class derived from seeahead.families.base.Family, "
            f"not {family_class!r}"
        )
    _REGISTERED[model_type] = family_class


def check_supported(model_type: str) -> None:
    """Raises ModelError, with the reason, for a model type that is known not to work."""
    if model_type in _REGISTERED or model_type in TESTED:
        return
    if any(part in model_type for part in _RECURRENT):
        raise ModelError(
            f"model type '{model_type}' has recurrent layers, whose cache cannot roll back refused tokens; use a "
            f"model whose layers are all attention, such as {', '.join(TESTED)}"
        )
    if model_type in _REFUSED:
        raise _refusal(model_type, _REFUSED[model_type])


def _refusal(model_type: str, reason: str) -> ModelError:
    return ModelError(
        f"model type '{model_type}' is not supported: {reason}; use another decoder, such as {', '.join(TESTED)}"
    )


def check_loadable(model_type: str) -> None:
    """Raises ModelError for a model type that is known not to work, or that transformers loads no decoder for."""
    from seeahead.compat import decoder_types, known_types

    check_supported(model_type)
    decoders = decoder_types()
    if model_type in _REGISTERED or model_type in decoders:
        return
    if model_type in known_types():
        raise ModelError(
            f"model type '{model_type}' is neither a text decoder nor a vision-language model (an encoder-decoder, a "
            f"speech model or another); use a decoder, such as {', '.join(TESTED)}"
        )
    near = difflib.get_close_matches(model_type, decoders, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ModelError(f"model type '{model_type}' is not known to transformers; {hint}tested are {', '.join(TESTED)}")


def family_for(model: Any, processor: Any = None) -> Family:
    """The family object that runs `model` (a transformers model with its language head)."""
    from seeahead.families.inspection import unwrapped

    model_type = unwrapped(model).config.model_type
    check_supported(model_type)
    if getattr(model.config, "alibi", False):
        raise _refusal(model_type, _ALIBI)
    return class_of(model_type)(model, processor)


def class_of(model_type: str) -> type[Family]:
    """The class that serves models of a type."""
    from seeahead.families.base import Family

    if model_type in _REGISTERED:
        return _REGISTERED[model_type]
    if model_type not in _FILE_OF:
        return Family
    served: type[Family] = import_module(f".{_FILE_OF[model_type]}", __name__).FAMILY
    return served


def tiny_models() -> dict[str, Tiny]:
    """Model type -> its tiny model, of all that are tested; those that read images come first."""
    files = [import_module(f".{file}", __name__) for file in FILES]
    found: dict[str, Tiny] = {model_type: one for file in files for model_type, one in file.TINY.items()}
    return dict(sorted(found.items(), key=lambda pair: pair[1].pixels is None))
