"""Idefics3 and SmolVLM: an image becomes a grid of tiles, each announced by marker tokens."""

from __future__ import annotations

import torch

from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, IMAGE_END, IMAGE_START, Pixels, Tiny, text, tower

_MAX_TILES = 8
_TILES = [f"<row_{row}_col_{column}>" for row in range(1, _MAX_TILES + 1) for column in range(1, _MAX_TILES + 1)]


class Idefics3(Family):
    """A view without the image leaves out tile and border tokens too."""

    marker_tokens = ("<image>", "<fake_token_around_image>", "<global-img>", *_TILES)
    processor_type = "idefics3"  # SmolVLM's prompts for images are the same, token by token

    def num_image_features(self, pixel_values: torch.Tensor) -> int:
        """Every tile has the tower's size. Up to transformers 5.17 the model itself does not notice a wrong number."""
        config = self.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        return int(pixel_values.shape[0] * pixel_values.shape[1] * (side**2 // config.scale_factor**2))


FAMILY = Idefics3

_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def _pixels(num_images: int, generator: torch.Generator) -> Pixels:
    """Tiles of one batch row."""
    return [4] * num_images, {
        "pixel_values": torch.randn(1, num_images, 3, 16, 16, generator=generator),
        "pixel_attention_mask": torch.ones(1, num_images, 16, 16, dtype=torch.long),
    }


def _tiny(name: str, patch_size: int, scale_factor: int) -> Tiny:
    vision = tower(f"{name.lower()}_vision", patch_size=patch_size)
    return Tiny(
        {"text_config": text("llama"), "vision_config": vision, "image_token_id": IMAGE, "scale_factor": scale_factor},
        pixels=_pixels,
        tokens={IMAGE: "<image>", IMAGE_START: "<fake_token_around_image>", IMAGE_END: "<global-img>"},
        words=("<|im_start|>", "<end_of_utterance>", *(_TILES[place] for place in (0, 1, _MAX_TILES, _MAX_TILES + 1))),
        template=_TEMPLATE,
        image_processor=f"{name}ImageProcessorPil",
        image_settings={"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}},
        settings={"image_seq_len": 4},
    )


TINY = {"idefics3": _tiny("Idefics3", 8, 1), "smolvlm": _tiny("SmolVLM", 4, 2)}
