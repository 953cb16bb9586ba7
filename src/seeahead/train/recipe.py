"""A drafter's recipe: what is built, what the target writes for it, and the stages it goes through; a TOML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from seeahead.checked import (
    AS_TUPLE,
    allowed_in,
    as_table,
    checked,
    exists,
    flag,
    matching,
    one_of,
    read_toml,
    real,
    refuse_unknown,
    rows,
    several,
    table,
    whole,
)
from seeahead.drafters.msd import VISUAL
from seeahead.errors import InputError, escaped
from seeahead.train.examples import MIXTURES
from seeahead.train.losses import FEATURE_LOSS, LOSSES
from seeahead.train.stage import Limits, Origin, digest

FEATURE_KINDS = ("msd", "eagle3")
"""Kinds of drafters that read the target's hidden states."""
COMPRESSED = "compressed"
"""What ViSpec makes of images."""
DATA = ("text", "conversations", "answers")
HEAD_DIM = 64
HIGHEST_SEED = 2**32 - 1
NAME_OF_FILES = matching("^[A-Za-z0-9_-]{1,64}$", "up to 64 letters, digits, - and _, since files are called by it")
"""What a name takes that files of the output folder are called by: it must not lead out of that folder."""


@dataclass(frozen=True)
class Network:
    """`vocabulary`: draft tokens, 0 for all of the target's. `visual_tokens`: of an image, at most; 0: all of them.

    A feature drafter has the target's width and one layer. `decoupled`: images are kept apart from text (MSD), or not
    (EAGLE-2); `pictures`: what becomes of an image's slots (full, pooled to `visual_tokens`, query, dropped, or
    compressed into `visual_tokens` by ViSpec's queries). EAGLE-3 has neither: it reads placeholders there."""

    width: Annotated[int, whole(2, 65_536)] = 320
    layers: Annotated[int, whole(1, 256)] = 3
    vocabulary: Annotated[int, whole(0, 10_000_000)] = 6144
    visual_tokens: Annotated[int, whole(0, 1_000_000)] = 16
    adapter_width: Annotated[int, whole(1, 262_144)] = 640
    decoupled: Annotated[bool, flag()] = True
    pictures: Annotated[str, one_of((*VISUAL, COMPRESSED))] = "full"

    @property
    def heads(self) -> int:
        return max(1, self.width // HEAD_DIM)


@dataclass(frozen=True)
class GenerationSettings:
    """How much the target writes. Every `sampled_every`-th batch is drawn at temperature 1, the others are greedy; 0:
    none is drawn.

    `visual_tokens`: of an image, at most so many visual embeddings are stored, as means of neighbours; 0: all; None:
    none. `features`: the hidden states that the drafter reads are stored too, and every visual embedding."""

    minutes: Annotated[float, real(0, 1e7)] = 20.0
    batch_size: Annotated[int, whole(1, 100_000)] = 32
    max_new_tokens: Annotated[int, whole(1, 1_000_000)] = 96
    sampled_every: Annotated[int, whole(0, 1_000_000)] = 4
    visual_tokens: Annotated[int | None, whole(0, 1_000_000)] = None
    features: Annotated[bool, flag()] = False

    @property
    def num_visual(self) -> int | None:
        return 0 if self.features else self.visual_tokens


@dataclass(frozen=True)
class StageRecipe:
    """`data`: of which kinds it learns. `loss`: weights by name. `trained`: the whole drafter or its adapter alone.
    `most_pictures`: answers about more images are left out, 0: none are.

    For feature drafters: `mixture` of text and images; `ahead`, for how many further tokens the drafter reads its own
    guesses, as when drafting; `decay`, the weight of each of these, of that before it."""

    name: Annotated[str, NAME_OF_FILES]
    data: Annotated[tuple[Annotated[str, one_of(DATA)], ...], AS_TUPLE, several(", ".join(DATA))]
    loss: Annotated[
        dict[str, Annotated[float, real(0, 1e6)]],
        BeforeValidator(lambda value: {value: 1.0} if isinstance(value, str) else value),
        several("a name, or numbers from 0 to 1e+06 by name"),
    ]
    limits: Limits
    trained: Annotated[str, one_of(("all", "adapter"))] = "all"
    mixture: Annotated[str, one_of(MIXTURES)] = "ramp"
    ahead: Annotated[int, whole(0, 16)] = 0
    decay: Annotated[float, real(0, 1, above=True)] = 1.0
    most_pictures: Annotated[int, whole(0, 10_000)] = 0

    @classmethod
    def read(cls, row: object, where: str) -> StageRecipe:
        """From one table, in which the limits stand beside the rest."""
        given = as_table(row, where)
        if isinstance(given.get("name"), str):
            where = f"{where} ({escaped(given['name'], 64)})"
        own = [name for name in allowed_in(cls) if name != "limits"]
        refuse_unknown(given, [*own, *allowed_in(Limits)], where)
        limits = checked(Limits, {name: value for name, value in given.items() if name not in own}, where)
        return checked(cls, {"limits": limits, **{name: given[name] for name in own if name in given}}, where)

    def check(self, kind: str) -> None:
        """Raises InputError for what drafters of this `kind` do not learn by."""
        allowed = tuple(FEATURE_LOSS.get(kind, LOSSES))
        for name in self.loss:
            if name not in allowed:
                raise InputError(f"stage {self.name}: loss is {name!r}; allowed: {', '.join(allowed)}")
        if not any(self.loss.values()):
            raise InputError(f"stage {self.name}: every loss has weight 0; give one of {', '.join(allowed)} more")
        if kind in FEATURE_KINDS and self.data != ("answers",):
            raise InputError(
                f"stage {self.name}: data is {', '.join(self.data)}; {kind} learns from the target's own answers "
                'alone: give data = "answers"'
            )
        if kind in FEATURE_KINDS and self.mixture == "ramp" and math.isfinite(self.limits.minutes):
            raise InputError(f"stage {self.name}: a ramp is laid over the steps of its stage; leave minutes out")


@dataclass(frozen=True)
class DrafterRecipe:
    """`text`: corpora for stages that learn from text (see `data.corpora`), `line_tokens` long lines of them."""

    kind: Annotated[str, one_of(("language", "vision", *FEATURE_KINDS))]
    seed: Annotated[int, whole(0, HIGHEST_SEED)] = 0
    network: Annotated[Network, table(Network, "network")] = Network()
    writing: Annotated[GenerationSettings, table(GenerationSettings, "writing")] = GenerationSettings()
    stages: Annotated[
        tuple[StageRecipe, ...], rows(StageRecipe.read, "stage"), several("tables, each headed [[stages]]", 0)
    ] = ()
    text: Annotated[
        tuple[Annotated[str, matching(r"\S", "")], ...], several('a list such as ["package:dict-gcide"]', 0)
    ] = ()
    line_tokens: Annotated[int, whole(2, 1_000_000)] = 256
    source: str = field(default="", compare=False)

    @property
    def needs(self) -> set[str]:
        return {data for stage in self.stages for data in stage.data}

    @property
    def method(self) -> str:
        """The kind, and of what is called msd the one that it is."""
        is_compressed = self.kind == "msd" and self.network.pictures == COMPRESSED
        return "vispec" if is_compressed else self.kind

    @model_validator(mode="after")
    def _is_one(self) -> DrafterRecipe:
        """What several values say together."""
        kind, network, kept = self.kind, self.network, self.writing.num_visual
        check_names([stage.name for stage in self.stages], "stages")
        for stage in self.stages:
            stage.check(kind)
        if kind == "vision" and kept not in (0, network.visual_tokens):
            raise InputError(
                f"the drafter sees {network.visual_tokens} visual tokens, answers keep {kept}; give visual_tokens the "
                "same value in [network] and [writing], or 0 in [writing] to keep all"
            )
        if kind in FEATURE_KINDS:
            self._check_features()
        if kind not in FEATURE_KINDS and (head_width := network.width // network.heads) % 2:
            raise InputError(
                f"network: width is {network.width}, whose heads are {head_width} wide; allowed: a multiple of "
                f"{HEAD_DIM}, or less than {2 * HEAD_DIM} and even"
            )
        if kind != "vision" and any(stage.trained == "adapter" for stage in self.stages):
            raise InputError(f'a {kind} drafter has no adapter to train; leave trained out, or take kind = "vision"')
        if any(stage.most_pictures for stage in self.stages) and (kind != "vision" or network.visual_tokens < 1):
            raise InputError('most_pictures counts by tokens; it needs kind = "vision" and visual_tokens')
        if "text" in self.needs and not self.text:
            raise InputError('data is "text", and no text is named; add text = ["package:dict-gcide"] or files')
        return self

    def _check_features(self) -> None:
        network = self.network
        is_usual = network.decoupled and network.pictures == "full"
        if not self.writing.features:
            raise InputError(f"{self.kind} learns from the target's features; add features = true to [writing]")
        if self.kind == "eagle3" and not is_usual:
            raise InputError("eagle3 reads placeholders in an image's place; leave decoupled and pictures out")
        if self.method == "vispec" and not (network.decoupled and network.visual_tokens):
            told = "give visual_tokens of 1 or more, and leave decoupled out"
            raise InputError(f'network: pictures is "{COMPRESSED}"; {told}')


def origin_of_stage(recipe: DrafterRecipe, entry: StageRecipe, given: Origin) -> Origin:
    """`given`: what the run started from and learned from. What came before the stage is part of it."""
    before = recipe.stages[: recipe.stages.index(entry)]
    return {
        **{f"[network] {name}": str(value) for name, value in asdict(recipe.network).items()},
        **{name: str(getattr(recipe, name)) for name in ("kind", "seed", "text", "line_tokens")},
        **given,
        **{name: str(value) for name, value in vars(entry).items() if name not in ("name", "limits")},
        **entry.limits.origin,
        "stages before": digest([str(stage) for stage in before]),
    }


def tables_of(path: Path, example: str) -> dict[str, Any]:
    """The recipe's tables. Raises InputError, naming an `example`, where there are none to read."""
    if not (exists(path) and path.is_file()):
        raise InputError(f"no recipe at {escaped(str(path))}; give a TOML file such as {example}")
    return read_toml(path, f"give a TOML file such as {example}")


def check_names(names: list[str], what: str) -> None:
    """Raises InputError for names that would be those of the same files, also where capitals do not count."""
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(f"there are two {what} of one name; give each its own")


def read_drafter_recipe(path: Path) -> DrafterRecipe:
    """Raises InputError, naming what is allowed, for a recipe that cannot be followed."""
    given = tables_of(path, "recipes/drafters/own-pictures.toml")
    refuse_unknown(given, [name for name in allowed_in(DrafterRecipe) if name != "source"], str(path))
    kind = given.get("kind")
    loss = FEATURE_LOSS.get(kind, "cross-entropy") if isinstance(kind, str) else "cross-entropy"
    if isinstance(stages := given.get("stages"), list):
        given["stages"] = [{"loss": loss, **row} if isinstance(row, Mapping) else row for row in stages]
    return replace(checked(DrafterRecipe, given, str(path)), source=path.name)
