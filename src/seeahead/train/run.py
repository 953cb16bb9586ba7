"""Trains a drafter for a target by a recipe: the target writes, a vocabulary is chosen, stages follow one another.

Every step leaves its result in the output folder and is not done twice: a run that was cut off goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from seeahead.api import load
from seeahead.cache_folder import default_cache
from seeahead.checked import shown_value
from seeahead.data.conversations import Conversation, conversations_from
from seeahead.data.corpora import check_text
from seeahead.drafters.at_hand import remember
from seeahead.drafters.folder import Folder
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.families.loading import pick_device, pick_dtype
from seeahead.provenance import provenance, write_json
from seeahead.train.data import Dataset, exchanges_of
from seeahead.train.features import FeatureObjective
from seeahead.train.language import LanguageObjective
from seeahead.train.loop import Loss, LossOf, Processes, fit
from seeahead.train.prior import learn_prior
from seeahead.train.recipe import FEATURE_KINDS, DrafterRecipe, StageRecipe, origin_of_stage, read_drafter_recipe
from seeahead.train.responses import LeftOut
from seeahead.train.stage import Report, Stage, digest

AT_ONCE = 16
"""Held-out examples in a batch."""


def train_drafter(
    recipe: Path,
    target: str,
    data: Sequence[Path | str | Sequence[Conversation]],
    out: Path,
    report: Report,
    *,
    start: Path | None = None,
    answers: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    count: int = 8000,
) -> Path:
    """A drafter for `target` ("demo", a folder or a hub id) by the recipe in a TOML file; returns its folder.

    `data`: .jsonl files of messages, folders of images, public data sets by name, or conversations as they are; of each
    that is longer at most the first `count`. `start`: a drafter to go on from. Results, and everything needed to go on
    after an interruption, are kept in `out`. Raises SeeaheadError in one line; recipe and data are checked before the
    target is loaded.
    """
    read = read_drafter_recipe(recipe)
    pick_dtype(dtype)
    if count < 1:
        raise InputError(f"at most {count} conversations of each source are nothing; give a count of 1 or more")
    texts = default_cache() / "packages"
    for name in read.text if "text" in read.needs else ():
        check_text(name)
    conversations = [
        entry
        for source in data
        for entry in (conversations_from(source, count) if isinstance(source, Path | str) else source[:count])
    ]
    check(read, conversations, start)
    place = pick_device(Processes().device(device))
    # On a GPU the target writes by a loop of its own (`together.py`), which graphs would only take memory from.
    executor = "auto" if place.type == "cpu" else "transformers"
    family = load(target, drafter="none", dtype=dtype, device=str(place), executor=executor).family
    if not family.end_token_ids:
        raise ModelError(
            "the target has no end token for a drafter to learn; give its generation config an eos_token_id"
        )
    folder = train(Dataset(read, family, conversations, answers or out / "answers", report, texts), out, start)
    if Processes().is_first and target != "demo":
        try:
            remember(target, folder)
        except (OSError, ValueError, SeeaheadError) as error:
            report(f"auto will not find it by itself, since that cannot be kept: {error}; name it with -d")
        else:
            report(f"auto drafts with it from now on where {target} is loaded here, as long as its folder stays")
    return folder


def check(recipe: DrafterRecipe, conversations: Sequence[Conversation], start: Path | None) -> None:
    """Raises SeeaheadError where there is nothing to learn from or to train, or `start` is no such drafter."""
    if recipe.needs & {"answers", "conversations"} and not conversations:
        raise InputError("this recipe learns from conversations; give --data a .jsonl file or a folder of images")
    if start is None:
        if not recipe.stages:
            raise InputError(f"{recipe.source} trains nothing by itself; give the drafter to take with --start")
        return
    folder = Folder.read(start) if (start / "config.json").is_file() else Folder(start, {})
    if not folder.is_drafter:
        raise ModelError(f"'{start}' is not a drafter to start from; train one first")
    theirs, ours = folder.method, recipe.method
    if theirs != ours and not {theirs, ours} <= {"language", "vision"}:
        raise ModelError(f"'{start}' is {theirs}, which {ours} cannot start from; give another --start")
    width, wanted = folder.values.get("hidden_size"), recipe.network.width
    if ours == "vision" and width not in (None, wanted):
        raise ModelError(
            f"'{start}' is {shown_value(width)} wide, the recipe's adapter is made for {wanted}; give that width in "
            "its [network], or another --start"
        )


def train(dataset: Dataset, out: Path, start: Path | None = None) -> Path:
    """Trains in the folder `out`, from `start` (another drafter's folder) or from scratch; returns the folder of the
    finished drafter. Raises SeeaheadError for what cannot be followed or gone on with."""
    recipe, processes = dataset.recipe, Processes()
    report = processes.once(dataset.report)
    dataset = replace(dataset, report=report)
    check(recipe, dataset.conversations, start)
    out.mkdir(parents=True, exist_ok=True)
    if recipe.stages and not can_plot():
        report("losses.svg will be left out, since matplotlib is not installed: pip install '.[train]'")
    of_kind = FeatureObjective if recipe.kind in FEATURE_KINDS else LanguageObjective
    with processes.first_goes_first():
        objective: LanguageObjective | FeatureObjective = of_kind.begin(dataset, start)
    # Which tokens are drafted depends on how many answers there are by now.
    origin = {**dataset.origin(start), "vocabulary": digest(objective.vocabulary.target_ids.tolist())}
    stages = [
        Stage(entry.name, out, entry.limits, report, origin_of_stage(recipe, entry, origin)) for entry in recipe.stages
    ]
    agreements = {"before": agreement(objective)}
    for entry, stage in zip(recipe.stages, stages, strict=True):
        fit(
            stage,
            objective.parameters(entry),
            loss_of(objective, entry),
            lambda: f"agreement {agreement(objective):.3f}",
            watch_minutes=3.0,
        )
        agreements[entry.name] = agreement(objective)
        report(f"{entry.name}: held-out agreement {agreements[entry.name]:.3f}")
    if processes.is_first:
        finish(objective, out / "drafter", agreements)
        plot_losses(stages, out / "drafter" / "losses.svg")
    return out / "drafter"


def finish(objective: LanguageObjective | FeatureObjective, folder: Path, agreements: dict[str, float]) -> None:
    """Writes the drafter, what is known of its training, and what `auto` should expect of it."""
    dataset, recipe = objective.dataset, objective.dataset.recipe
    objective.save(folder)
    # Those asked last were least learned from.
    asked_last = exchanges_of(reversed(dataset.shuffled()), LeftOut())
    known = {
        "recipe": recipe.source,
        "kind": recipe.kind,
        "held_out_agreement": agreements if objective.watched else None,
        "num_answers": len(objective.responses),
        "num_answer_tokens": sum(len(example.learned) for example in objective.responses),
        "num_parameters": sum(value.numel() for value in objective.parameters().values()),
        "num_answers_auto_learned_from": learn_prior(dataset.family, folder, asked_last, recipe.seed),
    }
    write_json(folder / "provenance.json", {**known, **provenance(recipe.seed)})


def loss_of(objective: LanguageObjective | FeatureObjective, stage: StageRecipe) -> LossOf:
    """The loss of a stage's batch, by the batch's number."""
    sampler, seed = objective.sampler(stage), objective.dataset.recipe.seed

    def loss(number: int) -> Loss:
        return objective.loss(sampler(number), stage, torch.Generator().manual_seed(hash((seed, number))))

    return loss


def agreement(objective: LanguageObjective | FeatureObjective) -> float:
    """Share of the held-out tokens that the drafter ranks first; tokens it does not know count as misses."""
    right, watched = 0, objective.watched
    with torch.inference_mode():
        for first in range(0, len(watched), AT_ONCE):
            right += int(objective.hits(watched[first : first + AT_ONCE]).sum())
    return round(right / max(1, sum(len(example.learned) for example in watched)), 4)


# ---- the losses of a run's stages as one image


def can_plot() -> bool:
    return find_spec("matplotlib") is not None


def plot_losses(stages: Sequence[Stage], path: Path) -> None:
    """An SVG with one panel per stage that logged anything; nothing without matplotlib, or where none did."""
    told = {stage.name: rows for stage in stages if (rows := _rows(stage))}
    if not told or not can_plot():
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(told), 3), layout="constrained")
    for place, (name, rows) in enumerate(told.items(), 1):
        axes = figure.add_subplot(1, len(told), place)
        steps = [row["step"] for row in rows]
        axes.plot(steps, [row["loss"] for row in rows], color="tab:blue")
        axes.set(title=name, xlabel="step", ylabel="loss")
        shares = axes.twinx()
        shares.plot(steps, [row.get("agreement", math.nan) for row in rows], color="tab:orange", linestyle="--")
        shares.set(ylabel="agreement (dashed)", ylim=(0, 1))
    figure.savefig(path, metadata={"Date": None})


def _rows(stage: Stage) -> list[dict[str, float]]:
    """Without lines that an interruption broke off."""
    rows = []
    if stage.losses.is_file():
        for line in stage.losses.read_text("utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and {"step", "loss"} <= row.keys()]
