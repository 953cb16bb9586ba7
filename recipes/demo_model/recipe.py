"""A recipe: every number the training of the demo model needs, read from a TOML file and checked before use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, model_validator

from recipes.demo_model.examples import MADE
from seeahead.checked import (
    allowed_in,
    checked,
    flag,
    matching,
    real,
    refuse_unknown,
    rows,
    several,
    table,
    whole,
)
from seeahead.errors import InputError, escaped
from seeahead.train.recipe import HIGHEST_SEED, NAME_OF_FILES, check_names, tables_of
from seeahead.train.stage import Limits

STAGES = ("features", "soft-words", "answers")
SHARES = ("picture", "easy-vqa", "shape-pair", "picture-pair", "scene", *MADE, "text")
"""What an example of stage "answers" may be."""


@dataclass(frozen=True)
class Sizes:
    """Shapes of the trained networks."""

    vision_width: Annotated[int, whole(8, 16_384)] = 256
    vision_layers: Annotated[int, whole(1, 256)] = 6
    vision_heads: Annotated[int, whole(1, 256)] = 4
    adapter_rank: Annotated[int, whole(1, 4096)] = 16


@dataclass(frozen=True)
class Amounts:
    """How much data is made, in how many shards (several processes make these), of how many `view_rounds` the teacher
    sees the images, and how many minutes the writing stages may take."""

    view_rounds: Annotated[int, whole(1, 1000)] = 2
    num_scenes: Annotated[int, whole(1, 10_000_000)] = 3000
    base_writing_minutes: Annotated[float, real(0, 1e6)] = 8.0
    writing_batch: Annotated[int, whole(1, 100_000)] = 64
    writing_tokens: Annotated[int, whole(1, 100_000)] = 96
    held_out_per_kind: Annotated[int, whole(1, 1_000_000)] = 100
    held_out_texts: Annotated[int, whole(1, 1_000_000)] = 40
    watch_minutes: Annotated[float, real(0, 1e6, above=True)] = 10.0
    taught_rounds: Annotated[int, whole(1, 1000)] = 1
    num_conversations: Annotated[int, whole(1, 10_000_000)] = 8000
    num_shards: Annotated[int, whole(1, 10_000)] = 1


@dataclass(frozen=True)
class ShippedDrafter:
    """A drafter's name, its recipe's file beside this recipe's, and which of those before it starts from ("": none).

    One that is there only for another to start from is not shipped."""

    name: Annotated[str, NAME_OF_FILES]
    recipe: Annotated[str, matching(r"\S", "the file of a drafter's recipe, such as drafters/base-cpu.toml")]
    start: Annotated[str, matching("", "the name of a drafter before it")] = ""
    is_shipped: Annotated[bool, flag()] = True


def _drafter(row: object, where: str) -> ShippedDrafter:
    return checked(ShippedDrafter, row, where)


def _stages(given: object) -> object:
    """The limits of every stage."""
    if not isinstance(given, dict):
        return given
    refuse_unknown(given, STAGES, "stages")
    if missing := [name for name in STAGES if name not in given]:
        raise InputError(f"stages lacks {', '.join(missing)}; needed: {', '.join(STAGES)}")
    return {name: checked(Limits, given[name], f"stage {name}") for name in STAGES}


@dataclass(frozen=True)
class Recipe:
    """Everything of one training run; `smoke` replaces packages and SmolLM2 by made images and a tiny model.

    `made`: shares of the made images of stage "soft-words"; without them three in five show shapes. `vision_share`: of
    the learning rate of stage "answers", what tower and projector get."""

    stages: Annotated[dict[str, Limits], BeforeValidator(_stages), several("a table of the limits of each stage")]
    shares: Annotated[dict[str, Annotated[float, real(0, 1e6)]], several("a number from 0 up for each kind of example")]
    sizes: Annotated[Sizes, table(Sizes, "sizes")] = Sizes()
    amounts: Annotated[Amounts, table(Amounts, "amounts")] = Amounts()
    made: Annotated[
        dict[str, Annotated[float, real(0, 1e6)]], several("a number from 0 up for each kind of made image", 0)
    ] = field(default_factory=dict)
    vision_share: Annotated[float, real(0, 1)] = 0.02
    drafters: Annotated[
        tuple[ShippedDrafter, ...], rows(_drafter, "drafter"), several("tables, each headed [[drafters]]", 0)
    ] = ()
    seed: Annotated[int, whole(0, HIGHEST_SEED)] = 0
    smoke: Annotated[bool, flag()] = False
    folder: Path = Path()

    @model_validator(mode="after")
    def _is_one(self) -> Recipe:
        """What several values say together."""
        refuse_unknown(self.shares, SHARES, "shares")
        refuse_unknown(self.made, ("easy-vqa", "scene", *MADE), "made")
        if not any(share for kind, share in self.shares.items() if kind != "text") or "text" not in self.shares:
            raise InputError(f"shares needs text, and one kind of image with more than 0: {', '.join(SHARES)}")
        self._check_drafters()
        sizes, fewest = self.sizes, 4
        if sizes.vision_width % sizes.vision_heads:
            raise InputError(
                f"sizes: vision_width is {sizes.vision_width}, which {sizes.vision_heads} vision_heads do not divide; "
                "give a multiple"
            )
        # A batch of the vision stages is images of two kinds, each with halves that are asked different things.
        for name in STAGES[:2]:
            if (given := self.stages[name].batch_size) < fewest:
                raise InputError(f"stage {name}: batch_size is {given}; allowed: {fewest} or more")
        return self

    def _check_drafters(self) -> None:
        if not self.drafters:
            raise InputError("no drafter is named; add [[drafters]] with name and recipe")
        names = [entry.name for entry in self.drafters]
        check_names(names, "drafters")
        for number, entry in enumerate(self.drafters):
            if entry.start not in ("", *names[:number]):
                before = ", ".join(names[:number]) or "none"
                raise InputError(f"{entry.name} starts from {escaped(entry.start)!r}; drafters before it: {before}")


def read_recipe(path: Path) -> Recipe:
    """Raises InputError, naming what is allowed, for a recipe that cannot be followed."""
    given = tables_of(path, "recipes/demo.toml")
    refuse_unknown(given, [name for name in allowed_in(Recipe) if name != "folder"], str(path))
    return replace(checked(Recipe, {"stages": {}, **given}, str(path)), folder=path.parent)
