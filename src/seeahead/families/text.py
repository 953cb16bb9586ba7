"""Text decoders that differ in nothing the base class does not serve: a tiny config each."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.tiny import SLIDING_WINDOW, WINDOW, Tiny, sliding, text

FAMILY = Family

_UNTIED = {"tie_word_embeddings": False}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True}
GEMMA3_TEXT = Tiny(
    sliding("gemma3_text", "sliding", "full", "sliding", query_pre_attn_scalar=16, **_UNTIED),
    words=("<start_of_turn>", "<end_of_turn>"),
    template=(
        "{{ bos_token }}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else "
        "message['role'] %}{{ '<start_of_turn>' + role + '\n' }}{% if message['content'] is string %}"
        "{{ message['content'] | trim }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "{{ '<start_of_image>' }}{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
        "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
)
COHERE2 = Tiny(sliding("cohere2", "sliding", "full", logit_scale=1.0, **_UNTIED))
_CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 30.0}
_GRANITE = {
    "embedding_multiplier": 1.5, "residual_multiplier": 0.7, "attention_multiplier": 0.2, "logits_scaling": 0.5,
}  # fmt: skip
_SMOLLM3 = {"use_sliding_window": True, "no_rope_layers": [1, 0], **_UNTIED}
_GPT_OSS = {"num_local_experts": 4, "num_experts_per_tok": 2}

TINY = {
    "llama": Tiny(text("llama")),
    "mistral": Tiny(text("mistral", sliding_window=SLIDING_WINDOW)),
    "qwen2": Tiny(text("qwen2", max_window_layers=1, **WINDOW)),
    "qwen3": Tiny(text("qwen3")),
    "gemma3_text": GEMMA3_TEXT,
    "phi3": Tiny(text("phi3", sliding_window=SLIDING_WINDOW)),
    "olmo2": Tiny(text("olmo2")),
    "granite": Tiny(text("granite", **_GRANITE)),
    "gemma2": Tiny(sliding("gemma2", "sliding", "full", query_pre_attn_scalar=16, **_CAPS, **_UNTIED)),
    "qwen3_moe": Tiny(text("qwen3_moe", **WINDOW, **EXPERTS)),
    "gpt_oss": Tiny(sliding("gpt_oss", "sliding", "full", **_GPT_OSS)),
    "cohere2": COHERE2,
    "smollm3": Tiny(sliding("smollm3", "sliding", "full", **_SMOLLM3)),
    "exaone4": Tiny(sliding("exaone4", "sliding", "sliding", "full", sliding_window_pattern=3)),
    "ministral": Tiny(sliding("ministral", "sliding", "full")),
}
