"""Trains a drafter for a target by a recipe: the target writes, a vocabulary is chosen, stages follow one another.

Every step leaves its result in the output folder and is not done twice: a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seeahead.api import load
from seeahead.data.conversations import Conversation
from seeahead.data.corpora import check_text
from seeahead.data.to_learn import conversations_from
from seeahead.demo.build import default_cache
from seeahead.drafters.folder import Folder
from seeahead.drafters.vision import AdapterConfig
from seeahead.errors import InputError, ModelError
from seeahead.families.base import Family
from seeahead.target import Target
from seeahead.train.drafter_recipe import DrafterRecipe, StageRecipe, read_drafter_recipe
from seeahead.train.feature_training import FeatureTraining
from seeahead.train.lines import Batch, Collator, Line, Supply
from seeahead.train.loop import Report, Stage, fit
from seeahead.train.losses import LOSSES
from seeahead.train.material import HELD_OUT, Material, check_conversations, store_provenance
from seeahead.train.network import DrafterNetwork, held_out_agreement, load_network, new_network
from seeahead.train.origins import Origin, origin_of_stage
from seeahead.train.workers import Workers

NUM_CONVERSATIONS = 8000


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
    family = load(target, drafter="none", device=Workers().device(device)).family
    return training_of(read, family, conversations, out, report, texts, answers).run(start)


def check_start(recipe: DrafterRecipe, start: Path | None) -> None:
    """Raises SeeaheadError where there is nothing to train, or `start` is no drafter of the recipe's kind."""
    if start is None and not recipe.stages:
        raise InputError(f"{recipe.source} trains nothing by itself; give the drafter to take with --start")
    if start is None:
        return
    folder = Folder.read(start) if (start / "config.json").is_file() else Folder(start, {})
    if not folder.is_drafter:
        raise ModelError(f"'{start}' is not a drafter to start from; train one first")
    kind = folder.kind
    if (kind == "msd") != (recipe.kind == "msd"):
        raise ModelError(f"'{start}' is {kind}, which {recipe.kind} cannot start from; give another --start")


def training_of(recipe: DrafterRecipe, *rest: Any) -> DrafterTraining | FeatureTraining:
    """The training of a recipe's kind of drafter; `rest` as for its class."""
    return (FeatureTraining if recipe.kind == "msd" else DrafterTraining)(recipe, *rest)


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
        self.recipe, self.family, self.out, self.report = recipe, family, out, report
        self.material = Material(recipe, family, conversations, answers or out / "answers", report, cache)
        self.given: Origin = {}
        out.mkdir(parents=True, exist_ok=True)

    def run(self, start: Path | None = None) -> Path:
        """Trains, from `start` (another drafter's folder) or from scratch; returns the finished drafter's folder.

        Raises InputError for a recipe without stages that starts from nothing."""
        check_start(self.recipe, start)
        recipe, folder, workers = self.recipe, self.out / "drafter", Workers()
        with workers.first_goes_first():
            data = self.material.gather()
        self.given = self.material.given(start)
        answers = data.get("answers", [])
        watched, data["answers"] = answers[::HELD_OUT], [row for place, row in enumerate(answers) if place % HELD_OUT]
        size = self.family.vocab_size
        network = load_network(start, self.adapter(), size) if start else self.fresh(data)
        if network.adapter is not None and not network.adapter.down.weight.any():
            self.align(network)
        network.to(self.family.device)
        collator = Collator(network.vocabulary, size)
        watch = self.watcher(network, collator, watched)
        agreements = {"before": watch()}
        for entry in recipe.stages:
            self.train(network, entry, data, collator, watch)
            agreements[entry.name] = watch()
            self.report(f"{entry.name}: held-out agreement {agreements[entry.name]:.3f}")
        if workers.is_first:
            self.store(network, folder, agreements if watched else None, answers)
        return folder

    def store(
        self, network: DrafterNetwork, folder: Path, agreements: dict[str, float] | None, answers: list[Line]
    ) -> None:
        """The drafter's folder, with where it came from."""
        network.save(folder, Target.of(self.family))
        store_provenance(
            folder,
            self.recipe,
            [self.stage(entry) for entry in self.recipe.stages],
            agreements,
            num_answers=len(answers),
            num_answer_tokens=sum(len(line.learned) for line in answers),
            num_parameters=sum(value.numel() for value in network.trained().values()),
        )

    # ---- network

    def adapter(self) -> AdapterConfig | None:
        network = self.recipe.network
        if self.recipe.kind != "vision":
            return None
        width: int = self.family.text_config.hidden_size
        return AdapterConfig(width, network.width, network.adapter_width, network.visual_tokens)

    def fresh(self, data: dict[str, list[Line]]) -> DrafterNetwork:
        """Untrained, over the tokens that the target's answers (or else the other data) use most."""
        lines = next(data[kind] for kind in ("answers", "conversations", "text") if data.get(kind))
        vocabulary, network = self.material.vocabulary(line.ids for line in lines), self.recipe.network
        torch.manual_seed(self.recipe.seed)
        ends = (self.material.begin, self.material.end)
        return new_network(vocabulary, network.width, network.layers, ends, self.adapter())

    def align(self, network: DrafterNetwork) -> None:
        """The adapter starts as the map between the two tables of word embeddings."""
        assert network.adapter is not None
        models: tuple[Any, Any] = (self.family.model, network.language)
        theirs, ours = (model.get_input_embeddings().weight.detach().float() for model in models)
        network.adapter.start_from(theirs[network.vocabulary.target_ids.to(theirs.device)], ours)

    # ---- stages

    def stage(self, entry: StageRecipe) -> Stage:
        origin = origin_of_stage(self.recipe, entry, self.given)
        return Stage(entry.name, self.out, entry.limits, self.report, origin)

    def train(
        self,
        network: DrafterNetwork,
        entry: StageRecipe,
        data: dict[str, list[Line]],
        collator: Collator,
        watch: Callable[[], float],
    ) -> None:
        lines = lines_for(entry, data, self.recipe.network.visual_tokens)
        supply = Supply(lines, entry.limits.batch_size, self.recipe.seed)

        def loss_of(number: int) -> tuple[Tensor, dict[str, float]]:
            batch = self.batch(collator, supply(number))
            taught = network.taught(batch)
            loss = torch.stack([weight * LOSSES[name](taught) for name, weight in entry.loss.items()]).sum()
            agreement = float((taught.logs.argmax(-1) == taught.wanted).float().mean())
            return loss, {"agreement": agreement, "tokens": float(batch.ids.numel())}

        if entry.trained == "adapter":
            network.requires_grad_(False)
            assert network.adapter is not None
            network.adapter.requires_grad_(True)
        fit(
            self.stage(entry),
            network.trained(entry.trained == "adapter"),
            loss_of,
            lambda: f"agreement {watch():.3f}",
            watch_minutes=3.0,
        )
        network.requires_grad_(True)

    def batch(self, collator: Collator, lines: Sequence[Line]) -> Batch:
        shown = lines if self.recipe.kind == "vision" else [line.blind() for line in lines]
        return collator.batch(shown).to(self.family.device)

    def watcher(self, network: DrafterNetwork, collator: Collator, watched: Sequence[Line]) -> Callable[[], float]:
        parts = [watched[start : start + 32] for start in range(0, len(watched), 32)]
        batches = [self.batch(collator, part) for part in parts]
        num_tokens = sum(len(line.learned) for line in watched)
        return lambda: held_out_agreement(network, batches, num_tokens)


def lines_for(entry: StageRecipe, data: Mapping[str, Sequence[Line]], visual_tokens: int) -> list[Line]:
    """What a stage learns from; `visual_tokens` of every picture are in a line."""
    lines = [line for kind in entry.data for line in data[kind]]
    if entry.trained == "adapter":  # what shows no picture has nothing to teach it
        lines = [line for line in lines if line.visual is not None]
    if entry.most_pictures:
        most = entry.most_pictures * visual_tokens
        lines = [line for line in lines if line.visual is None or len(line.visual) <= most]
    return lines
