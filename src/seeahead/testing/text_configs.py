"""Configurations of tiny text decoders, on which those that see are built too, and the tokens all of them share."""

from __future__ import annotations

from typing import Any

VOCAB_SIZE = 160
PAD, BOS, END, UNKNOWN, IMAGE, IMAGE_START, IMAGE_END, VIDEO = range(8)
"""Special tokens, the same in every tiny model and in the tokenizers of `processors`."""

FIRST_WORD = 40
"""Tokens below are special ones or spare; prompts are made of this one and above."""

SLIDING_WINDOW = 12
"""Shorter than any prompt with an image: a mask that forgets the window gives other answers."""

WIDTH = 64


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


def sliding(model_type: str, layer_types: tuple[str, ...], **more: Any) -> dict[str, Any]:
    return text(
        model_type,
        num_hidden_layers=len(layer_types),
        layer_types=list(layer_types),
        sliding_window=SLIDING_WINDOW,
        **more,
    )


GEMMA3_TEXT = sliding(
    "gemma3_text",
    ("sliding_attention", "full_attention", "sliding_attention"),
    query_pre_attn_scalar=16,
    tie_word_embeddings=False,
)


COHERE2 = sliding("cohere2", ("sliding_attention", "full_attention"), logit_scale=1.0, tie_word_embeddings=False)
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True}
LLAMA4 = text(
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

TEXT_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": text("llama"),
    "mistral": text("mistral", sliding_window=SLIDING_WINDOW),
    "qwen2": text("qwen2", use_sliding_window=True, sliding_window=SLIDING_WINDOW, max_window_layers=1),
    "qwen3": text("qwen3"),
    "gemma3_text": GEMMA3_TEXT,
    "phi3": text("phi3", sliding_window=SLIDING_WINDOW),
    "olmo2": text("olmo2"),
    "granite": text(
        "granite", embedding_multiplier=1.5, residual_multiplier=0.7, attention_multiplier=0.2, logits_scaling=0.5
    ),
    "gemma2": sliding(
        "gemma2",
        ("sliding_attention", "full_attention"),
        query_pre_attn_scalar=16,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=30.0,
        tie_word_embeddings=False,
    ),
    "qwen3_moe": text("qwen3_moe", use_sliding_window=True, sliding_window=SLIDING_WINDOW, **EXPERTS),
    "gpt_oss": sliding("gpt_oss", ("sliding_attention", "full_attention"), num_local_experts=4, num_experts_per_tok=2),
    "llama4_text": LLAMA4,
    "cohere2": COHERE2,
    "smollm3": sliding(
        "smollm3",
        ("sliding_attention", "full_attention"),
        use_sliding_window=True,
        no_rope_layers=[1, 0],
        tie_word_embeddings=False,
    ),
    "exaone4": sliding(
        "exaone4", ("sliding_attention", "sliding_attention", "full_attention"), sliding_window_pattern=3
    ),
    "ministral": sliding("ministral", ("sliding_attention", "full_attention")),
}
"""Model type -> the values of its config.json."""
