"""Runs a plain Llama-type language model through our compact decoder, on the same weights.

transformers' own forward spends most of a single token's time between operators, some thirty of them per layer; ours
has a third of that and reads fused projections. Of a prompt the model itself runs as far as its language model.

On a CPU the fused projections are packed, which costs a second copy of the language model's weights.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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

from seeahead.compat import plain_llama
from seeahead.errors import SeeaheadError
from seeahead.executors.hooks import has_global_hooks, num_hooks
from seeahead.executors.linear import can_pack, linear, pack, share
from seeahead.executors.llama import Llama, LlamaShape, rotation_table

_HEADS_KNOWN = (
    *(LlamaForCausalLM, MistralForCausalLM, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration),
    *(Idefics3ForConditionalGeneration, SmolVLMForConditionalGeneration),
)
_MODEST = 8 << 30
"""Bytes of memory, where the system does not say."""


@dataclass(frozen=True)
class FusedDecoder:
    """A compact decoder on a model's weights, and what these were when it was made."""

    decoder: Llama
    model: PreTrainedModel
    is_packed: bool
    seen: tuple[Any, ...]

    def is_current(self) -> bool:
        """Whether the decoder still says what the model does: nothing hooked, adapted, moved or replaced since."""
        return _is_plain(self.model) and _weights_seen(self.model, self.is_packed) == self.seen


def fused_decoder(model: PreTrainedModel) -> FusedDecoder | None:
    """The model's language model as a compact decoder, or None where anything about it is not plain Llama.

    Where weights can be packed, and once more take at most an eighth of this machine's memory, the decoder gets packed
    ones. Else they are shared: the model's own projections become views into the fused ones, so it computes what it did
    before and no second copy stays.
    """
    if not _is_plain(model):
        return None
    language, config = model.get_decoder(), model.config.get_text_config()
    values = {**config.to_dict(), "model_type": "llama", "head_dim": _head_width(config)}
    try:
        shape = LlamaShape.from_json(values)
    except SeeaheadError:  # a config with a key that a plain Llama has not
        return None
    with torch.device("meta"):
        decoder = Llama(shape)
    is_small = 8 * sum(weight.nbytes for weight in language.parameters()) <= memory_bytes()
    is_packed = is_small and can_pack(model.lm_head.weight)

    def join(*parts: nn.Linear) -> nn.Linear:
        return linear(torch.cat([part.weight for part in parts]) if is_packed else share(*parts)[0])

    with torch.no_grad():
        for ours, theirs in zip(decoder.layers, language.layers, strict=True):
            attention, mlp = theirs.self_attn, theirs.mlp
            ours.qkv = join(attention.q_proj, attention.k_proj, attention.v_proj)
            ours.output, ours.down = attention.o_proj, mlp.down_proj
            ours.gate_up = join(mlp.gate_proj, mlp.up_proj)
            if is_packed:  # layer by layer, so that no third copy is ever held
                pack(ours)
            ours.attention_norm, ours.mlp_norm = theirs.input_layernorm.weight, theirs.post_attention_layernorm.weight
    decoder.embedding, decoder.norm, decoder.head = language.embed_tokens, language.norm.weight, model.lm_head
    if is_packed:
        pack(decoder)
    decoder.register_buffer("_rotation", rotation_table(shape).to(model.device, model.dtype), persistent=False)
    return FusedDecoder(decoder.eval(), model, is_packed, _weights_seen(model, is_packed))


def _weights_seen(model: PreTrainedModel, is_packed: bool) -> tuple[Any, ...]:
    """Where the weights lie; of packed ones, which are copies, also how often they were written and some values."""
    parameters = [*model.get_decoder().parameters(), *model.lm_head.parameters()]
    buffers = tuple((buffer.data_ptr(), _writes(buffer)) for buffer in model.get_decoder().buffers())
    places = (*(parameter.data_ptr() for parameter in parameters), buffers)
    if not is_packed:
        return places
    with torch.no_grad():
        flat = [parameter.view(-1) for parameter in parameters]
        samples = [one[:: max(1, len(one) // 16)][:16].float().sum() for one in flat]
        return (*places, *(_writes(parameter) for parameter in parameters), *torch.stack(samples).tolist())


def _writes(tensor: Tensor) -> int:
    """How often a tensor was written in place; one made in inference mode is not counted."""
    return 0 if tensor.is_inference() else tensor._version


def _is_plain(model: PreTrainedModel) -> bool:
    """No quantised, adapted, hooked, biased or spread-out layer; plain rotary positions; no window; SiLU."""
    language, config = model.get_decoder(), model.config.get_text_config()
    if type(model) not in _HEADS_KNOWN or plain_llama(language) is None:
        return False
    head, modules = model.lm_head, list(language.modules())
    layers = language.get_submodule("layers")
    linear = [head, *(module for name, module in layers.named_modules() if name.endswith("_proj"))]
    weights = list(language.parameters())
    return (
        len(linear) == 1 + 7 * config.num_hidden_layers
        and all(type(module) is nn.Linear and module.bias is None for module in linear)
        and type(language.embed_tokens) is nn.Embedding
        # Quantised weights are subclasses of a tensor inside plain linear layers.
        and all(type(weight.data) is Tensor for weight in (*weights, *head.parameters()))
        and len({(weight.device, weight.dtype) for weight in weights}) == 1
        and weights[0].dtype.is_floating_point
        and not any(num_hooks(module) for module in (*modules, head, model, getattr(model, "model", model)))
        and not has_global_hooks()
        and all(_is_as_configured(module, config) for module in modules)
        and (config.rope_parameters or {}).get("rope_type", "default") == "default"
        and _turns_as_configured(language, config)
        and getattr(config, "sliding_window", None) is None
        and config.hidden_act == "silu"
    )


def _is_as_configured(module: nn.Module, config: Any) -> bool:
    """Whether a part is of a class that the library or torch ships, with the numbers that the config states."""
    scaling, epsilon = getattr(module, "scaling", None), getattr(module, "variance_epsilon", None)
    activation = getattr(module, "act_fn", None)
    return (
        type(module).__module__.startswith(("torch.nn.modules", "transformers."))
        and (scaling is None or abs(scaling - _head_width(config) ** -0.5) < 1e-9)
        and (epsilon is None or epsilon == config.rms_norm_eps)
        and (activation is None or type(activation).__name__.startswith("SiLU"))
    )


def _turns_as_configured(language: nn.Module, config: Any) -> bool:
    """Whether the model's rotary frequencies are those of its config, from which ours are made."""
    width = _head_width(config)
    steps = torch.arange(0, width, 2, dtype=torch.float32)
    expected = float(config.rope_parameters["rope_theta"]) ** (-steps / width)
    found = [buffer for name, buffer in language.named_buffers() if name.rpartition(".")[2] == "inv_freq"]
    return all(buffer.shape == expected.shape and torch.allclose(buffer.float().cpu(), expected) for buffer in found)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def memory_bytes() -> int:
    """Of this machine; a modest guess where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not a POSIX system
        return _MODEST
