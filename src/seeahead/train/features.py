"""Feature drafters under training: MSD (Lin et al. 2025, sections 3.3 and 3.4), EAGLE (Li et al. 2024), EAGLE-3 (Li et
al. 2025) and ViSpec (Kang et al. 2025).

One sees the target's features, of the last layer with a little noise, and learns what comes after each slot: by
SmoothL1 the target's next feature, and by cross-entropy what the target's head makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seeahead.drafters.features import Beginning, Slots, placeholder_of
from seeahead.drafters.msd import MsdNetwork
from seeahead.executor import FEATURES
from seeahead.executors.linear import linear
from seeahead.families.base import Family
from seeahead.target import Target
from seeahead.train.data import Dataset, Kinds, Objective
from seeahead.train.examples import SLOT, Example, Sampler, mixed
from seeahead.train.feature_networks import Learner, begun, saved, to_train
from seeahead.train.gathered import Gathered, GatheredFeatures, can_gather, gathers
from seeahead.train.loop import Loss, Processes
from seeahead.train.recipe import StageRecipe
from seeahead.train.responses import loaded
from seeahead.train.unrolled import Slate, guesses

NOISE = 0.2
"""Width of the uniform noise at 512 tokens; it shrinks with the length (EAGLE's code)."""


@dataclass(frozen=True)
class FeatureBatch:
    """Of the slots of `slate` that are taught: `wanted` [taught, width] the target's next features, `tokens` [taught]
    the draft ids of its own tokens there, -1 where these are not known."""

    slate: Slate
    wanted: Tensor
    tokens: Tensor


def _has_room(examples: Sequence[Example], family: Family) -> bool:
    """Whether features and visual embeddings, in 16 bits, leave most of a GPU's memory to training; while they are put
    together they are there twice."""
    if family.device.type != "cuda":
        return True
    slots = sum(len(one.ids) + sum(token < 0 for token in one.ids) for one in examples)
    free, _ = torch.cuda.mem_get_info(family.device)
    return 2 * (2 * slots * family.width) < _OF_FREE * free


_OF_FREE = 0.6


class FeatureObjective(Objective):
    """What the target says next, over a mixture of text and images."""

    def __init__(self, dataset: Dataset, kinds: Kinds, learner: Learner) -> None:
        super().__init__(dataset, kinds, learner.network, learner.vocabulary)
        rows = self.family.executor.head_rows(learner.vocabulary.target_ids).clone()
        self.targets_head = self.head = linear(rows)
        self.has_own_head = learner.head is not None
        if learner.head is not None:
            self.head = linear(learner.head.to(rows.device)).requires_grad_()
        self.decoder_head = self.network.decoder.for_head(self.head)

    @classmethod
    def begin(cls, dataset: Dataset, start: Path | None) -> FeatureObjective:
        """`start`: a drafter to go on from; None: from scratch. Raises ModelError for one that does not fit."""
        data, family = dataset.gather(), dataset.family
        if start is not None:
            return cls(dataset, data, to_train(start, family))
        torch.manual_seed(dataset.recipe.seed)
        return cls(dataset, data, begun(dataset.recipe, family, dataset.vocabulary(data)))

    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """By name; those of the target stay as they are."""
        own = {"lm_head.weight": self.head.weight} if self.has_own_head else {}
        return {**self.network.trained(), **own}

    def sampler(self, stage: StageRecipe) -> Sampler:
        limits = stage.limits
        num_batches = limits.steps * limits.accumulate * Processes().number
        return mixed(self.data["answers"], stage.mixture, num_batches, limits.batch_size, self.dataset.recipe.seed)

    def batch(self, examples: Sequence[Example], noise: torch.Generator | None = None) -> FeatureBatch:
        """`noise` is drawn from; None: there is none."""
        if self.gathered is not None:
            return self.gathered_batch(self.gathered.gather(examples), noise)
        read: list[Beginning] = []
        parts: list[tuple[Tensor, ...]] = []
        layers = tuple({*self.network.layers, *FEATURES})
        for row, example in enumerate(loaded(example, layers) for example in examples):
            assert example.features is not None
            slots = self.slots(example, noise)
            with torch.autocast(slots.features.device.type, torch.bfloat16):
                read.append(self.network.begin(slots))
            # Images may have become smaller; the response's slots are the last ones.
            removed = len(slots.embeddings) - len(read[-1].x)
            first, last = max(0, example.start - 2), len(example.ids) - 2
            columns = torch.arange(first, last)
            parts.append(
                (
                    torch.full_like(columns, row),
                    columns - removed,
                    slots.embeddings[first:last],
                    example.features[-1][first + 1 : last + 1].float(),
                    self.table[torch.tensor(example.ids[first + 2 : last + 2])],
                )
            )
        x = pad_sequence([one.x.float() for one in read], batch_first=True)
        rows, columns, embeddings, wanted, tokens = (torch.cat(part).to(x.device) for part in zip(*parts, strict=True))
        return FeatureBatch(Slate(x, *_beside(read, x), rows, columns, embeddings), wanted, tokens)

    @cached_property
    def gathered(self) -> GatheredFeatures | None:
        """Every example on the GPU, where there is one and the network reads images as can be gathered."""
        network, every = self.network, [*self.data["answers"], *self.watched]
        if not isinstance(network, MsdNetwork) or not gathers(self.family.device):
            return None
        if not (can_gather(every, network.options) and _has_room(every, self.family)):
            return None
        with torch.inference_mode(False):  # asked for while measuring, it serves training too
            return GatheredFeatures(every, network.options, self.family.device)

    def gathered_batch(self, own: Gathered, noise: torch.Generator | None) -> FeatureBatch:
        """What `batch` makes of examples one by one, made of all at once."""
        embeddings = self.family.executor.embed(own.ids.clamp_min(0)).float().clone()
        if own.visual is not None:
            embeddings = embeddings.masked_scatter(own.is_visual[:, None], own.visual.float())
        features = own.features.float()
        if noise is not None:
            generator = torch.Generator(features.device).manual_seed(noise.initial_seed())
            drawn = torch.rand(features.shape, generator=generator, device=features.device) - 0.5
            features = features + drawn * (NOISE * 512 / own.lengths)[:, None]
        with torch.autocast(features.device.type, torch.bfloat16):
            fused = self.network.text(embeddings, features).float()
        slots = torch.where(own.is_visual[:, None], embeddings, fused) * own.weights[:, None]
        num_rows, num_columns = own.shape
        x = slots.new_zeros(num_rows * num_columns, slots.shape[-1]).index_add(0, own.places, slots)
        x = x.view(num_rows, num_columns, -1)
        slate = Slate(x, *_beside([], x), own.rows, own.columns, embeddings[own.taught])
        return FeatureBatch(slate, own.wanted, self.table.to(x.device)[own.tokens])

    def slots(self, example: Example, noise: torch.Generator | None) -> Slots:
        """Slot j: the embedding of token j + 1 and the feature of position j."""
        ids, states = torch.tensor(example.ids), example.features or {}
        placeholder = placeholder_of(self.family)
        is_image = ids == SLOT if placeholder is not None else ids < 0
        known = torch.where(is_image, placeholder or 0, ids).clamp_min(0)
        embeddings = self.family.executor.embed(known.to(self.family.device)).float().clone()
        if example.visual is not None:  # of markers too, which read as they do in text
            seen = (ids < 0) if self.network.sees else (ids < 0) & ~is_image
            embeddings[seen] = example.visual.to(embeddings)[seen[ids < 0]]
        kept = {layer: states[layer].to(embeddings) for layer in self.network.layers}
        if noise is not None and self.network.layers == FEATURES:
            drawn = torch.rand(kept[-1].shape, generator=noise) - 0.5
            kept[-1] = kept[-1] + (drawn * NOISE * 512 / len(ids)).to(kept[-1])
        with torch.autocast(embeddings.device.type, torch.bfloat16):
            features = self.network.features(kept).float()
        is_visual = ids < 0 if self.network.reads_markers else is_image
        return Slots(embeddings[1:], features, is_visual[1:].to(embeddings.device))

    def loss(self, examples: Sequence[Example], stage: StageRecipe, noise: torch.Generator) -> Loss:
        return self.loss_of(self.batch(examples, noise), stage.loss, stage.ahead, stage.decay)

    def loss_of(self, batch: FeatureBatch, weights: Mapping[str, float], ahead: int = 0, decay: float = 1.0) -> Loss:
        """`ahead`: for so many further tokens the taught slots read what was guessed for the slot before, as they do
        when drafting; each counts `decay` times as much as the one before. The regression alone is told beside."""
        x, losses, counted = batch.slate.x, list[Tensor](), list[float]()
        values = {"tokens": float(x.shape[0] * x.shape[1])}
        with torch.autocast(x.device.type, torch.bfloat16):
            shares = self.targets_head(batch.wanted).float().softmax(-1)
            steps = guesses(self.network, batch.slate, ahead)
            for step, (guessed, taught) in enumerate(steps):
                if not len(taught):
                    break
                logits = self.decoder_head(guessed).float()
                soft = -(shares[taught] * logits.log_softmax(-1)).sum(-1).mean()
                loss = weights.get("soft-cross-entropy", 0.0) * soft
                if "smooth-l1" in weights:
                    regression = F.smooth_l1_loss(guessed.float(), batch.wanted[taught])
                    values.setdefault("regression", float(regression.detach()))
                    loss = loss + weights["smooth-l1"] * regression
                losses.append(decay**step * loss)
                counted.append(decay**step)
                agreement = (logits.argmax(-1) == batch.tokens[taught]).float().mean()
                values[f"agreement {step}" if step else "agreement"] = float(agreement)
        return torch.stack(losses).sum() / sum(counted), values

    def hits(self, examples: Sequence[Example]) -> Tensor:
        """[taught tokens]: whether the drafter ranks them first, given the target's features."""
        batch = self.batch(examples)
        with torch.autocast(batch.wanted.device.type, torch.bfloat16):
            guessed, _ = next(guesses(self.network, batch.slate, 0))
            hits: Tensor = self.decoder_head(guessed).argmax(-1) == batch.tokens
        return hits

    def save(self, folder: Path) -> None:
        learner = Learner(self.network, self.vocabulary, self.head.weight if self.has_own_head else None)
        saved(learner, Target.of(self.family), folder)


def _beside(read: Sequence[Beginning], x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Positions [texts, slots], and what later slots read of images [texts, width], where they do."""
    counted = torch.arange(x.shape[1], device=x.device)
    positions = counted.expand(len(x), -1).clone()
    for row, one in enumerate(read):
        if one.positions is not None:
            positions[row, : len(one.x)] = one.positions[0]
    if all(one.image is None for one in read):
        return positions, None
    return positions, torch.stack(
        [x.new_zeros(x.shape[-1]) if one.image is None else one.image.float() for one in read]
    )
