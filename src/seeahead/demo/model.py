"""Puts the demo target together: SmolLM2 from its GGUF file, trained tower, projector and LoRA, as a plain LLaVA."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from seeahead.compat import clip_image_processor, gguf_reader
from seeahead.errors import ModelError

SETTINGS: Mapping[str, Mapping[str, Any]] = tomllib.loads(Path(__file__).with_name("model.toml").read_text("utf-8"))
IMAGE_TOKEN: str = SETTINGS["processor"]["image_token"]
NUM_IMAGE_TOKENS: int = SETTINGS["llava"]["image_seq_length"]
ADAPTER_SCALE = 2.0  # LoRA: alpha / rank

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
_KEPT = (*_SIZES, "head_dim", "max_position_embeddings")
"""Of the configuration that is read from a GGUF file."""

# Its lines are for the reader alone: what is written ends with \\n inside of quotes.
CHAT_TEMPLATE = "".join(Path(__file__).with_name("chat_template.jinja").read_text("utf-8").splitlines())


def language_config(base: LlamaConfig, vocab_size: int) -> LlamaConfig:
    """A clean configuration: the one read from a GGUF file carries a quantization entry that must not be saved."""
    return LlamaConfig(
        **{name: getattr(base, name) for name in _KEPT},
        vocab_size=vocab_size,
        rms_norm_eps=round(base.rms_norm_eps, 9),
        rope_parameters={"rope_type": "default", "rope_theta": dict(base.rope_parameters or {})["rope_theta"]},
        **SETTINGS["language"],
    )


def load_language_model(gguf: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """SmolLM2 in float32 with one more row for the image placeholder, and its tokenizer with that token."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    base = LlamaForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    return with_image_token(base, tokenizer)


@contextmanager
def no_bars() -> Iterator[None]:
    """transformers draws no progress bars meanwhile; the one of its reader of GGUF files no setting turns off."""
    reader, are_shown = vars(gguf_reader()), logging.is_progress_bar_enabled()
    bar = reader.get("tqdm")
    reader["tqdm"] = lambda tensors, **settings: tensors
    logging.disable_progress_bar()
    try:
        yield
    finally:
        reader["tqdm"] = bar
        if are_shown:
            logging.enable_progress_bar()


def with_image_token(
    base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN], "pad_token": "<|endoftext|>"})
    tokenizer.chat_template = CHAT_TEMPLATE
    model = LlamaForCausalLM(language_config(base.config, len(tokenizer)))
    state = base.state_dict()
    rows = state["model.embed_tokens.weight"]
    # Rows 3-16 are tokens the chat model never says: their mean gives the placeholder a low logit, zeros would not.
    state["model.embed_tokens.weight"] = torch.cat([rows, rows[3:17].mean(0, keepdim=True)])
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    model.eval()
    return model, tokenizer


def build_processor(tokenizer: PreTrainedTokenizerBase) -> LlavaProcessor:
    images = clip_image_processor()(**SETTINGS["images"])
    return LlavaProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, **SETTINGS["processor"])


def build_target(
    language: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, sizes: Mapping[str, int] | None = None
) -> LlavaForConditionalGeneration:
    """A LLaVA around this language model; projector and vision tower, of other `sizes` if given, start at random."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**{**SETTINGS["vision"], **(sizes or {})}),
        text_config=language.config,
        image_token_index=tokenizer.get_vocab()[IMAGE_TOKEN],
        **SETTINGS["llava"],
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict(), strict=True)
    model.tie_weights()
    model.generation_config.update(**SETTINGS["generation"])
    model.eval()
    return model


def tower_and_projector(model: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    tower = {f"vision_tower.{name}": value for name, value in model.model.vision_tower.named_parameters()}
    projector = {f"projector.{name}": value for name, value in model.model.multi_modal_projector.named_parameters()}
    # The last norm of a CLIP tower comes after the features LLaVA takes: it is never trained.
    return {name: value for name, value in {**tower, **projector}.items() if "post_layernorm" not in name}


def place_weights(model: LlavaForConditionalGeneration, weights: Path) -> None:
    """Puts the shipped tower, projector and adapter into a fresh target."""
    saved = load_file(weights / "vision.safetensors")
    wanted = tower_and_projector(model)
    if saved.keys() != wanted.keys():
        odd = sorted(saved.keys() ^ wanted.keys())
        raise ModelError(f"vision.safetensors and the vision tower differ in {', '.join(odd[:3])}; rebuild the weights")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(saved[name])
    merge_adapter(model, load_file(weights / "language-lora.safetensors"))


def merge_adapter(model: LlavaForConditionalGeneration, adapter: dict[str, Tensor]) -> None:
    """Adds scale * B @ A to every adapted layer of the language model; names are `<layer>.lora_A` and `.lora_B`."""
    for layer in sorted({name.rsplit(".", 1)[0] for name in adapter}):
        try:
            weight = model.model.language_model.get_submodule(layer).weight
        except AttributeError:
            raise ModelError(
                f"the adapter names the layer {layer}, which the language model lacks; rebuild it"
            ) from None
        down, up = adapter[f"{layer}.lora_A"].float(), adapter[f"{layer}.lora_B"].float()
        weight.data.add_(up @ down, alpha=ADAPTER_SCALE)


def save_target(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
