"""A recipe: every number the training of the demo model needs, read from a TOML file and checked before use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from recipes.demo_model.examples import MADE
from seeahead.checked import as_table, checked, flag, matching, real, refuse_unknown, several, whole
from seeahead.errors import InputError, escaped
from seeahead.train.drafter_recipe import HIGHEST_SEED, NAME_OF_FILES, check_names, read_toml, rows_of
from seeahead.train.optimizers import Limits

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
    """How much data is made, and how many minutes the writing stages may take."""

    view_rounds: Annotated[int, whole(1, 1000)] = 2
    num_scenes: Annotated[int, whole(1, 10_000_000)] = 3000
    base_writing_minutes: Annotated[float, real(0, 1e6)] = 8.0
    writing_batch: Annotated[int, whole(1, 100_000)] = 64
    writing_tokens: Annotated[int, whole(1, 100_000)] = 96
    held_out_per_kind: Annotated[int, whole(1, 1_000_000)] = 100
    held_out_texts: Annotated[int, whole(1, 1_000_000)] = 40
    watch_minutes: Annotated[float, real(0, 1e6, above=True)] = 10.0
    num_conversations: Annotated[int, whole(1, 10_000_000)] = 8000


@dataclass(frozen=True)
class ShippedDrafter:
    """A drafter's name, its recipe's file beside this recipe's, and which of those before it starts from ("": none).

    One that is there only for another to start from is not shipped."""

    name: Annotated[str, NAME_OF_FILES]
    recipe: Annotated[str, matching(r"\S", "the file of a drafter's recipe, such as drafters/base-cpu.toml")]
    start: Annotated[str, matching("", "the name of a drafter before it")] = ""
    is_shipped: Annotated[bool, flag()] = True


@dataclass(frozen=True)
class Recipe:
    """Everything of one training run; `smoke` replaces packages and SmolLM2 by made images and a tiny model."""

    sizes: Sizes
    amounts: Amounts
    shares: Annotated[dict[str, Annotated[float, real(0, 1e6)]], several("a number from 0 up for each kind of example")]
    stages: dict[str, Limits]
    drafters: tuple[ShippedDrafter, ...]
    folder: Path
    seed: Annotated[int, whole(0, HIGHEST_SEED)] = 0
    smoke: Annotated[bool, flag()] = False


def read_recipe(path: Path) -> Recipe:
    """Raises InputError, naming what is allowed, for a recipe that cannot be followed."""
    table = read_toml(path, "recipes/demo.toml")
    refuse_unknown(table, ("seed", "smoke", "sizes", "amounts", "shares", "stages", "drafters"), str(path))
    stages = as_table(table.get("stages", {}), f"{path}: stages")
    missing = [name for name in STAGES if name not in stages]
    if missing or "shares" not in table:
        raise InputError(f"{path} lacks {', '.join(missing) or 'shares'}; stages needed: {', '.join(STAGES)}")
    refuse_unknown(stages, STAGES, f"{path} [stages]")
    parts = {
        "sizes": checked(Sizes, table.get("sizes", {}), f"{path} [sizes]"),
        "amounts": checked(Amounts, table.get("amounts", {}), f"{path} [amounts]"),
        "stages": {name: checked(Limits, stages[name], f"{path} [stages.{name}]") for name in STAGES},
        "drafters": _drafters(rows_of(table, "drafters", path), path),
        "folder": path.parent,
    }
    recipe = checked(Recipe, {**table, **parts}, str(path))
    _check(recipe, path)
    return recipe


def _drafters(rows: list[Any], path: Path) -> tuple[ShippedDrafter, ...]:
    read = [checked(ShippedDrafter, row, f"{path} drafter {number}") for number, row in enumerate(rows, 1)]
    names = [entry.name for entry in read]
    check_names(names, "drafters", path)
    for number, entry in enumerate(read):
        if entry.start not in ("", *names[:number]):
            before = ", ".join(names[:number]) or "none"
            raise InputError(f"{path}: {entry.name} starts from {escaped(entry.start)!r}; drafters before it: {before}")
    return tuple(read)


def _check(recipe: Recipe, path: Path) -> None:
    """What several values say together."""
    refuse_unknown(recipe.shares, SHARES, f"{path} [shares]")
    if not any(share for kind, share in recipe.shares.items() if kind != "text") or "text" not in recipe.shares:
        raise InputError(f"{path} [shares] needs text, and one kind of picture with more than 0: {', '.join(SHARES)}")
    if not recipe.drafters:
        raise InputError(f"{path} names no drafter; add [[drafters]] with name and recipe")
    sizes, fewest = recipe.sizes, 4
    if sizes.vision_width % sizes.vision_heads:
        raise InputError(
            f"{path} [sizes]: vision_width is {sizes.vision_width}, which {sizes.vision_heads} vision_heads do not "
            "divide; give a multiple"
        )
    # A batch of the vision stages is images of two kinds, each with halves that are asked different things.
    for name in STAGES[:2]:
        if recipe.stages[name].batch_size < fewest:
            given = recipe.stages[name].batch_size
            raise InputError(f"{path} [stages.{name}]: batch_size is {given}; allowed: {fewest} or more")
