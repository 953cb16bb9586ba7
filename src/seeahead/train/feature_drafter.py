"""Training of a feature drafter (MSD, Lin et al. 2025, sections 3.3 and 3.4; EAGLE, Li et al. 2024).

It sees the target's features with a little noise, and learns the feature after each slot: SmoothL1 to the target's, and a
tenth of the cross-entropy between what the head makes of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.executor import Executor
from seeahead.models.feature import FeatureNetwork, Slots
from seeahead.train.feature_lines import FeatureLine
from seeahead.train.lines import SLOT

HEAD_SHARE = 0.1
NOISE = 0.2
"""Width of the uniform noise at 512 tokens; it shrinks with the length (EAGLE's code)."""


@dataclass(frozen=True)
class FeatureBatch:
    """`x` [lines, slots, width] as the layer reads it; `wanted` [taught, width] at the places `taught` (rows, columns).

    `tokens` [taught]: draft ids of what the target said there, -1 where the drafter does not know it."""

    x: Tensor
    taught: tuple[Tensor, Tensor]
    wanted: Tensor
    tokens: Tensor


class FeatureLearner:
    """A network, the target it is made for, and the rows of its head that are drafted from."""

    def __init__(self, network: FeatureNetwork, target: Executor, vocabulary: DraftVocabulary) -> None:
        self.network, self.target = network, target
        self.head = target.head_rows(vocabulary.target_ids).float()
        self.table = vocabulary.table(target.vocab_size)

    def batch(self, lines: Sequence[FeatureLine], generator: torch.Generator | None) -> FeatureBatch:
        """`generator` draws the noise; None: there is none."""
        read: list[Tensor] = []
        wanted: list[Tensor] = []
        tokens: list[Tensor] = []
        places: list[tuple[int, int]] = []
        for row, line in enumerate(lines):
            slots = self.slots(line, generator)
            read.append(self.network.read(slots))
            # Pictures may have become smaller; the answer's slots are the last ones.
            removed = len(slots.embeddings) - len(read[-1])
            taught = range(max(0, line.start - 2), len(line.ids) - 2)
            places += [(row, place - removed) for place in taught]
            wanted.append(line.features[taught.start + 1 : taught.stop + 1])
            tokens.append(self.table[torch.tensor(line.ids[taught.start + 2 : taught.stop + 2])])
        padded = torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
        rows, columns = torch.tensor(places, device=padded.device).reshape(-1, 2).unbind(1)
        joined = torch.cat(wanted).float().to(padded.device)
        return FeatureBatch(padded, (rows, columns), joined, torch.cat(tokens).to(padded.device))

    def slots(self, line: FeatureLine, generator: torch.Generator | None) -> Slots:
        """Slot j: the embedding of token j + 1 and the feature of position j."""
        ids = torch.tensor(line.ids)
        is_visual = ids == SLOT
        embeddings = self.target.embed(ids.clamp_min(0).to(self.target.device)).float().clone()
        if line.visual is not None:
            embeddings[is_visual] = line.visual.to(embeddings)
        features = line.features.to(embeddings)
        if generator is not None:
            noise = torch.rand(features.shape, generator=generator) - 0.5
            features = features + (noise * NOISE * 512 / len(ids)).to(features)
        return Slots(embeddings[1:], features, is_visual[1:].to(embeddings.device))

    def loss(self, batch: FeatureBatch) -> tuple[Tensor, dict[str, float]]:
        """What is minimised; the regression alone, and the share of tokens that the drafter ranks first."""
        with torch.autocast(batch.x.device.type, torch.bfloat16):
            guessed = self.network.follow(batch.x)[batch.taught]
            logits = F.linear(guessed, self.head)
            theirs = F.linear(batch.wanted, self.head)
        regression = F.smooth_l1_loss(guessed.float(), batch.wanted)
        shares = theirs.float().softmax(-1)
        soft = -(shares * logits.float().log_softmax(-1)).sum(-1).mean()
        agreement = float((logits.argmax(-1) == batch.tokens).float().mean())
        return regression + HEAD_SHARE * soft, {"regression": float(regression.detach()), "agreement": agreement}
