"""Configurations of tiny models, one per family: seconds to build, no download, every special path switched on.

Small as they are, they keep what makes families differ: M-RoPE, deepstack, tiles, a window shorter than the prompts.
"""

from __future__ import annotations

from typing import Any

from seeahead.testing.text_configs import (
    BOS,
    COHERE2,
    END,
    EXPERTS,
    FIRST_WORD,
    GEMMA3_TEXT,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    PAD,
    SLIDING_WINDOW,
    TEXT_CONFIGS,
    UNKNOWN,
    VIDEO,
    VOCAB_SIZE,
    WIDTH,
    text,
)

__all__ = [
    "BOS",
    "CONFIGS",
    "END",
    "FIRST_WORD",
    "IMAGE",
    "IMAGE_END",
    "IMAGE_START",
    "PAD",
    "SLIDING_WINDOW",
    "TEXT_FAMILIES",
    "UNKNOWN",
    "VIDEO",
    "VISION_FAMILIES",
    "VOCAB_SIZE",
    "WIDTH",
]

_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def _vision(model_type: str, **more: Any) -> dict[str, Any]:
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


def _qwen(vision_type: str, text_type: str, vision: dict[str, Any]) -> dict[str, Any]:
    language = text(text_type, rope_parameters=_MROPE)
    if text_type == "qwen2_vl_text":
        # One of the three with a sliding layer: windows count tokens, not M-RoPE positions.
        language |= {"use_sliding_window": True, "sliding_window": SLIDING_WINDOW, "max_window_layers": 1}
    if text_type.startswith("qwen3_vl"):
        language["rope_parameters"] = {**_MROPE, "mrope_interleaved": True}
    if text_type == "qwen3_vl_moe_text":
        language |= EXPERTS
    tower = {"model_type": vision_type, "depth": 2, "num_heads": 2, "in_channels": 3, "patch_size": 4, **vision}
    return {
        "text_config": language,
        "vision_config": {**tower, "spatial_merge_size": 2, "temporal_patch_size": 2},
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": IMAGE_START,
        "vision_end_token_id": IMAGE_END,
    }


def _glm(part: str) -> dict[str, Any]:
    # Only half of a head is rotated, and its pairs lie side by side.
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
    return {
        "text_config": text(f"{part}_text", rope_parameters=rope),
        "vision_config": {
            "model_type": f"{part}_vision",
            "depth": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "image_size": 16,
            "patch_size": 4,
            "in_channels": 3,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "image_start_token_id": IMAGE_START,
        "image_end_token_id": IMAGE_END,
        "video_start_token_id": IMAGE_START,
        "video_end_token_id": IMAGE_END,
    }


_VISION_CONFIGS: dict[str, dict[str, Any]] = {
    "llava": {
        "text_config": text("llama"),
        "vision_config": _vision("clip_vision_model"),
        "image_token_index": IMAGE,
        "image_seq_length": 4,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
    "llava_next": {
        "text_config": text("mistral", sliding_window=SLIDING_WINDOW),
        "vision_config": _vision("clip_vision_model"),
        "image_token_index": IMAGE,
        "image_seq_length": 4,
        "image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]],
    },
    "qwen2_vl": _qwen("qwen2_vl_vision", "qwen2_vl_text", {"embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2}),
    "qwen2_5_vl": _qwen(
        "qwen2_5_vl_vision",
        "qwen2_5_vl_text",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
    ),
    "qwen3_vl": _qwen(
        "qwen3_vl_vision",
        "qwen3_vl_text",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
    ),
    "idefics3": {
        "text_config": text("llama"),
        "vision_config": _vision("idefics3_vision"),
        "image_token_id": IMAGE,
        "scale_factor": 1,
    },
    "smolvlm": {
        "text_config": text("llama"),
        "vision_config": _vision("smolvlm_vision", patch_size=4),
        "image_token_id": IMAGE,
        "scale_factor": 2,
    },
    "gemma3": {
        "text_config": GEMMA3_TEXT,
        "vision_config": _vision("siglip_vision_model"),
        "mm_tokens_per_image": 4,
        "image_token_index": IMAGE,
        "boi_token_index": IMAGE_START,
        "eoi_token_index": IMAGE_END,
        "tie_word_embeddings": False,
    },
    "internvl": {
        "text_config": text("qwen2"),
        "vision_config": _vision("internvl_vision", patch_size=4),
        "image_token_id": IMAGE,
        "image_seq_length": 4,
        "tie_word_embeddings": False,
    },
    "llava_onevision": {
        "text_config": text("qwen2"),
        "vision_config": _vision("siglip_vision_model"),
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]],
    },
    "mistral3": {
        "text_config": text("mistral"),
        "vision_config": _vision("pixtral", patch_size=4, image_size=32),
        "image_token_index": IMAGE,
        "spatial_merge_size": 2,
        "tie_word_embeddings": False,
    },
    "glm4v": _glm("glm4v"),
    "glm46v": _glm("glm4v"),
    "aya_vision": {
        "text_config": COHERE2,
        "vision_config": _vision("siglip_vision_model", patch_size=4),
        "image_token_index": IMAGE,
        "downsample_factor": 2,
        "tie_word_embeddings": False,
    },
    "paligemma": {
        "text_config": text("gemma", tie_word_embeddings=False),
        "vision_config": _vision("siglip_vision_model"),
        "image_token_index": IMAGE,
        "projection_dim": WIDTH,
        "tie_word_embeddings": False,
    },
    "qwen3_vl_moe": _qwen(
        "qwen3_vl_moe_vision",
        "qwen3_vl_moe_text",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
    ),
}

VISION_FAMILIES = tuple(_VISION_CONFIGS)
TEXT_FAMILIES = tuple(TEXT_CONFIGS)

CONFIGS = _VISION_CONFIGS | TEXT_CONFIGS
"""Model type -> the values of its config.json."""
