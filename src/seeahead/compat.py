"""Every name that changes between transformers releases: arguments, private helpers, classes without a public home.

A new release is taken in here, and nowhere else (`tests/test_architecture.py` sees to it).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.cache_utils import Cache as Cache
from transformers.cache_utils import CacheLayerMixin as CacheLayerMixin
from transformers.convert_slow_tokenizer import bytes_to_unicode as bytes_to_unicode
from transformers.generation.configuration_utils import GenerationMode as GenerationMode
from transformers.generation.streamers import BaseStreamer as BaseStreamer

from seeahead.errors import ModelError

OLDEST, NEWEST = "5.17", "5.24"
"""Supported releases of transformers, both ends tested; pyproject.toml states the same range."""

_CACHE_NAMES = ("cache", "past_key_values")


def cache_argument(function: Callable[..., Any]) -> str:
    """The argument of a model's `forward` that takes its cache: `past_key_values` before 5.24, `cache` since.

    Raises ModelError where there is none: a cache that does not arrive stays empty, and every answer is wrong.
    """
    parameters = inspect.signature(function).parameters
    # The next release may rename it again; its type says what it is under any name.
    by_type = [name for name, one in parameters.items() if "Cache" in str(one.annotation)]
    for name in (*_CACHE_NAMES, *by_type):
        if name in parameters:
            return name
    raise ModelError(
        f"{function.__qualname__} takes no cache under a name known here ({', '.join(_CACHE_NAMES)}); "
        f"install transformers {OLDEST} to {NEWEST}, or a model that decodes with a cache"
    )


def cache_in(outputs: Any) -> Any:
    """The cache that a forward has returned."""
    return next(outputs[name] for name in _CACHE_NAMES if outputs.get(name) is not None)


def prompt_arguments(model: PreTrainedModel, input_ids: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
    """What `generate` gives `model.forward` for a whole prompt, without ids, cache and what only steers outputs."""
    given = {name: value for name, value in arguments.items() if not isinstance(value, Cache)}
    prepare: Any = model.prepare_inputs_for_generation
    prepared = prepare(input_ids, is_first_iteration=True, **given)
    return {
        name: value
        for name, value in prepared.items()
        if value is not None and not isinstance(value, Cache) and name not in _STEERING
    }


_STEERING = (
    *("input_ids", "attention_mask", "use_cache", "logits_to_keep", "output_attentions", "output_hidden_states"),
    *_CACHE_NAMES,
)


def prepares_on_its_own(model: PreTrainedModel) -> bool:
    """Whether a model prepares the inputs of each step of `generate` in a way of its own, as Phi-3 does."""
    return "prepare_inputs_for_generation" in vars(type(model))


def generation_defaults() -> dict[str, Any]:
    """What `generate` fills in where neither the caller nor the model says anything."""
    defaults: dict[str, Any] = GenerationConfig._get_default_generation_params()
    return defaults


def rotary_index(model: PreTrainedModel) -> Callable[..., Any] | None:
    """M-RoPE models: (input_ids, grids, type ids) -> (position ids [3, 1, length], shift); None for other models.

    A pure function of its inputs, where `forward` without positions keeps the shift on the model that all share.
    """
    return getattr(getattr(model, "model", None), "get_rope_index", None)


def attention_of(config: Any) -> str | None:
    name: str | None = getattr(config, "_attn_implementation", None)
    return name


def set_attention(config: Any, name: str | None) -> None:
    config._attn_implementation = name


def recomputes(model: PreTrainedModel) -> bool:
    """Whether training recomputes activations (gradient checkpointing), for which models turn their cache off."""
    names = ("is_activation_checkpointing", "is_gradient_checkpointing")
    name = next((name for name in names if hasattr(type(model), name)), None)
    return name is not None and bool(getattr(model, name))


def tied_weights(model: PreTrainedModel) -> set[str]:
    """Names of weights that a checkpoint may leave out, since others stand for them."""
    return set(getattr(model, "all_tied_weights_keys", None) or ())


def plain_llama(module: nn.Module) -> str | None:
    """ "llama" or "mistral" for a language model that is exactly transformers' own, not something derived from it."""
    from transformers.models.llama.modeling_llama import LlamaModel
    from transformers.models.mistral.modeling_mistral import MistralModel

    return {LlamaModel: "llama", MistralModel: "mistral"}.get(type(module))


STATIC_ROTATIONS = ("linear", "llama3", "yarn")
"""Types of stretched rotary positions whose frequencies are the same for every length of a text."""


def scaled_rotation(table: dict[str, Any], width: int) -> tuple[torch.Tensor, float]:
    """Of a config's `table` of rotary positions, of one of the STATIC_ROTATIONS: frequencies [width / 2] of a head of
    `width`, and what cosines and sines are multiplied by. Raises what it likes for a table that is none."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config: Any = SimpleNamespace(rope_parameters=table, head_dim=width, hidden_size=width, num_attention_heads=1)
    config.standardize_rope_params = lambda: None
    frequencies, factor = ROPE_INIT_FUNCTIONS[table["rope_type"]](config, torch.device("cpu"))
    return frequencies.float(), float(factor)


def mask_functions() -> tuple[Any, Any]:
    """(registry of mask functions by attention implementation, the one of sdpa)."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    return AttentionMaskInterface, sdpa_mask


def gguf_reader() -> Any:
    from transformers import modeling_gguf_pytorch_utils

    return modeling_gguf_pytorch_utils


def clip_image_processor() -> Any:
    """CLIP's image processor that needs Pillow alone, without torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil


def decoder_types() -> frozenset[str]:
    """Model types that transformers loads as text decoders or vision-language models.

    It also loads halves of encoder-decoders and of speech models as decoders; those are not meant.
    """
    from transformers.models.auto import modeling_auto as auto

    halves = (*auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES)
    texts = frozenset(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).difference(halves)
    return texts | frozenset(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def takes_images(model_type: str, *, has_tower: bool) -> bool:
    """Whether models of a type are loaded with what reads images; `has_tower`: whether a config has one, which decides
    where transformers knows the type both ways, or not at all."""
    from transformers.models.auto import modeling_auto as auto

    maps = (auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    in_images, in_texts = (model_type in names for names in maps)
    return has_tower if in_images == in_texts else in_images


def known_types() -> frozenset[str]:
    from transformers.models.auto import configuration_auto

    return frozenset(vars(configuration_auto)["CONFIG_MAPPING_NAMES"])


def processor_type(model_type: str) -> Any:
    """The class that reads prompts with images for models of a type; AutoProcessor where none is named."""
    import transformers
    from transformers.models.auto import processing_auto

    return getattr(transformers, vars(processing_auto)["PROCESSOR_MAPPING_NAMES"].get(model_type) or "AutoProcessor")
