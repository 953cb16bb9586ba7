"""Configurations of tiny models, one per family: seconds to build, no download, every special path switched on.

Small as they are, they keep what makes families differ: M-RoPE, deepstack, tiles, a window shorter than the prompts.
"""

from __future__ import annotations

from typing import Any

VOCAB_SIZE = 160
PAD, BOS, END, UNKNOWN, IMAGE, IMAGE_START, IMAGE_END, VIDEO = range(8)
"""Special tokens, the same in every tiny model and in the tokenizers of `processors`."""

FIRST_WORD = 40
"""Tokens below are special ones or spare; prompts are made of this one and above."""

SLIDING_WINDOW = 12
"""Shorter than any prompt with a picture: a mask that forgets the window gives other answers."""

WIDTH = 64

VISION_FAMILIES = (
    "llava",
    "llava_next",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "idefics3",
    "smolvlm",
    "gemma3",
    "internvl",
    "llava_onevision",
    "mistral3",
    "glm4v",
    "glm46v",
    "aya_vision",
    "paligemma",
    "qwen3_vl_moe",
)
TEXT_FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3_text",
    "phi3",
    "olmo2",
    "granite",
    "gemma2",
    "qwen3_moe",
    "gpt_oss",
    "llama4_text",
    "cohere2",
    "smollm3",
    "exaone4",
    "ministral",
)

_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def _text(model_type: str, **more: Any) -> dict[str, Any]:
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


def _sliding(model_type: str, layer_types: tuple[str, ...], **more: Any) -> dict[str, Any]:
    return _text(
        model_type,
        num_hidden_layers=len(layer_types),
        layer_types=list(layer_types),
        sliding_window=SLIDING_WINDOW,
        **more,
    )


_GEMMA3_TEXT = _sliding(
    "gemma3_text",
    ("sliding_attention", "full_attention", "sliding_attention"),
    query_pre_attn_scalar=16,
    tie_word_embeddings=False,
)


_COHERE2 = _sliding("cohere2", ("sliding_attention", "full_attention"), logit_scale=1.0, tie_word_embeddings=False)
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True}
_LLAMA4 = _text(
    "llama4_text",
    num_hidden_layers=3,
    no_rope_layers=[1, 0, 1],
    attention_chunk_size=SLIDING_WINDOW,
    intermediate_size_mlp=96,
    interleave_moe_layer_step=2,
    num_local_experts=4,
    # Queries of layers without rotary positions are scaled anew every five tokens.
    floor_scale=5,
    attn_scale=1.0,
)


def _vision(model_type: str, **more: Any) -> dict[str, Any]:
    """A vision tower for pictures of 16 x 16 in patches of 8."""
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
    text = _text(text_type, rope_parameters=_MROPE)
    if text_type == "qwen2_vl_text":
        # One of the three with a sliding layer: windows count tokens, not M-RoPE positions.
        text |= {"use_sliding_window": True, "sliding_window": SLIDING_WINDOW, "max_window_layers": 1}
    if text_type.startswith("qwen3_vl"):
        text["rope_parameters"] = {**_MROPE, "mrope_interleaved": True}
    if text_type == "qwen3_vl_moe_text":
        text |= _EXPERTS
    tower = {"model_type": vision_type, "depth": 2, "num_heads": 2, "in_channels": 3, "patch_size": 4, **vision}
    return {
        "text_config": text,
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
        "text_config": _text(f"{part}_text", rope_parameters=rope),
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


CONFIGS: dict[str, dict[str, Any]] = {
    "llava": {
        "text_config": _text("llama"),
        "vision_config": _vision("clip_vision_model"),
        "image_token_index": IMAGE,
        "image_seq_length": 4,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
    "llava_next": {
        "text_config": _text("mistral", sliding_window=SLIDING_WINDOW),
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
        "text_config": _text("llama"),
        "vision_config": _vision("idefics3_vision"),
        "image_token_id": IMAGE,
        "scale_factor": 1,
    },
    "smolvlm": {
        "text_config": _text("llama"),
        "vision_config": _vision("smolvlm_vision", patch_size=4),
        "image_token_id": IMAGE,
        "scale_factor": 2,
    },
    "gemma3": {
        "text_config": _GEMMA3_TEXT,
        "vision_config": _vision("siglip_vision_model"),
        "mm_tokens_per_image": 4,
        "image_token_index": IMAGE,
        "boi_token_index": IMAGE_START,
        "eoi_token_index": IMAGE_END,
        "tie_word_embeddings": False,
    },
    "internvl": {
        "text_config": _text("qwen2"),
        "vision_config": _vision("internvl_vision", patch_size=4),
        "image_token_id": IMAGE,
        "image_seq_length": 4,
        "tie_word_embeddings": False,
    },
    "llava_onevision": {
        "text_config": _text("qwen2"),
        "vision_config": _vision("siglip_vision_model"),
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]],
    },
    "mistral3": {
        "text_config": _text("mistral"),
        "vision_config": _vision("pixtral", patch_size=4, image_size=32),
        "image_token_index": IMAGE,
        "spatial_merge_size": 2,
        "tie_word_embeddings": False,
    },
    "glm4v": _glm("glm4v"),
    "glm46v": _glm("glm4v"),
    "aya_vision": {
        "text_config": _COHERE2,
        "vision_config": _vision("siglip_vision_model", patch_size=4),
        "image_token_index": IMAGE,
        "downsample_factor": 2,
        "tie_word_embeddings": False,
    },
    "paligemma": {
        "text_config": _text("gemma", tie_word_embeddings=False),
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
    "llama4": {
        "text_config": _LLAMA4,
        "vision_config": {
            "model_type": "llama4_vision_model",
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
            "vision_output_dim": 48,
            "projector_input_dim": 48,
            "projector_output_dim": 48,
        },
        "image_token_index": IMAGE,
        "boi_token_index": IMAGE_START,
        "eoi_token_index": IMAGE_END,
    },
    "llama": _text("llama"),
    "mistral": _text("mistral", sliding_window=SLIDING_WINDOW),
    "qwen2": _text("qwen2", use_sliding_window=True, sliding_window=SLIDING_WINDOW, max_window_layers=1),
    "qwen3": _text("qwen3"),
    "gemma3_text": _GEMMA3_TEXT,
    "phi3": _text("phi3", sliding_window=SLIDING_WINDOW),
    "olmo2": _text("olmo2"),
    "granite": _text(
        "granite", embedding_multiplier=1.5, residual_multiplier=0.7, attention_multiplier=0.2, logits_scaling=0.5
    ),
    "gemma2": _sliding(
        "gemma2",
        ("sliding_attention", "full_attention"),
        query_pre_attn_scalar=16,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=30.0,
        tie_word_embeddings=False,
    ),
    "qwen3_moe": _text("qwen3_moe", use_sliding_window=True, sliding_window=SLIDING_WINDOW, **_EXPERTS),
    "gpt_oss": _sliding("gpt_oss", ("sliding_attention", "full_attention"), num_local_experts=4, num_experts_per_tok=2),
    "llama4_text": _LLAMA4,
    "cohere2": _COHERE2,
    "smollm3": _sliding(
        "smollm3",
        ("sliding_attention", "full_attention"),
        use_sliding_window=True,
        no_rope_layers=[1, 0],
        tie_word_embeddings=False,
    ),
    "exaone4": _sliding(
        "exaone4", ("sliding_attention", "sliding_attention", "full_attention"), sliding_window_pattern=3
    ),
    "ministral": _sliding("ministral", ("sliding_attention", "full_attention")),
}
"""Model type -> the values of its config.json."""
