"""A drafter's recipe: what is built, what the target writes for it, and the stages it goes through; a TOML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seeahead.errors import InputError
from seeahead.models.feature import VISUAL
from seeahead.train.feature_drafter import LOSSES as FEATURE_LOSSES
from seeahead.train.feature_drafter import PAPER as MSD_LOSS
from seeahead.train.feature_lines import MIXTURES
from seeahead.train.losses import LOSSES
from seeahead.train.optimizers import Limits
from seeahead.train.own_answers import Writing
from seeahead.train.recipe import read_table, read_toml

KINDS = ("language", "vision", "msd")
DATA = ("text", "conversations", "answers")
TRAINED = ("all", "adapter")


@dataclass(frozen=True)
class Network:
    """`vocabulary`: draft tokens, 0 for all of the target's. `visual_tokens`: of a picture, at most; 0: all of them.

    A feature drafter has the target's width and one layer. `decoupled`: pictures are kept apart from text (MSD), or not
    (EAGLE-2); `pictures`: what becomes of their slots (full, pooled to `visual_tokens`, query, dropped)."""

    width: int = 320
    layers: int = 3
    vocabulary: int = 6144
    visual_tokens: int = 16
    adapter_width: int = 640
    decoupled: bool = True
    pictures: str = "full"


@dataclass(frozen=True)
class StageRecipe:
    """`data`: of which kinds it learns. `loss`: weights by name. `trained`: the whole drafter or its adapter alone.
    `most_pictures`: answers about more are left out, 0: none are.

    For feature drafters: `mixture` of text and pictures; `ahead`, how often the drafter's own guesses are read in
    place of the target's features."""

    name: str
    data: tuple[str, ...]
    loss: dict[str, float]
    limits: Limits
    trained: str = "all"
    mixture: str = "ramp"
    ahead: int = 0
    most_pictures: int = 0


@dataclass(frozen=True)
class DrafterRecipe:
    """`text`: corpora for stages that learn from text (see `data.corpora`), `line_tokens` long lines of them."""

    kind: str
    seed: int
    network: Network
    writing: Writing
    stages: tuple[StageRecipe, ...]
    text: tuple[str, ...] = ()
    line_tokens: int = 256
    source: str = field(default="", compare=False)

    @property
    def needs(self) -> set[str]:
        return {data for stage in self.stages for data in stage.data}


def read_drafter_recipe(path: Path) -> DrafterRecipe:
    """Raises InputError, naming what is allowed, for a recipe that cannot be followed."""
    table = read_toml(path, "recipes/drafters/own-pictures.toml")
    known = {"kind", "seed", "text", "line_tokens", "network", "writing", "stages"}
    if unknown := sorted(set(table) - known):
        raise InputError(f"{path} has unknown {', '.join(unknown)}; allowed here: {', '.join(sorted(known))}")
    kind = _one_of(table.get("kind"), KINDS, f"{path}: kind")
    network = read_table(Network, table.get("network", {}), path)
    writing = read_table(Writing, table.get("writing", {}), path)
    if kind == "vision" and writing.num_visual not in (0, network.visual_tokens):
        raise InputError(
            f"{path}: the drafter sees {network.visual_tokens} visual tokens, answers keep {writing.num_visual}; "
            "give visual_tokens the same value in [network] and [writing], or 0 in [writing] to keep all"
        )
    if kind == "msd":
        _check_features(network, writing, path)
    rows = table.get("stages", [])
    if not isinstance(rows, list):
        raise InputError(f"{path}: stages are written as [[stages]], one after the other")
    stages = tuple(_stage(row, f"{path} stage {number}", path, kind) for number, row in enumerate(rows, 1))
    if len({stage.name for stage in stages}) < len(stages):
        raise InputError(f"{path} has two stages of one name; give each its own")
    if kind != "vision" and any(stage.trained == "adapter" for stage in stages):
        raise InputError(f'{path} trains an adapter, which a {kind} drafter has not; take kind = "vision"')
    recipe = DrafterRecipe(
        kind,
        int(table.get("seed", 0)),
        network,
        writing,
        stages,
        tuple(table.get("text", ())),
        int(table.get("line_tokens", 256)),
        path.name,
    )
    if any(stage.most_pictures for stage in stages) and (kind != "vision" or network.visual_tokens < 1):
        raise InputError(f'{path}: most_pictures counts by tokens; it needs kind = "vision" and visual_tokens')
    if "text" in recipe.needs and not recipe.text:
        raise InputError(f'{path} learns from text and names none; add text = ["package:dict-gcide"] or files')
    return recipe


def _check_features(network: Network, writing: Writing, path: Path) -> None:
    _one_of(network.pictures, VISUAL, f"{path}: pictures")
    if not writing.features:
        raise InputError(f"{path}: an msd drafter learns from the target's features; add features = true to [writing]")


def _stage(row: Any, where: str, path: Path, kind: str) -> StageRecipe:
    if not isinstance(row, dict) or not row.get("name"):
        raise InputError(f"{where} has no name; give each stage one")
    where = f"{where} ({row['name']})"
    own = {"name", "data", "loss", "trained", "mixture", "ahead", "most_pictures"}
    data = row.get("data", [])
    data = (data,) if isinstance(data, str) else tuple(data)
    if not data:
        raise InputError(f"{where} says not what it learns from; data is one or several of {', '.join(DATA)}")
    losses = FEATURE_LOSSES if kind == "msd" else tuple(LOSSES)
    loss = row.get("loss", MSD_LOSS if kind == "msd" else "cross-entropy")
    loss = {loss: 1.0} if isinstance(loss, str) else dict(loss)
    for name in loss:
        _one_of(name, losses, f"{where}: loss")
    limits = read_table(Limits, {name: value for name, value in row.items() if name not in own}, path)
    if limits.steps < 1 or not math.isfinite(limits.learning_rate):
        raise InputError(
            f"{where}: steps is {limits.steps}, learning_rate {limits.learning_rate}; "
            "give 1 step or more and a finite rate"
        )
    most_pictures = row.get("most_pictures", 0)
    if not isinstance(most_pictures, int) or most_pictures < 0:
        raise InputError(f"{where}: most_pictures is {most_pictures!r}; give a number of pictures, or 0 for any")
    mixture = _one_of(row.get("mixture", "ramp"), MIXTURES, f"{where}: mixture")
    if kind == "msd" and mixture == "ramp" and math.isfinite(limits.minutes):
        raise InputError(f"{where}: a ramp is laid over the steps of its stage; leave minutes out")
    return StageRecipe(
        str(row["name"]),
        tuple(_one_of(name, DATA, f"{where}: data") for name in data),
        {name: float(weight) for name, weight in loss.items()},
        limits,
        _one_of(row.get("trained", "all"), TRAINED, f"{where}: trained"),
        mixture,
        int(row.get("ahead", 0)),
        most_pictures,
    )


def _one_of(value: Any, allowed: tuple[str, ...], what: str) -> str:
    if value not in allowed:
        raise InputError(f"{what} is {value!r}; allowed: {', '.join(allowed)}")
    return str(value)
