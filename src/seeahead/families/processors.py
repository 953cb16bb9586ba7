"""Processor classes of the families, without what only videos need.

A processor that also takes videos insists on torchvision (and SmolVLM's on num2words) when it is made, though pictures
need neither. Those processors are made here without their video part.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import transformers

_NAMES = {
    "llava": "LlavaProcessor",
    "llava_next": "LlavaNextProcessor",
    "idefics3": "Idefics3Processor",
    # SmolVLM's prompts for pictures are those of Idefics3, token by token.
    "smolvlm": "Idefics3Processor",
    "gemma3": "Gemma3Processor",
}
_TAKES_VIDEOS = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
    "internvl": "InternVLProcessor",
}


@cache
def processor_class(model_type: str) -> Any:
    """The class whose `from_pretrained` gives a processor for texts and pictures."""
    if model_type in _TAKES_VIDEOS:
        return _pictures_only(getattr(transformers, _TAKES_VIDEOS[model_type]))
    return getattr(transformers, _NAMES[model_type])


def _pictures_only(theirs: Any) -> Any:
    class PicturesOnly(theirs):
        """transformers finds a processor's parts by the names of its constructor's parameters: no video, no part."""

        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            image_seq_length: int = 256,
            chat_template: str | None = None,
        ) -> None:
            settings = {"image_seq_length": image_seq_length, "chat_template": chat_template}
            super().__init__(image_processor, tokenizer, None, **settings)

    # Saved under the name of the class it stands for, it loads anywhere.
    PicturesOnly.__name__ = PicturesOnly.__qualname__ = theirs.__name__
    return PicturesOnly
