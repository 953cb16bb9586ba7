"""Lossless speculative decoding for vision-language models.

The names below are the public surface. They are resolved on first use, so that `import seeahead` costs no
torch and no transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seeahead.api import Engine, load
    from seeahead.errors import DrafterError, FaultError, ImageError, InputError, LengthError, ModelError, SeeaheadError
    from seeahead.families import register_family
    from seeahead.hf_generate import custom_generate
    from seeahead.reply import Piece, Reply
    from seeahead.sampling import SamplingParams

__version__ = "0.1.0"

__all__ = [
    "load",
    "Engine",
    "Reply",
    "Piece",
    "SamplingParams",
    "custom_generate",
    "register_family",
    "SeeaheadError",
    "InputError",
    "ImageError",
    "LengthError",
    "ModelError",
    "DrafterError",
    "FaultError",
    "__version__",
]

_HOMES = {
    **dict.fromkeys(("load", "Engine"), "api"),
    **dict.fromkeys(("Reply", "Piece"), "reply"),
    "custom_generate": "hf_generate",
    "register_family": "families",
    "SamplingParams": "sampling",
    **{name: "errors" for name in __all__ if name.endswith("Error")},
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'seeahead' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
