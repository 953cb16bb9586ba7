"""What a kind of drafter learns, and the network that learns it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.train.data import Dataset, Kinds
from seeahead.train.examples import Example, Sampler
from seeahead.train.recipe import StageRecipe

HELD_OUT = 20
"""One response in so many is watched, not learned."""
Loss = tuple[Tensor, dict[str, float]]
"""What is minimised, and values beside it that are averaged in reports."""


class Objective(ABC):
    """`num_at_once`: held-out examples in a batch; `most_watched`: of them at most so many are looked at."""

    num_at_once: ClassVar[int]
    most_watched: ClassVar[int | None] = None

    def __init__(self, dataset: Dataset, data: Kinds, network: Any, vocabulary: DraftVocabulary) -> None:
        self.dataset, self.family, self.vocabulary = dataset, dataset.family, vocabulary
        self.network = network.to(self.family.device)
        self.table = vocabulary.table(self.family.vocab_size)
        self.responses = data.get("answers", [])
        self.data = {**data, "answers": [one for place, one in enumerate(self.responses) if place % HELD_OUT]}
        self.watched = self.responses[::HELD_OUT][: self.most_watched]
        self.num_watched = sum(len(example.learned) for example in self.watched)

    @classmethod
    @abstractmethod
    def begin(cls, dataset: Dataset, start: Path | None) -> Self:
        """`start`: a drafter to go on from; None: from scratch. Raises ModelError for one that does not fit."""

    @abstractmethod
    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """Those of a stage, or all, by name."""

    @abstractmethod
    def sampler(self, stage: StageRecipe) -> Sampler:
        """What a stage learns from."""

    @abstractmethod
    def batch(self, examples: Sequence[Example], generator: torch.Generator | None = None) -> Any:
        """As the network reads it; `generator` draws the noise, None: there is none."""

    @abstractmethod
    def loss(self, batch: Any, weights: Mapping[str, float], ahead: int = 0) -> Loss:
        """By the weights of a stage's losses."""

    @abstractmethod
    def hits(self, batch: Any) -> Tensor:
        """[taught tokens]: whether the drafter ranks them first; those it does not know are misses."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """A drafter's folder."""

    def loss_of(self, stage: StageRecipe) -> Callable[[int], Loss]:
        """The loss of a stage's batch, by the batch's number."""
        sampler, seed = self.sampler(stage), self.dataset.recipe.seed

        def loss_of(number: int) -> Loss:
            generator = torch.Generator().manual_seed(hash((seed, number)))
            return self.loss(self.batch(sampler(number), generator), stage.loss, stage.ahead)

        return loss_of

    def agreement(self) -> float:
        """Share of the held-out tokens that the drafter ranks first."""
        right = 0
        with torch.inference_mode():
            for first in range(0, len(self.watched), self.num_at_once):
                right += int(self.hits(self.batch(self.watched[first : first + self.num_at_once])).sum())
        return round(right / max(1, self.num_watched), 4)
