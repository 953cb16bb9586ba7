"""LLaVA-1.5: how many features an image makes is known from its pixels."""

from __future__ import annotations

import torch

from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, SQUARE, Tiny, flat, text, tower

_WITH_CLASS_TOKEN = ("clip_vision_model",)


class Llava(Family):
    """Everything else is what the base class expects."""

    def num_image_features(self, pixel_values: torch.Tensor) -> int | None:
        config = self.model.config
        vision = config.vision_config
        if vision.model_type not in (*_WITH_CLASS_TOKEN, "siglip_vision_model"):
            return None
        num_images, _, height, width = pixel_values.shape
        num_patches = (height // vision.patch_size) * (width // vision.patch_size)
        num_patches += int(vision.model_type in _WITH_CLASS_TOKEN)
        return int(num_images * (num_patches - int(config.vision_feature_select_strategy == "default")))


FAMILY = Llava

CLIP = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
TINY = {
    "llava": Tiny(
        {
            "text_config": text("llama"),
            "vision_config": tower("clip_vision_model"),
            "image_token_index": IMAGE,
            "image_seq_length": 4,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        pixels=flat,
        tokens={IMAGE: "<image>"},
        template=TEMPLATE,
        image_processor="CLIPImageProcessorPil",
        image_settings={"size": {"shortest_edge": 16}, "crop_size": SQUARE},
        settings=CLIP,
    )
}
