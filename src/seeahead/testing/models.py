"""Tiny random models of every family, and prompts with images for them, as their processors would make them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedModel,
)

from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.testing.configs import (
    BOS,
    CONFIGS,
    END,
    FIRST_WORD,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    PAD,
    VIDEO,
    VOCAB_SIZE,
)

SPECIAL = (PAD, BOS, END, IMAGE, IMAGE_START, IMAGE_END, VIDEO)


def tiny_model(model_type: str, seed: int = 0, attention: str | None = None, **changes: Any) -> PreTrainedModel:
    """A float32 model with weights that depend on `seed` alone; `changes` go into its (text) config.

    `attention` None is what transformers takes by itself: `sdpa`, or `eager` where that is all a model has.

    Its greedy answers wander through the vocabulary and never contain a special token, so that end tokens and
    placeholders appear only where a test puts them.
    """
    values = {name: value for name, value in CONFIGS[model_type].items() if name != "model_type"}
    if "text_config" in values:
        values["text_config"] = {**values["text_config"], **changes}
    else:
        values |= changes
    config = AutoConfig.for_model(model_type, **values)
    auto = AutoModelForImageTextToText if "vision_config" in values else AutoModelForCausalLM
    # Building draws from the global generator; what it drew is overwritten.
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = auto.from_config(config, attn_implementation=attention, dtype=torch.float32)
    _fill(model, seed)
    model.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=END)
    model.eval()
    return model


def tiny_family(model_type: str, seed: int = 0, **changes: Any) -> Family:
    """The family of a tiny model, without a processor: it takes `ModelInputs`, not prompts."""
    return family_for(tiny_model(model_type, seed, **changes))


@torch.no_grad()
def _fill(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * (1.4 / parameter[0].numel() ** 0.5))
        elif bool((parameter == parameter[0]).all()):
            # Norms and biases stay near what they start as.
            parameter.add_(0.1 * noise)
        else:
            parameter.copy_(noise)
    embedding: Any = model.get_input_embeddings()
    embedding.weight.copy_(torch.randn(embedding.weight.shape, generator=generator))
    # Gemma3 scales its embeddings up by the root of the width.
    embedding.weight.div_(getattr(embedding, "scalar_embed_scale", 1.0))
    head: Any = model.get_output_embeddings()
    # A row of zeros scores 0, which among so many tokens is never the best.
    head.weight[list(SPECIAL)] = 0


def tiny_inputs(model_type: str, num_images: int = 0, num_words: int = 8, seed: int = 0) -> ModelInputs:
    """A prompt of `num_words` random words with `num_images` images spread through it, each of other pixels."""
    generator = torch.Generator().manual_seed(1000 + seed)
    words = torch.randint(FIRST_WORD, VOCAB_SIZE, (num_words,), generator=generator).tolist()
    sizes, extras = _PIXELS[model_type](num_images, generator) if num_images else ([], {})
    tokens = words[:2]
    for number, size in enumerate(sizes):
        tokens += [IMAGE_START, *[IMAGE] * size, IMAGE_END, *words[2 + number : 3 + number]]
    tokens += words[2 + num_images :]
    token_ids = torch.tensor([tokens])
    is_image = (token_ids == IMAGE).int()
    if model_type == "paligemma":
        extras["token_type_ids"] = torch.zeros_like(token_ids)  # prompts with images and others
    elif num_images and model_type == "gemma3":
        extras["token_type_ids"] = is_image
    elif num_images and model_type.startswith(("qwen", "glm")):
        extras["mm_token_type_ids"] = is_image
    return ModelInputs(token_ids, extras)


Pixels = tuple[list[int], dict[str, torch.Tensor]]
"""Placeholders per image, and the tensors that go with them."""


def _flat(num_images: int, generator: torch.Generator) -> Pixels:
    return [4] * num_images, {"pixel_values": torch.randn(num_images, 3, 16, 16, generator=generator)}


def _tiles(num_images: int, generator: torch.Generator) -> Pixels:
    """Idefics3: images become tiles of one batch row."""
    return [4] * num_images, {
        "pixel_values": torch.randn(1, num_images, 3, 16, 16, generator=generator),
        "pixel_attention_mask": torch.ones(1, num_images, 16, 16, dtype=torch.long),
    }


def _llava_next(num_images: int, generator: torch.Generator) -> Pixels:
    """Wide images: an overview and two tiles of 2 x 2 patches, a newline per row. Every second: four tiles."""
    sizes = [[16, 32] if number % 2 == 0 else [32, 32] for number in range(num_images)]
    counts = [4 + 2 * (4 + 1) if number % 2 == 0 else 4 + 4 * (4 + 1) for number in range(num_images)]
    return counts, {
        "pixel_values": torch.randn(num_images, 5, 3, 16, 16, generator=generator),
        "image_sizes": torch.tensor(sizes),
    }


def _qwen(num_images: int, generator: torch.Generator) -> Pixels:
    """Grids of 4 x 6 and 4 x 4 patches, merged two by two."""
    grids = [[1, 4, 6] if number % 2 == 0 else [1, 4, 4] for number in range(num_images)]
    num_patches = sum(height * width for _, height, width in grids)
    return [height * width // 4 for _, height, width in grids], {
        "pixel_values": torch.randn(num_patches, 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor(grids),
    }


def _pixtral(num_images: int, generator: torch.Generator) -> Pixels:
    """Images of 16 x 24 and 16 x 16 in patches of 4, merged two by two; the smaller ones are padded."""
    sizes = [[16, 24] if number % 2 == 0 else [16, 16] for number in range(num_images)]
    return [height * width // 64 for height, width in sizes], {
        "pixel_values": torch.randn(num_images, 3, 16, 24, generator=generator),
        "image_sizes": torch.tensor(sizes),
    }


_PIXELS = {
    "llava": _flat,
    "llava_next": _llava_next,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "idefics3": _tiles,
    "smolvlm": _tiles,
    "gemma3": _flat,
    "internvl": _flat,
    "llava_onevision": _llava_next,
    "mistral3": _pixtral,
    "glm4v": _qwen,
    "glm46v": _qwen,
    "aya_vision": _flat,
    "paligemma": _flat,
    "qwen3_vl_moe": _qwen,
}
