"""Trains a feature drafter (MSD, or EAGLE-2 as its coupled form) for a target by a recipe; see `train.drafters`.

The target writes its answers once, its features beside them; every stage then reads those from disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seeahead.data.conversations import Conversation
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.families.base import Family
from seeahead.target import Target
from seeahead.train.drafter_recipe import DrafterRecipe, StageRecipe
from seeahead.train.feature_drafter import FeatureLearner
from seeahead.train.feature_lines import FeatureLine, Mixture, Place, RecordedFeatures
from seeahead.train.feature_network import load_to_train, save_feature_network
from seeahead.train.loop import Report, Stage, fit
from seeahead.train.material import HELD_OUT, Material, check_conversations, store_provenance
from seeahead.train.origins import Origin, origin_of_stage
from seeahead.train.workers import Workers

_LONGEST = 8192
_WATCHED = 400
"""Held-out answers that are looked at; features of more would not stay in memory."""


class FeatureTraining:
    """One run in one folder."""

    def __init__(
        self,
        recipe: DrafterRecipe,
        family: Family,
        conversations: Sequence[Conversation],
        out: Path,
        report: Report,
        cache: Path,
        answers: Path | None = None,
    ) -> None:
        """`answers`: where the target's own are kept, so that several drafters learn from the same (`out`/answers)."""
        self.recipe, self.family, self.out, self.report = recipe, family, out, report
        self.material = Material(recipe, family, conversations, answers or out / "answers", report, cache)
        self.given: Origin = {}
        out.mkdir(parents=True, exist_ok=True)

    def run(self, start: Path | None = None) -> Path:
        """Trains, from `start` (another feature drafter's folder) or afresh; returns the finished drafter's folder."""
        folder, workers = self.out / "drafter", Workers()
        with workers.first_goes_first():
            check_conversations(self.recipe, self.material.conversations)
            self.material.written()
        self.given = self.material.given(start)
        recorded = RecordedFeatures(self.material.answers, _LONGEST)
        recorded.left_out.tell(self.report, "own answers")
        watched = recorded.places[::HELD_OUT]
        places = [place for number, place in enumerate(recorded.places) if number % HELD_OUT]
        network, vocabulary = self.network(recorded, start)
        network.to(self.family.device)
        learner = FeatureLearner(network, self.family, vocabulary)
        watch = self.watcher(learner, [recorded.line(place) for place in watched[:_WATCHED]])
        agreements = {"before": watch()}
        for entry in self.recipe.stages:
            self.train(learner, entry, recorded, places, watch)
            agreements[entry.name] = watch()
            self.report(f"{entry.name}: held-out agreement {agreements[entry.name]:.3f}")
        if workers.is_first:
            save_feature_network(network, vocabulary, Target.of(self.family), folder)
            store_provenance(
                folder,
                self.recipe,
                [self.stage(entry) for entry in self.recipe.stages],
                agreements,
                num_answers=len(recorded.places),
                num_answer_tokens=sum(len(place.ids) - place.start for place in recorded.places),
                num_parameters=sum(value.numel() for value in network.trained().values()),
            )
        return folder

    def network(self, recorded: RecordedFeatures, start: Path | None) -> tuple[MsdNetwork, DraftVocabulary]:
        if start is not None:
            return load_to_train(start, self.family.width, self.family.vocab_size)
        vocabulary = self.material.vocabulary(place.ids for place in recorded.places)
        settings = self.recipe.network
        options = MsdOptions(settings.decoupled, settings.pictures, settings.visual_tokens)
        torch.manual_seed(self.recipe.seed)
        return MsdNetwork.beside(self.family.model, options, _LONGEST), vocabulary

    # ---- stages

    def stage(self, entry: StageRecipe) -> Stage:
        origin = origin_of_stage(self.recipe, entry, self.given)
        return Stage(entry.name, self.out, entry.limits, self.report, origin)

    def train(
        self,
        learner: FeatureLearner,
        entry: StageRecipe,
        recorded: RecordedFeatures,
        places: Sequence[Place],
        watch: Callable[[], float],
    ) -> None:
        limits, seed = entry.limits, self.recipe.seed
        num_batches = limits.steps * limits.accumulate * Workers().number
        mixture = Mixture(places, entry.mixture, num_batches, limits.batch_size, seed)

        def loss_of(number: int) -> tuple[Tensor, dict[str, float]]:
            generator = torch.Generator().manual_seed(hash((seed, number)))
            batch = learner.batch([recorded.line(place) for place in mixture(number)], generator)
            loss, values = learner.loss(batch, entry.loss, entry.ahead)
            return loss, {**values, "tokens": float(batch.x.shape[0] * batch.x.shape[1])}

        parameters = learner.network.trained()
        fit(self.stage(entry), parameters, loss_of, lambda: f"agreement {watch():.3f}", watch_minutes=3.0)

    def watcher(self, learner: FeatureLearner, lines: Sequence[FeatureLine]) -> Callable[[], float]:
        """Share of the target's tokens that the drafter ranks first, given the target's features."""
        parts = [lines[first : first + 16] for first in range(0, len(lines), 16)]

        def watch() -> float:
            right = total = 0
            with torch.inference_mode():
                for part in parts:
                    agreed = learner.agreement(learner.batch(part, None))
                    right, total = right + int(agreed.sum()), total + len(agreed)
            return round(right / max(1, total), 4)

        return watch
