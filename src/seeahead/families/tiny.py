"""A family's tiny model, as its file describes it, and what such descriptions share. `seeahead.testing` builds them.

Small as they are, they keep what makes families differ: M-RoPE, deepstack, tiles, a window shorter than the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

VOCAB_SIZE = 160
PAD, BOS, END, UNKNOWN, IMAGE, IMAGE_START, IMAGE_END, VIDEO = range(8)
"""Special tokens, the same in every tiny model and its tokenizer."""

FIRST_WORD = 40
"""Tokens below are special ones or spare; prompts are made of this one and above."""

SLIDING_WINDOW = 12
"""Shorter than any prompt with an image: a mask that forgets the window gives other answers."""

WINDOW = {"use_sliding_window": True, "sliding_window": SLIDING_WINDOW}
"""Of the configs that have a switch for it."""

WIDTH = 64

Pixels = tuple[list[int], dict[str, torch.Tensor]]
"""Placeholders of each image of a prompt, and the tensors that go with them."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """The smallest model of a type that still has everything odd about it, and how prompts for it are made."""

    config: Mapping[str, Any]
    """The values of its config.json."""

    pixels: Callable[[int, torch.Generator], Pixels] | None = None
    """A number of images as its processor would make them; None: it reads text only."""

    type_ids: Callable[[torch.Tensor], dict[str, torch.Tensor]] = lambda token_ids: {}
    """What its processor gives beside the token ids of a prompt, computed from them."""

    tokens: Mapping[int, str] = field(default_factory=dict)
    """How the tokens for images are spelled."""

    names: Mapping[str, int] = field(default_factory=dict)
    """What its tokenizer calls them, where its processor asks."""

    words: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    """Other special tokens: of its chat template, and of tiles."""

    template: str | None = CHATML
    """A chat template of the published form; prompts then take the way they take with a real checkpoint."""

    image_processor: str = ""
    """Name of transformers' class."""

    image_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the processor around it."""


def text(model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": END,
        **more,
    }


def sliding(model_type: str, *layers: str, **more: Any) -> dict[str, Any]:
    """A text model of layers of several types: `sliding` and `full`."""
    types = [f"{layer}_attention" for layer in layers]
    return text(model_type, num_hidden_layers=len(layers), layer_types=types, sliding_window=SLIDING_WINDOW, **more)


def tower(model_type: str, **more: Any) -> dict[str, Any]:
    """A vision tower for images of 16 x 16 in patches of 8."""
    return {
        "model_type": model_type,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_channels": 3,
        "image_size": 16,
        "patch_size": 8,
        **more,
    }


def flat(num_images: int, generator: torch.Generator) -> Pixels:
    """Images of 16 x 16, four placeholders each."""
    return [4] * num_images, {"pixel_values": torch.randn(num_images, 3, 16, 16, generator=generator)}


def grids(num_images: int, generator: torch.Generator) -> Pixels:
    """Grids of 4 x 6 and 4 x 4 patches, merged two by two."""
    shapes = [[1, 4, 6] if number % 2 == 0 else [1, 4, 4] for number in range(num_images)]
    num_patches = sum(height * width for _, height, width in shapes)
    return [height * width // 4 for _, height, width in shapes], {
        "pixel_values": torch.randn(num_patches, 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor(shapes),
    }


def image_types(name: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """Type ids under `name`, 1 for placeholders, in prompts that have some."""

    def of(token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        is_image = token_ids == IMAGE
        return {name: is_image.int()} if bool(is_image.any()) else {}

    return of


SQUARE = {"height": 16, "width": 16}
"""The size of an image, as image processors take it."""
