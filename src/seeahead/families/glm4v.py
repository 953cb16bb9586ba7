"""GLM-4V and GLM-4.6V: nothing of their own beside M-RoPE, which is the base's business."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.tiny import (
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    VIDEO,
    WIDTH,
    Tiny,
    grids,
    image_types,
    text,
)

FAMILY = Family

# Only half of a head is rotated, and its pairs lie side by side.
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
_MERGED = {"spatial_merge_size": 2, "temporal_patch_size": 2}
_TOWER = {"depth": 2, "num_heads": 2, "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": WIDTH}
_PIXELS = {"image_size": 16, "patch_size": 4, "in_channels": 3, **_MERGED}
_CONFIG = {
    "text_config": text("glm4v_text", rope_parameters=_ROPE),
    "vision_config": {"model_type": "glm4v_vision", **_TOWER, **_PIXELS},
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "image_start_token_id": IMAGE_START,
    "image_end_token_id": IMAGE_END,
    "video_start_token_id": IMAGE_START,
    "video_end_token_id": IMAGE_END,
}
_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def _tiny(image_processor: str) -> Tiny:
    sizes = {"size": {"shortest_edge": 128, "longest_edge": 1024}}
    return Tiny(
        _CONFIG,
        pixels=grids,
        type_ids=image_types("mm_token_type_ids"),
        tokens={
            IMAGE: "<|image|>", VIDEO: "<|video|>", IMAGE_START: "<|begin_of_image|>", IMAGE_END: "<|end_of_image|>",
        },
        words=("<|user|>", "<|assistant|>"),
        template=_TEMPLATE,
        image_processor=image_processor,
        image_settings={"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, **sizes},
    )  # fmt: skip


TINY = {"glm4v": _tiny("Glm4vImageProcessorPil"), "glm46v": _tiny("Glm46VImageProcessorPil")}
