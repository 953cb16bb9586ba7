"""A drafter's recipe: what is built, what the target writes for it, and the stages it goes through; a TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from seeahead.checked import (
    allowed_in,
    as_table,
    checked,
    exists,
    flag,
    matching,
    one_of,
    read_text,
    real,
    refuse_unknown,
    several,
    whole,
)
from seeahead.drafters.msd import VISUAL
from seeahead.errors import InputError, escaped
from seeahead.train.feature_drafter import LOSSES as FEATURE_LOSSES
from seeahead.train.feature_drafter import PAPER as MSD_LOSS
from seeahead.train.feature_lines import MIXTURES
from seeahead.train.losses import LOSSES
from seeahead.train.network import head_width
from seeahead.train.optimizers import Limits
from seeahead.train.own_answers import Writing

KINDS = ("language", "vision", "msd")
DATA = ("text", "conversations", "answers")
TRAINED = ("all", "adapter")
HIGHEST_SEED = 2**32 - 1
NAME_OF_FILES = matching("^[A-Za-z0-9_-]{1,64}$", "up to 64 letters, digits, - and _, since files are called by it")
"""What a name takes that files of the output folder are called by: it must not lead out of that folder."""


@dataclass(frozen=True)
class Network:
    """`vocabulary`: draft tokens, 0 for all of the target's. `visual_tokens`: of a picture, at most; 0: all of them.

    A feature drafter has the target's width and one layer. `decoupled`: pictures are kept apart from text (MSD), or not
    (EAGLE-2); `pictures`: what becomes of their slots (full, pooled to `visual_tokens`, query, dropped)."""

    width: Annotated[int, whole(2, 65_536)] = 320
    layers: Annotated[int, whole(1, 256)] = 3
    vocabulary: Annotated[int, whole(0, 10_000_000)] = 6144
    visual_tokens: Annotated[int, whole(0, 1_000_000)] = 16
    adapter_width: Annotated[int, whole(1, 262_144)] = 640
    decoupled: Annotated[bool, flag()] = True
    pictures: Annotated[str, one_of(VISUAL)] = "full"


@dataclass(frozen=True)
class StageRecipe:
    """`data`: of which kinds it learns. `loss`: weights by name. `trained`: the whole drafter or its adapter alone.
    `most_pictures`: answers about more are left out, 0: none are.

    For feature drafters: `mixture` of text and pictures; `ahead`, how often the drafter's own guesses are read in
    place of the target's features."""

    name: Annotated[str, NAME_OF_FILES]
    data: Annotated[tuple[Annotated[str, one_of(DATA)], ...], several(", ".join(DATA))]
    loss: Annotated[dict[str, Annotated[float, real(0, 1e6)]], several("a name, or numbers from 0 to 1e+06 by name")]
    limits: Limits
    trained: Annotated[str, one_of(TRAINED)] = "all"
    mixture: Annotated[str, one_of(MIXTURES)] = "ramp"
    ahead: Annotated[int, whole(0, 16)] = 0
    most_pictures: Annotated[int, whole(0, 10_000)] = 0


@dataclass(frozen=True)
class DrafterRecipe:
    """`text`: corpora for stages that learn from text (see `data.corpora`), `line_tokens` long lines of them."""

    kind: Annotated[str, one_of(KINDS)]
    seed: Annotated[int, whole(0, HIGHEST_SEED)]
    network: Network
    writing: Writing
    stages: tuple[StageRecipe, ...]
    text: Annotated[
        tuple[Annotated[str, matching(r"\S", "")], ...], several('a list such as ["package:dict-gcide"]', 0)
    ] = ()
    line_tokens: Annotated[int, whole(2, 1_000_000)] = 256
    source: str = field(default="", compare=False)

    @property
    def needs(self) -> set[str]:
        return {data for stage in self.stages for data in stage.data}


def read_toml(path: Path, example: str) -> dict[str, Any]:
    """The recipe's tables. Raises InputError, naming an `example`, where there are none to read."""
    if not (exists(path) and path.is_file()):
        raise InputError(f"no recipe at {escaped(str(path))}; give a TOML file such as {example}")
    written = read_text(path, f"give a TOML file such as {example}", InputError)
    try:
        return tomllib.loads(written)
    except RecursionError:
        raise InputError(f"{path} is not valid TOML (nested too deep); correct it") from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise InputError(f"{path} is not valid TOML ({escaped(str(error))}); correct it") from None


def rows_of(table: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    """Tables that are written one after the other."""
    rows = table.get(name, [])
    if not isinstance(rows, list):
        raise InputError(f"{path}: {name} are written as [[{name}]], one after the other")
    return rows


def check_names(names: list[str], what: str, path: Path) -> None:
    """Raises InputError for names that would be those of the same files, also where capitals do not count."""
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(f"{path} has two {what} of one name; give each its own")


def read_drafter_recipe(path: Path) -> DrafterRecipe:
    """Raises InputError, naming what is allowed, for a recipe that cannot be followed."""
    table = read_toml(path, "recipes/drafters/own-pictures.toml")
    refuse_unknown(table, [name for name in allowed_in(DrafterRecipe) if name != "source"], str(path))
    kind = table.get("kind")
    rows = rows_of(table, "stages", path)
    parts = {
        "kind": kind,
        "seed": table.get("seed", 0),
        "network": checked(Network, table.get("network", {}), f"{path} [network]"),
        "writing": checked(Writing, table.get("writing", {}), f"{path} [writing]"),
        "stages": tuple(_stage(row, f"{path} stage {number}", kind) for number, row in enumerate(rows, 1)),
    }
    recipe = replace(checked(DrafterRecipe, {**table, **parts}, str(path)), source=path.name)
    check_names([stage.name for stage in recipe.stages], "stages", path)
    _check(recipe, path)
    return recipe


def _stage(row: Any, where: str, kind: Any) -> StageRecipe:
    own = [name for name in allowed_in(StageRecipe) if name != "limits"]
    table = as_table(row, where)
    if isinstance(table.get("name"), str):
        where = f"{where} ({escaped(table['name'], 64)})"
    refuse_unknown(table, [*own, *allowed_in(Limits)], where)
    limits = checked(Limits, {name: value for name, value in table.items() if name not in own}, where)
    data, loss = table.get("data"), table.get("loss", MSD_LOSS if kind == "msd" else "cross-entropy")
    if data is None:
        raise InputError(f"{where} says not what it learns from; data is one or several of {', '.join(DATA)}")
    given = {
        **{name: table[name] for name in own if name in table},
        "data": (data,) if isinstance(data, str) else data,
        "loss": {loss: 1.0} if isinstance(loss, str) else loss,
        "limits": limits,
    }
    stage = checked(StageRecipe, given, where)
    losses = FEATURE_LOSSES if kind == "msd" else tuple(LOSSES)
    for name in stage.loss:
        if name not in losses:
            raise InputError(f"{where}: loss is {name!r}; allowed: {', '.join(losses)}")
    if not any(stage.loss.values()):
        raise InputError(f"{where}: no loss has a weight above 0, so nothing is learned; allowed: {', '.join(losses)}")
    if kind == "msd" and stage.mixture == "ramp" and math.isfinite(limits.minutes):
        raise InputError(f"{where}: a ramp is laid over the steps of its stage; leave minutes out")
    return stage


def _check(recipe: DrafterRecipe, path: Path) -> None:
    """What several values say together."""
    kind, network, writing = recipe.kind, recipe.network, recipe.writing
    if kind == "vision" and writing.num_visual not in (0, network.visual_tokens):
        raise InputError(
            f"{path}: the drafter sees {network.visual_tokens} visual tokens, answers keep {writing.num_visual}; "
            "give visual_tokens the same value in [network] and [writing], or 0 in [writing] to keep all"
        )
    if kind == "msd" and not writing.features:
        raise InputError(f"{path}: an msd drafter learns from the target's features; add features = true to [writing]")
    if kind != "msd" and head_width(network.width) % 2:
        raise InputError(
            f"{path} [network]: width is {network.width}, whose heads are {head_width(network.width)} wide; "
            "allowed: a multiple of 64, or less than 128 and even"
        )
    if kind != "vision" and any(stage.trained == "adapter" for stage in recipe.stages):
        raise InputError(f'{path} trains an adapter, which a {kind} drafter has not; take kind = "vision"')
    if any(stage.most_pictures for stage in recipe.stages) and (kind != "vision" or network.visual_tokens < 1):
        raise InputError(f'{path}: most_pictures counts by tokens; it needs kind = "vision" and visual_tokens')
    if "text" in recipe.needs and not recipe.text:
        raise InputError(f'{path} learns from text and names none; add text = ["package:dict-gcide"] or files')
