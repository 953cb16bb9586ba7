"""Which transformers models are served: any decoder, with or without images, but those known not to work.

Implementations are imported when first needed.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeahead.errors import ModelError

if TYPE_CHECKING:
    from seeahead.families.base import Family

ENTRIES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("families.toml").read_text(encoding="utf-8")
)
"""What `families.toml` says: of the tested types, of those that are refused, and what their descriptions share."""

TESTED: dict[str, str] = {model_type: entry["name"] for model_type, entry in ENTRIES.items() if "name" in entry}
"""Model type -> name for people, of the families that run through the matrix of tests; those that see come first."""

_REFUSED = {model_type: kind["why"] for kind in ENTRIES["refused"].values() for model_type in kind["types"]}
"""Model type -> why drafted trees cannot be scored by it."""

_REGISTERED: dict[str, type[Family]] = {}


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
    if any(part in model_type for part in ENTRIES["recurrent"]["types"]):
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
        raise _refusal(model_type, ENTRIES["refused"]["alibi"]["why"])
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer is not None and not hasattr(tokenizer, "get_added_vocab"):
        raise ModelError(
            f"a {type(tokenizer).__name__} is no tokenizer of transformers; give one, or uninstall the package "
            "(mistral-common) that puts its own in the place of it"
        )
    return class_of(model_type)(model, processor)


def class_of(model_type: str) -> type[Family]:
    """The class that serves models of a type."""
    from seeahead.families.base import Family
    from seeahead.families.particular import CLASSES

    return _REGISTERED.get(model_type) or CLASSES.get(model_type, Family)
