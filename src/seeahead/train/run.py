"""Trains a drafter for a target by a recipe: the target writes, a vocabulary is chosen, stages follow one another.

Every step leaves its result in the output folder and is not done twice: a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from seeahead.api import load
from seeahead.data.conversations import Conversation, conversations_from
from seeahead.data.corpora import check_text
from seeahead.demo.build import default_cache
from seeahead.drafters.folder import Folder
from seeahead.errors import InputError, ModelError
from seeahead.families.base import Family
from seeahead.provenance import provenance, write_json
from seeahead.train.data import Dataset, check_conversations
from seeahead.train.distributed import Processes
from seeahead.train.language import LanguageObjective
from seeahead.train.loop import LossOf, Report, Stage, fit
from seeahead.train.msd import MsdObjective
from seeahead.train.origins import Origin, origin_of_stage
from seeahead.train.plot import can_plot, plot_losses
from seeahead.train.recipe import DrafterRecipe, StageRecipe, read_drafter_recipe

NUM_CONVERSATIONS = 8000
HELD_OUT = 20
"""One response in so many is watched, not learned."""


def train_drafter(
    recipe: Path,
    target: str,
    data: Sequence[Path | str | Sequence[Conversation]],
    out: Path,
    report: Report,
    *,
    start: Path | None = None,
    answers: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    count: int = NUM_CONVERSATIONS,
) -> Path:
    """A drafter for `target` ("demo", a folder or a hub id) by the recipe in a TOML file; returns its folder.

    `data`: .jsonl files of messages, folders of images, public data sets by name, or conversations as they are; of each
    that is longer at most the first `count`. `start`: a drafter to go on from. Results, and everything needed to go on
    after an interruption, are kept in `out`. Raises SeeaheadError in one line; recipe and data are checked before the
    target is loaded.
    """
    read = read_drafter_recipe(recipe)
    if count < 1:
        raise InputError(f"at most {count} conversations of each source are nothing; give a count of 1 or more")
    texts = cache or default_cache() / "packages"
    for name in read.text if "text" in read.needs else ():
        check_text(name)
    conversations = [
        entry
        for source in data
        for entry in (conversations_from(source, count) if isinstance(source, Path | str) else source[:count])
    ]
    check_conversations(read, conversations)
    check_start(read, start)
    family = load(target, drafter="none", device=Processes().device(device)).family
    return DrafterTraining(read, family, conversations, out, report, texts, answers).run(start)


def check_start(recipe: DrafterRecipe, start: Path | None) -> None:
    """Raises SeeaheadError where there is nothing to train, or `start` is no drafter of the recipe's kind."""
    if start is None and not recipe.stages:
        raise InputError(f"{recipe.source} trains nothing by itself; give the drafter to take with --start")
    if start is None:
        return
    folder = Folder.read(start) if (start / "config.json").is_file() else Folder(start, {})
    if not folder.is_drafter:
        raise ModelError(f"'{start}' is not a drafter to start from; train one first")
    if (folder.kind == "msd") != (recipe.kind == "msd"):
        raise ModelError(f"'{start}' is {folder.kind}, which {recipe.kind} cannot start from; give another --start")


class Objective(Protocol):
    """What a kind of drafter learns, and the network that learns it."""

    num_watched: int

    @property
    def amounts(self) -> tuple[int, int]:
        """Responses, and their tokens."""

    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """Those of a stage, or all, by name."""

    def loss_of(self, stage: StageRecipe) -> LossOf:
        """The loss of a stage's batch, by the batch's number."""

    def agreement(self) -> float:
        """Share of the held-out tokens that the drafter ranks first."""

    def save(self, folder: Path) -> None:
        """A drafter's folder."""


class DrafterTraining:
    """One run in one folder. `conversations` are asked of the target, and learned from where they have answers."""

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
        self.recipe, self.out, self.report = recipe, out, report
        self.dataset = Dataset(recipe, family, conversations, answers or out / "answers", report, cache)
        out.mkdir(parents=True, exist_ok=True)

    def run(self, start: Path | None = None) -> Path:
        """Trains, from `start` (another drafter's folder) or from scratch; returns the finished drafter's folder.

        Raises InputError for a recipe without stages that starts from nothing."""
        check_conversations(self.recipe, self.dataset.conversations)
        check_start(self.recipe, start)
        folder, processes = self.out / "drafter", Processes()
        if self.recipe.stages and not can_plot():
            self.report("losses.svg will be left out, since matplotlib is not installed: pip install 'seeahead[train]'")
        of_kind = MsdObjective if self.recipe.kind == "msd" else LanguageObjective
        with processes.first_goes_first():
            objective: Objective = of_kind(self.dataset, start, HELD_OUT)
        origin = self.dataset.origin(start)
        stages = [self.stage(entry, origin) for entry in self.recipe.stages]
        agreements = {"before": objective.agreement()}

        def watch() -> str:
            return f"agreement {objective.agreement():.3f}"

        for entry, stage in zip(self.recipe.stages, stages, strict=True):
            fit(stage, objective.parameters(entry), objective.loss_of(entry), watch, watch_minutes=3.0)
            agreements[entry.name] = objective.agreement()
            self.report(f"{entry.name}: held-out agreement {agreements[entry.name]:.3f}")
        if processes.is_first:
            objective.save(folder)
            self.store_provenance(folder, stages, objective, agreements)
        return folder

    def stage(self, entry: StageRecipe, origin: Origin) -> Stage:
        return Stage(entry.name, self.out, entry.limits, self.report, origin_of_stage(self.recipe, entry, origin))

    def store_provenance(
        self, folder: Path, stages: Sequence[Stage], objective: Objective, agreements: dict[str, float]
    ) -> None:
        """Beside a finished drafter: where it came from, what each stage brought, and how the losses fell."""
        num_answers, num_answer_tokens = objective.amounts
        known = {
            "recipe": self.recipe.source,
            "kind": self.recipe.kind,
            "held_out_agreement": agreements if objective.num_watched else None,
            "num_answers": num_answers,
            "num_answer_tokens": num_answer_tokens,
            "num_parameters": sum(value.numel() for value in objective.parameters().values()),
        }
        write_json(folder / "provenance.json", {**known, **provenance(self.recipe.seed)})
        plot_losses(stages, folder / "losses.svg")
