"""Processor classes of the families, without what only videos need; and processors that count image features right.

A processor that also takes videos insists on torchvision (and SmolVLM's on num2words) when it is made, though images
need neither. Those processors are made here without their video part.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from seeahead.compat import processor_type
from seeahead.errors import InputError
from seeahead.families import class_of


@cache
def processor_class(model_type: str) -> Any:
    """The class whose `from_pretrained` gives a processor for texts and images."""
    theirs = processor_type(class_of(model_type).processor_type or model_type)
    # Processors pass their parts on by their places; one with others in between is made as it is.
    takes_videos = tuple(inspect.signature(theirs.__init__).parameters)[: len(_ORDER)] == _ORDER
    return _images_only(theirs) if takes_videos else theirs


_ORDER = ("self", "image_processor", "tokenizer", "video_processor")
_PARTS = {"self", "image_processor", "tokenizer"}


def _images_only(theirs: Any) -> Any:
    known = inspect.signature(theirs.__init__).parameters.keys()

    class ImagesOnly(theirs):
        """transformers finds a processor's parts by the names of its constructor's parameters: no video, no part.

        What a checkpoint stores for other parameters is given only under names that stand here, as it reads them off
        the constructor's code.
        """

        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            image_seq_length: int = 256,
            num_image_tokens: int | None = None,
            vision_feature_select_strategy: str | None = None,
            vision_aspect_ratio: str = "anyres_max_9",
            chat_template: str | None = None,
        ) -> None:
            given = {name: value for name, value in locals().items() if name in known - _PARTS}
            super().__init__(image_processor, tokenizer, None, **given)

    # Saved under the name of the class it stands for, it loads anywhere.
    ImagesOnly.__name__ = ImagesOnly.__qualname__ = theirs.__name__
    return ImagesOnly


_COMPLETED = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens", "num_image_tokens")
COUNTING = (*_COMPLETED, "image_seq_len", "image_seq_length")
"""Settings of processors by which they count how many features the model makes of an image."""

CLASS_TOKEN_TOWERS = ("clip_vision_model",)
"""Whose first feature stands for the whole image."""


def completed(processor: Any, config: Any) -> Any:
    """The processor, or a copy that counts image features by the model's config where older checkpoints say nothing.

    Raises InputError where the config does not say it either.
    """
    said = {name: getattr(processor, name) for name in _COMPLETED if hasattr(processor, name)}
    if None not in said.values():
        return processor
    tower = config.vision_config
    side = getattr(tower, "patch_size", None)
    known = {
        "patch_size": side,
        "num_image_tokens": (tower.image_size // side) ** 2 if side else None,
        "vision_feature_select_strategy": getattr(config, "vision_feature_select_strategy", None),
        "num_additional_image_tokens": int(tower.model_type in CLASS_TOKEN_TOWERS),
    }
    other = copy.copy(processor)
    for name, value in said.items():
        # A count of 0 is what the class fills in: a processor that names no patch size has not been asked for it.
        if value is None or (name == "num_additional_image_tokens" and value == 0):
            if known[name] is None:
                raise InputError(f"neither the processor nor the model's config says {name}; set it on the processor")
            setattr(other, name, known[name])
    return other


def check_placeholders(processor: Any, config: Any, encoded: Mapping[str, Any], num_features: int | None) -> None:
    """Raises InputError for a prompt with more or fewer placeholders than the model makes features of its images."""
    index = getattr(config, "image_token_id", None)
    if index is None:
        return
    num_tokens = int((encoded["input_ids"] == index).sum())
    if num_tokens == 0:
        raise InputError("the chat template writes nothing where the images stand; give another as chat_template")
    if num_features is not None and num_features != num_tokens:
        raise InputError(_mismatch(processor, num_tokens, num_features))


@contextmanager
def mismatch_told(processor: Any) -> Iterator[None]:
    """Raises InputError where the model finds, in its forward, that placeholders and image features differ."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        found = _MODELS_OWN_WORDS.search(str(error))
        if found is None:
            raise
        raise InputError(_mismatch(processor, found[1], found[2])) from error


_MODELS_OWN_WORDS = re.compile(
    r"features and (?:image |placeholder )*tokens do not match[,:] tokens: (\w+), features:? (\w+)"
)


def _mismatch(processor: Any, num_tokens: int | str, num_features: int | str) -> str:
    taken = inspect.signature(type(processor).__init__).parameters
    names = [name for name in COUNTING if name in taken] or ["patch_size", "merge_size"]
    return (
        f"the prompt has {num_tokens} placeholders for its images, but the model makes {num_features} features of "
        f"them; check the processor's settings ({', '.join(names)})"
    )
