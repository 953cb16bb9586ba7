"""Questions ready to be asked, as the chat template writes them, with the reference answer kept beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from recipes.demo_model.dialogues import Example, Turn
from seeahead.demo.model import IMAGE_TOKEN


@dataclass(frozen=True)
class Prompt:
    """A question ready to be asked: earlier turns and images included; `turn` is the reference answer."""

    text: str
    images: tuple[Image, ...]
    turn: Turn
    kind: str
    name: str = ""


def opening(num_images: int) -> str:
    return "<|im_start|>user\n" + f"{IMAGE_TOKEN}\n" * num_images


def asked(turns: Sequence[Turn], question: str, num_images: int) -> str:
    """The chat text up to where the answer starts; the same text the chat template gives."""
    text = opening(num_images)
    for turn in turns:
        text += f"{turn.question}<|im_end|>\n<|im_start|>assistant\n{turn.answer}<|im_end|>\n<|im_start|>user\n"
    return f"{text}{question}<|im_end|>\n<|im_start|>assistant\n"


def prompts_of(example: Example) -> list[Prompt]:
    """One prompt per dialogue: its last question, with the reference answers of the turns before."""
    return [
        Prompt(
            asked(dialogue[:-1], dialogue[-1].question, len(example.images)),
            example.images,
            dialogue[-1],
            example.kind,
            example.name,
        )
        for dialogue in example.dialogues
    ]


def text_prompt(question: str) -> Prompt:
    return Prompt(asked((), question, 0), (), Turn(question, "", "text"), "text")
