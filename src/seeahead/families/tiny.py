"""Tiny models, as `families.toml` describes them, and what a description of your own is made of.

Small as they are, they keep what makes families differ: M-RoPE, deepstack, tiles, a window shorter than the prompts.
`seeahead.testing` builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from seeahead.families import ENTRIES, TESTED

VOCAB_SIZE: int = ENTRIES["text"]["vocab_size"]
PAD, BOS, END, UNKNOWN, IMAGE, IMAGE_START, IMAGE_END, VIDEO = range(8)
"""Special tokens, the same in every tiny model and its tokenizer."""

FIRST_WORD = 40
"""Tokens below are special ones or spare; prompts are made of this one and above."""

Pixels = tuple[list[int], dict[str, torch.Tensor]]
"""Placeholders of each image of a prompt, and the tensors that go with them."""

CHATML: str = ENTRIES["templates"]["chatml"]
"""IMAGE stands for what a family writes for an image."""


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


def text(model_type: str, layers: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """The config of a text model, where wanted of `layers` of several types: "sliding" and "full"."""
    kinds = [f"{layer}_attention" for layer in layers]
    mixed = {"num_hidden_layers": len(kinds), "layer_types": kinds, "sliding_window": 12} if kinds else {}
    return {"model_type": model_type, **ENTRIES["text"], **mixed, **more}


def tower(model_type: str, **more: Any) -> dict[str, Any]:
    """The config of a vision tower for images of 16 x 16, in patches of 8."""
    return {"model_type": model_type, **ENTRIES["tower"], **more}


def flat(num_images: int, generator: torch.Generator) -> Pixels:
    """Images of 16 x 16, four placeholders each."""
    return [4] * num_images, {"pixel_values": torch.randn(num_images, 3, 16, 16, generator=generator)}


def _rows(num_images: int, generator: torch.Generator) -> Pixels:
    """The same as tiles of one batch row."""
    sizes, tensors = flat(num_images, generator)
    mask = torch.ones(1, num_images, 16, 16, dtype=torch.long)
    return sizes, {"pixel_values": tensors["pixel_values"][None], "pixel_attention_mask": mask}


def _grids(num_images: int, generator: torch.Generator) -> Pixels:
    """Grids of 4 x 6 and 4 x 4 patches, merged two by two."""
    shapes = [[1, 4, 6 - 2 * (number % 2)] for number in range(num_images)]
    num_patches = sum(height * width for _, height, width in shapes)
    return [height * width // 4 for _, height, width in shapes], {
        "pixel_values": torch.randn(num_patches, 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor(shapes),
    }


def _padded(num_images: int, generator: torch.Generator) -> Pixels:
    """Images of 16 x 24 and 16 x 16 in patches of 4, merged two by two; the smaller ones are padded."""
    sizes = [[16, 24 - 8 * (number % 2)] for number in range(num_images)]
    return [height * width // 64 for height, width in sizes], {
        "pixel_values": torch.randn(num_images, 3, 16, 24, generator=generator),
        "image_sizes": torch.tensor(sizes),
    }


def _tiles(num_images: int, generator: torch.Generator) -> Pixels:
    """Wide images: an overview and two tiles of 2 x 2 patches, a newline per row. Every second: four tiles."""
    is_wide = [number % 2 == 0 for number in range(num_images)]
    return [4 + (2 if wide else 4) * (4 + 1) for wide in is_wide], {
        "pixel_values": torch.randn(num_images, 5, 3, 16, 16, generator=generator),
        "image_sizes": torch.tensor([[16, 32] if wide else [32, 32] for wide in is_wide]),
    }


_PIXELS = {"flat": flat, "rows": _rows, "grids": _grids, "padded": _padded, "tiles": _tiles}


def _type_ids(name: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """Type ids under `name`, 1 for placeholders, in prompts that have some; "zeros": all 0, in any prompt."""

    def of(token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        if name == "zeros":
            return {"token_type_ids": torch.zeros_like(token_ids)}
        is_image = token_ids == IMAGE
        return {name: is_image.int()} if bool(is_image.any()) else {}

    return of


def tiny_models() -> dict[str, Tiny]:
    """Model type -> its tiny model, of all that are tested; those that read images come first."""
    return {model_type: _described(_whole(ENTRIES[model_type])) for model_type in TESTED}


def _whole(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry and what it leaves to the one it is `like`."""
    return _merged(_whole(ENTRIES[entry["like"]]), entry) if "like" in entry else entry


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, tables within tables too; `second` counts."""
    tables = {name for name in first.keys() & second.keys() if isinstance(first[name], dict)}
    return {**first, **second, **{name: _merged(first[name], second[name]) for name in tables}}


_READERS: dict[str, Callable[[Any], Any]] = {
    "pixels": _PIXELS.__getitem__,
    "type_ids": _type_ids,
    "tokens": lambda tokens: {int(index): name for index, name in tokens.items()},
    "words": tuple,
    "template": ENTRIES["templates"].get,
}


def _described(entry: Mapping[str, Any]) -> Tiny:
    config = text(**entry["text"])
    if "vision" in entry:
        config = {"text_config": config, "vision_config": tower(**entry["vision"]), **entry["config"]}
    names = {one.name for one in fields(Tiny)} & entry.keys() - {"config"}
    said = {name: _READERS.get(name, dict if isinstance(entry[name], dict) else str)(entry[name]) for name in names}
    template = said.get("template", CHATML)
    return Tiny(config, **{**said, "template": template and template.replace("IMAGE", entry.get("image", "IMAGE"))})
