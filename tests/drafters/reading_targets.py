"""Tiny targets that were taught to read: what they say next depends on places in a prompt and in its images.

Answers of random targets hardly depend on places, so that readings of a drafter that differ in places differ by chance.
These repeat what lies a fixed number of positions before: words of a text, of an image its glyphs, which along M-RoPE's
axes are those of its diagonal, and along one axis those of a single row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_model, save_model
from torch import Tensor

from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, IMAGE_END, IMAGE_START
from seeahead.target import Target
from seeahead.testing import tiny_family
from seeahead.testing.models import TINY_MODELS

LAYERS, ANSWER, IMAGES = 8, 24, 3
RATE, BATCH = 2e-3, 8
STEPS = {"qwen2_5_vl": 600, "qwen3_vl": 600, "llava": 600, "llama": 150}
"""Of teaching: texts are learned long before images."""
SIDE = 4
"""Positions that an image takes up: Qwen's are as wide, and as high or a single row, LLaVA's has two tokens on each
side."""
WORDS = torch.arange(40, 72, 2)
"""A word per glyph; all of them are in vocabularies of drafters."""
MARKERS = {IMAGE_START: 120, IMAGE_END: 122}
"""What is said of markers."""
SPAN = IMAGES * (SIDE + 2) + 2
"""Positions of a prompt, and so between a word and where it is repeated."""
ROTATIONS: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {"mrope_section": [4, 6, 6]},
    "qwen3_vl": {"mrope_section": [4, 6, 6], "mrope_interleaved": True},
    "llava": {},
    "llama": {},
}
NOISE = 0.3
"""Of pixels, beside glyphs of one."""


def question(model_type: str, num_images: int, seed: int, num_words: int = 0) -> ModelInputs:
    """A prompt of random words and images of random glyphs, and the first `num_words` of what is to be said to it."""
    generator = torch.Generator().manual_seed(seed)
    words = iter(WORDS[torch.randint(len(WORDS), (SPAN,), generator=generator)].tolist())
    glyphs = [torch.randint(len(WORDS), _grid(model_type, number), generator=generator) for number in range(num_images)]
    tokens, said = [next(words)], list[int]()
    said += tokens
    for image in glyphs:
        tokens += [IMAGE_START, *[IMAGE] * image.numel(), IMAGE_END]
        seen = image.diagonal() if len(image) == SIDE else image.flatten()
        said += [MARKERS[IMAGE_START], *WORDS[seen].tolist(), MARKERS[IMAGE_END]]
    rest = [next(words) for _ in range(SPAN - len(said))]
    answer = [*said, *rest] * (num_words // SPAN + 1)
    token_ids = torch.tensor([[*tokens, *rest, *answer[:num_words]]])
    extras = _pixels(model_type, glyphs, generator) if num_images else {}
    return ModelInputs(token_ids, {**extras, **TINY_MODELS[model_type].type_ids(token_ids)})


def numbers_of_images(model_type: str) -> tuple[int, ...]:
    """Of its prompts."""
    return (0,) if model_type == "llama" else (0, IMAGES)


_TARGETS: dict[str, Target] = {}


def target(model_type: str, kept: Path | None = None) -> Target:
    """Taught once, which takes about a minute, or read from a folder in which it was `kept` before."""
    if model_type not in _TARGETS:
        family = _untaught(model_type)
        file = None if kept is None else kept / f"{model_type}-{STEPS[model_type]}.safetensors"
        if file is not None and file.is_file():
            load_model(family.model, file)
        else:
            teach(family, model_type, STEPS[model_type])
        if file is not None and not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_model(family.model, str(file))
        _TARGETS[model_type] = Target.of(family)
    return _TARGETS[model_type]


def teach(family: Family, model_type: str, steps: int) -> float:
    """Trains it to repeat; returns the share of words that it says right about the last images."""
    model: Any = family.model
    parameters = list(model.requires_grad_(True).parameters())
    optimizer, right = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.98)), 0.0
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 50, 2 * (1 - step / steps) + 0.02)
            loss = torch.zeros(())
            for num_images in numbers_of_images(model_type):
                seeds = range(BATCH * step, BATCH * (step + 1))
                batch = [question(model_type, num_images, 100_000 + seed, ANSWER) for seed in seeds]
                tokens = torch.cat([one.token_ids for one in batch])
                extras = {name: torch.cat([one.extras[name] for one in batch]) for name in batch[0].extras}
                logits = model(input_ids=tokens, **extras).logits[:, -ANSWER - 1 : -1]
                wanted = tokens[:, -ANSWER:]
                loss = loss + F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
                right = float((logits.argmax(-1) == wanted).float().mean())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    model.requires_grad_(False)
    return right


def _untaught(model_type: str) -> Family:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 50.0, **ROTATIONS[model_type]}
    changes: dict[str, Any] = {
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rope_parameters": rope,
    }
    family = tiny_family(model_type, num_hidden_layers=LAYERS, **changes)
    with torch.no_grad():  # branches a little quieter than random ones, as trained models have them
        for layer in family.model.get_decoder().layers:
            layer.self_attn.o_proj.weight.mul_(0.6)
            layer.mlp.down_proj.weight.mul_(0.2)
    return family


def _grid(model_type: str, number: int) -> tuple[int, int]:
    """Tokens of the image of that number, from top to bottom and from left to right."""
    if "qwen" in model_type:
        return (1 if number % 2 else SIDE), SIDE
    return SIDE // 2, SIDE // 2


@cache
def _looks(*shape: int) -> Tensor:
    """Of each glyph."""
    return torch.randn(len(WORDS), *shape, generator=torch.Generator().manual_seed(1))


def _pixels(model_type: str, glyphs: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Of images [high, wide] of glyphs, as a processor would make them."""
    if "qwen" in model_type:  # each token is of four patches
        shown = torch.cat([_looks(4, 3 * 2 * 4 * 4)[image].flatten(0, 2) for image in glyphs])
        grids = torch.tensor([[1, *(2 * side for side in image.shape)] for image in glyphs])
        return {"pixel_values": shown + NOISE * torch.randn(shown.shape, generator=generator), "image_grid_thw": grids}
    shown = _looks(3, 8, 8)[torch.stack(list(glyphs))].permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return {"pixel_values": shown + NOISE * torch.randn(shown.shape, generator=generator)}
