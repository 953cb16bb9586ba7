"""What a feature drafter learns (MSD, Lin et al. 2025, sections 3.3 and 3.4; EAGLE, Li et al. 2024).

It sees the target's features with a little noise, and learns the feature after each slot: SmoothL1 to the target's, and
a tenth of the cross-entropy between what the head makes of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.drafters.msd import MsdNetwork, Slots
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.families.base import Family
from seeahead.train.feature_lines import FeatureLine

LOSSES = ("smooth-l1", "soft-cross-entropy")
PAPER: dict[str, float] = {"smooth-l1": 1.0, "soft-cross-entropy": 0.1}
"""Weights of MSD and EAGLE."""
NOISE = 0.2
"""Width of the uniform noise at 512 tokens; it shrinks with the length (EAGLE's code)."""


@dataclass(frozen=True)
class FeatureBatch:
    """`x` [lines, slots, width] as the layer reads it.

    Of the slots that are taught, at (`rows`, `columns`): `embeddings` [taught, width] of their tokens, `wanted`
    [taught, width] the target's next features, `tokens` [taught] the draft ids of what it said there, -1 where these
    are not known; `follows` [taught]: the slot before is taught too."""

    x: Tensor
    rows: Tensor
    columns: Tensor
    embeddings: Tensor
    wanted: Tensor
    tokens: Tensor
    follows: Tensor


class FeatureLearner:
    """A network, the target it is made for, and the rows of its head that are drafted from."""

    def __init__(self, network: MsdNetwork, target: Family, vocabulary: DraftVocabulary) -> None:
        self.network, self.target = network, target.executor
        self.head = self.target.head_rows(vocabulary.target_ids).clone()
        self.table = vocabulary.table(target.vocab_size)

    def batch(self, lines: Sequence[FeatureLine], generator: torch.Generator | None) -> FeatureBatch:
        """`generator` draws the noise; None: there is none."""
        read: list[Tensor] = []
        parts: list[tuple[Tensor, ...]] = []
        for row, line in enumerate(lines):
            slots = self.slots(line, generator)
            with torch.autocast(slots.features.device.type, torch.bfloat16):
                read.append(self.network.read(slots).float())
            # Pictures may have become smaller; the answer's slots are the last ones.
            removed = len(slots.embeddings) - len(read[-1])
            first, last = max(0, line.start - 2), len(line.ids) - 2
            columns = torch.arange(first, last)
            parts.append(
                (
                    torch.full_like(columns, row),
                    columns - removed,
                    slots.embeddings[first:last],
                    line.features[first + 1 : last + 1].float(),
                    self.table[torch.tensor(line.ids[first + 2 : last + 2])],
                    columns > first,
                )
            )
        padded = torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
        joined = (torch.cat(column).to(padded.device) for column in zip(*parts, strict=True))
        return FeatureBatch(padded, *joined)

    def slots(self, line: FeatureLine, generator: torch.Generator | None) -> Slots:
        """Slot j: the embedding of token j + 1 and the feature of position j."""
        ids = torch.tensor(line.ids)
        is_visual = ids < 0
        embeddings = self.target.embed(ids.clamp_min(0).to(self.target.limits.device)).float().clone()
        if line.visual is not None:
            embeddings[is_visual] = line.visual.to(embeddings)
        features = line.features.to(embeddings)
        if generator is not None:
            noise = torch.rand(features.shape, generator=generator) - 0.5
            features = features + (noise * NOISE * 512 / len(ids)).to(features)
        return Slots(embeddings[1:], features, is_visual[1:].to(embeddings.device))

    def loss(
        self, batch: FeatureBatch, weights: Mapping[str, float], ahead: int = 0
    ) -> tuple[Tensor, dict[str, float]]:
        """What is minimised; the regression alone, and the share of tokens that the drafter ranks first.

        `ahead`: so many times more, the taught slots read what was guessed for the slot before in the target's place,
        as they do when drafting (HASS, Zhang et al. 2024)."""
        shares = self.logits(batch.wanted).softmax(-1)
        x, losses, values = batch.x, list[Tensor](), dict[str, float]()
        for step in range(1 + ahead):
            guessed = self.follow(x, batch)
            logits = self.logits(guessed)
            soft = -(shares * logits.log_softmax(-1)).sum(-1).mean()
            regression = F.smooth_l1_loss(guessed.float(), batch.wanted)
            losses += [weights.get("smooth-l1", 0.0) * regression, weights.get("soft-cross-entropy", 0.0) * soft]
            name = f"agreement {step}" if step else "agreement"
            values[name] = float((logits.argmax(-1) == batch.tokens).float().mean())
            values.setdefault("regression", float(regression.detach()))
            if step < ahead:
                x = self.read_anew(batch, guessed.detach())
        return torch.stack(losses).sum() / (1 + ahead), values

    def follow(self, x: Tensor, batch: FeatureBatch) -> Tensor:
        """Features [taught, width] guessed from `x` in the place of the batch's own."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network.follow(x, batch.rows, batch.columns)

    def logits(self, features: Tensor) -> Tensor:
        """Over draft ids [taught, draft vocabulary]."""
        with torch.autocast(features.device.type, torch.bfloat16):
            return F.linear(features, self.head).float()

    def read_anew(self, batch: FeatureBatch, guessed: Tensor) -> Tensor:
        """The batch's `x` with features that were `guessed` [taught, width] in the place of the target's."""
        # Taught slots of a line stand one after the other, so the one before is the row before.
        before = guessed[batch.follows.roll(-1)]
        with torch.autocast(guessed.device.type, torch.bfloat16):
            text = self.network.text(batch.embeddings[batch.follows], before.float())
        return batch.x.index_put((batch.rows[batch.follows], batch.columns[batch.follows]), text.to(batch.x))

    def agreement(self, batch: FeatureBatch) -> Tensor:
        """[taught]: whether the drafter ranks the target's token first."""
        guessed = self.follow(batch.x, batch)
        return self.logits(guessed).argmax(-1) == batch.tokens
