"""Runs the decoding steps of a plain Llama-type language model through our compact decoder, on the same weights.

transformers' own forward spends most of a single token's time between operators, some thirty of them per layer; ours
has a third of that and reads fused projections. Prompts still go through the model itself, pictures and all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Idefics3ForConditionalGeneration,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    MistralForCausalLM,
    PreTrainedModel,
    SmolVLMForConditionalGeneration,
)
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.mistral.modeling_mistral import MistralModel

from seeahead.models.decoder import Decoder, DecoderConfig, rotation_table

_HEADS_KNOWN = (
    LlamaForCausalLM,
    MistralForCausalLM,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    Idefics3ForConditionalGeneration,
    SmolVLMForConditionalGeneration,
)


def fused_decoder(model: PreTrainedModel) -> Decoder | None:
    """The model's language model as a compact decoder, or None where anything about it is not plain Llama.

    The weights are shared: the model's own projections become views into the fused ones, so it computes what it did
    before and no second copy stays in memory.
    """
    language = model.get_decoder()
    config = model.config.get_text_config()
    if type(model) not in _HEADS_KNOWN or type(language) not in (LlamaModel, MistralModel):
        return None
    if not _is_plain(model, language, config):
        return None
    shape = DecoderConfig.from_json({**config.to_dict(), "model_type": "llama", "head_dim": _head_width(config)})
    with torch.device("meta"):
        decoder = Decoder(shape)
    with torch.no_grad():
        for ours, theirs in zip(decoder.layers, language.layers, strict=True):
            attention, mlp = theirs.self_attn, theirs.mlp
            ours.qkv = _shared(attention.q_proj, attention.k_proj, attention.v_proj)
            ours.output, ours.down = attention.o_proj, mlp.down_proj
            ours.gate_up = _shared(mlp.gate_proj, mlp.up_proj)
            ours.attention_norm, ours.mlp_norm = theirs.input_layernorm.weight, theirs.post_attention_layernorm.weight
    decoder.embedding, decoder.norm, decoder.head = language.embed_tokens, language.norm.weight, model.lm_head
    decoder.register_buffer("_rotation", rotation_table(shape).to(model.device, model.dtype), persistent=False)
    return decoder.eval()


def _is_plain(model: PreTrainedModel, language: nn.Module, config: Any) -> bool:
    """No quantised, adapted, hooked, biased or spread-out layer; plain rotary positions; no window; SiLU."""
    layers = language.get_submodule("layers")
    projections = [module for name, module in layers.named_modules() if name.endswith("_proj")]
    weights = {(weight.device, weight.dtype) for weight in language.parameters()}
    return (
        len(projections) == 7 * config.num_hidden_layers
        and all(type(module) is nn.Linear and not _has_bias(module) for module in projections)
        and type(language.embed_tokens) is nn.Embedding
        and type(model.lm_head) is nn.Linear
        and not _has_bias(model.lm_head)
        and not any(_is_hooked(module) for module in language.modules())
        and len(weights) == 1
        and next(iter(weights))[1].is_floating_point
        and (config.rope_parameters or {}).get("rope_type", "default") == "default"
        and getattr(config, "sliding_window", None) is None
        and config.hidden_act == "silu"
    )


def _has_bias(module: nn.Module) -> bool:
    return getattr(module, "bias", None) is not None


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"))


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _shared(*parts: nn.Linear) -> nn.Linear:
    """One linear layer of all rows; the parts' weights become views of it."""
    weight = torch.cat([part.weight for part in parts])
    with torch.device("meta"):
        fused = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    fused.weight = nn.Parameter(weight, requires_grad=False)
    views: tuple[Tensor, ...] = weight.split([part.out_features for part in parts])
    for part, view in zip(parts, views, strict=True):
        part.weight.data = view
    return fused
