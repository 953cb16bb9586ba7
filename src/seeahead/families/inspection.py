"""What can be seen of a model before it runs: what it is inside its wrappers, and what no draft can be exact on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead.compat import attention_of, recomputes
from seeahead.errors import ModelError
from seeahead.executors.hooks import has_global_hooks, num_hooks

WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Types of attention layers that do not see everything -> the setting that says how far they see."""

LAYER_TYPES = {"full_attention", *WINDOWS}
"""Types of attention layers for which the mask of a tree is known."""


def unwrapped(model: Any) -> PreTrainedModel:
    """The transformers model inside torch.compile's and PEFT's wrappers. Raises ModelError where there is none.

    Adapters live in the layers, so the model inside has them. Learned prompts do not: those are refused.
    """
    model = getattr(model, "_orig_mod", model)
    if hasattr(model, "get_base_model"):
        kinds = getattr(model, "peft_config", {}).values()
        if any(getattr(kind, "is_prompt_learning", False) for kind in kinds):
            raise ModelError("the model has a learned prompt before its own (PEFT), which drafts cannot see; use LoRA")
        if any(map(_looks_at_prompts, kinds)):
            raise ModelError(
                "the model's adapter goes by what the prompt says (PEFT), which drafts cannot see; use LoRA"
            )
        model = unwrapped(model.get_base_model())
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"a {type(model).__name__} was given; give a transformers model with its language head")
    return model


def _looks_at_prompts(adapter: Any) -> bool:
    """Activated LoRA, whose weights begin at words of the prompt, and mixtures whose parts a wrapper weighs."""
    name = str(getattr(adapter, "peft_type", "")).upper()
    return bool(getattr(adapter, "alora_invocation_tokens", None)) or name.endswith(("XLORA", "POLY"))


_RECURRENT_LAYERS = ("linear", "mamba", "recurrent", "ssm", "conv", "hybrid")


def check_model(model: PreTrainedModel) -> None:
    """Raises ModelError, with the reason and the way out, for a model on which no draft could be exact."""
    for fault in _faults(model):
        raise ModelError(fault)


def _faults(model: PreTrainedModel) -> Iterator[str]:
    if model.get_output_embeddings() is None:
        yield (
            f"{type(model).__name__} has no language head; load the model with AutoModelForImageTextToText or "
            "AutoModelForCausalLM"
        )
    config, name = model.config.get_text_config(), model.config.model_type
    types = {str(kind) for kind in getattr(config, "layer_types", None) or ()}
    recurrent = sorted(kind for kind in types if any(word in kind for word in _RECURRENT_LAYERS))
    if recurrent or getattr(config, "is_encoder_decoder", False):
        yield (
            f"model type '{config.model_type}' has {', '.join(recurrent) or 'encoder-decoder'} layers, whose cache "
            "cannot roll back refused tokens; use a decoder whose layers are all attention"
        )
    if types - LAYER_TYPES:
        yield (
            f"model type '{name}' has {', '.join(sorted(types - LAYER_TYPES))} layers, for which no tree mask is "
            f"known; use a model whose layers are {', '.join(sorted(LAYER_TYPES))}"
        )
    local = [kind for kind in getattr(config, "attention_layers", None) or () if kind != "global"]
    if local and not hasattr(config, "layer_types"):
        yield (
            f"model type '{name}' has {local[0]} attention whose window counts cache columns, so that a tree would "
            "push tokens out of it; use a model without"
        )
    attention = attention_of(config)
    if attention not in (None, "eager", "sdpa"):
        yield (
            f"attention implementation '{attention}' takes no tree mask; load the model with "
            "attn_implementation='sdpa', or call model.set_attn_implementation('sdpa')"
        )
    yield from _faults_of_layers(model)
    if model.training and recomputes(model):
        yield "the model is training with gradient checkpointing, which uses no cache; call model.eval()"


def _faults_of_layers(model: PreTrainedModel) -> Iterator[str]:
    """Layers whose scales or outliers are found over all rows of a pass, so that a draft would change the target; and
    in training mode, which is left as it is, layers whose passes are random."""
    for name, module in model.named_modules():
        kind = type(module)
        shares_rows = kind.__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.qat", "torch.nn.quantized"))
        if shares_rows or (kind.__name__ == "Linear8bitLt" and getattr(module, "threshold", 6.0) > 0):
            yield (
                f"layer {name} is {kind.__module__}.{kind.__name__}, which quantises activations over all rows of a "
                "pass, so that a draft changes the model's own answer; quantise weights only, or activations by row"
            )
        if any(map(_scales_whole_passes, module.parameters(recurse=False))):
            yield (
                f"layer {name} has one scale for the activations of a whole pass, so that a draft changes the model's "
                "own answer; quantise weights only, or activations by row"
            )
        if not module.training:  # a part may be, of a model that is not
            continue
        rates = [module.p] if isinstance(module, nn.modules.dropout._DropoutNd) else []
        # Layers of transformers also drop by numbers of their own, under several names.
        own = vars(module).items()
        rates += [value for key, value in own if ("drop" in key or "jitter" in key) and isinstance(value, float)]
        if any(rate > 0 for rate in rates):
            yield f"the model, or a part of it, is in training mode and {name} is random there; call model.eval()"


def _scales_whole_passes(weight: Any) -> bool:
    """Of torchao's quantised weights, which say how activations are to be."""
    how = getattr(weight, "act_quant_kwargs", None)
    is_one = type(getattr(how, "granularity", None)).__name__ == "PerTensor"
    return is_one or bool(getattr(how, "use_dynamic_per_tensor_scale", False))


def context_of(config: Any) -> int | None:
    """Most tokens of prompt and answer together: what the positions reach, scaled ones included; None without limit."""
    longest: int | None = getattr(config, "max_position_embeddings", None)
    if longest is None:
        return None
    reach, ropes = longest, ropes_of(config)
    for rope in ropes:
        if rope.get("rope_type") == "dynamic":
            return None
        original = rope.get("original_max_position_embeddings")
        # One type of layers beside others is scaled to reach what the config says already.
        if rope.get("rope_type") in _SCALED and (original or len(ropes) == 1):
            reach = max(reach, math.floor((original or longest) * float(rope.get("factor") or 1.0)))
    return reach


_SCALED = ("linear", "yarn", "longrope")
"""But for llama3, whose config says what it reaches."""


def ropes_of(config: Any) -> list[dict[str, Any]]:
    """The rotary settings of a text config: one, or one for each type of layer."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if "rope_type" not in rope and any(isinstance(one, dict) for one in rope.values()):
        return [dict(one) for one in rope.values() if isinstance(one, dict)]
    return [dict(rope)]


def borders_of(config: Any) -> tuple[list[int], list[int]]:
    """Positions at which rotary factors change with the longest row of a pass: once, and with every further one.

    LongRoPE's change for all rows of a pass that reaches the border; no pass may cross it. Dynamic ones go on changing.
    """
    found: dict[Any, list[int]] = {"longrope": [], "dynamic": []}
    for rope in ropes_of(config):
        if (kind := rope.get("rope_type")) in found:
            stated = getattr(config, "original_max_position_embeddings", None)
            original = rope.get("original_max_position_embeddings") or stated or config.max_position_embeddings
            found[kind].append(int(original))
    return found["longrope"], found["dynamic"]


def fingerprint(model: PreTrainedModel) -> tuple[Any, ...]:
    """What of a model must not change unseen between two answers; equal as long as nothing did. Costs under 1 ms."""
    kinds = tuple(
        (id(module), type(module), module.training, num_hooks(module), _set_to(module)) for module in model.modules()
    )
    config = model.config.get_text_config()
    # A config may be edited in place, and models read it at every pass.
    stated = hash(repr(sorted(vars(config).items(), key=str)))
    return attention_of(config), model.dtype, model.device, model.training, hash(kinds), stated, has_global_hooks()


def _set_to(module: nn.Module) -> str:
    """Which of several adapters a layer of peft uses, and how strong; nothing of other modules."""
    own = vars(module)
    is_adapter = "_disable_adapters" in own or "_active_adapter" in own
    return repr([own.get(name) for name in _SET_TO]) if is_adapter else ""


_SET_TO = ("_active_adapter", "_disable_adapters", "merged_adapters", "scaling")


def is_customised(model: PreTrainedModel) -> bool:
    """Whether code that nobody can name takes part in the model's passes: hooks, forwards of its own, other classes."""
    known = ("torch.", "transformers.", "peft.", "accelerate.", "torchao.", "bitsandbytes.")
    return has_global_hooks() or any(
        num_hooks(module) > hasattr(module, "_hf_hook") + (hasattr(module, "_hf_hook") and "forward" in vars(module))
        or not type(module).__module__.startswith(known)
        for module in model.modules()
    )


def place_of(model: PreTrainedModel) -> torch.device:
    """Where inputs go: the model's first weight, or where an offloaded model runs."""
    if model.device.type != "meta":
        return model.device
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            if (place := getattr(one, "execution_device", None)) is not None:
                return torch.device(place)
    raise ModelError("the model's weights are not loaded (they are on the meta device); load them first")
