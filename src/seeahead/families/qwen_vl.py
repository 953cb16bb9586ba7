"""Qwen2-VL and Qwen2.5-VL. Their three-dimensional rotary positions (M-RoPE) are the base's business."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.tiny import (
    CHATML,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    VIDEO,
    WIDTH,
    WINDOW,
    Tiny,
    grids,
    image_types,
    text,
)


class QwenVL(Family):
    """Only the markers differ."""

    marker_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


FAMILY = QwenVL

ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
TOWER = {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": WIDTH}
_PATCHES = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 128, "max_pixels": 1024}


def tiny(model_type: str, vision: dict[str, object], **language: object) -> Tiny:
    tower = {"model_type": f"{model_type}_vision", "depth": 2, "num_heads": 2, "in_channels": 3, "patch_size": 4}
    config = {
        "text_config": text(f"{model_type}_text", **{"rope_parameters": ROPE, **language}),
        "vision_config": {**tower, **vision, "spatial_merge_size": 2, "temporal_patch_size": 2},
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": IMAGE_START,
        "vision_end_token_id": IMAGE_END,
    }
    return Tiny(
        config,
        pixels=grids,
        type_ids=image_types("mm_token_type_ids"),
        tokens=dict(zip((IMAGE_START, IMAGE_END, IMAGE, VIDEO), QwenVL.marker_tokens, strict=True)),
        template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
        image_processor="Qwen2VLImageProcessorPil",
        image_settings=_PATCHES,
    )


_QWEN2: dict[str, object] = {"embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2}
TINY = {
    # With a sliding layer: windows count tokens, not M-RoPE positions.
    "qwen2_vl": tiny("qwen2_vl", _QWEN2, max_window_layers=1, **WINDOW),
    "qwen2_5_vl": tiny("qwen2_5_vl", {**TOWER, "window_size": 16, "fullatt_block_indexes": [1]}),
}
