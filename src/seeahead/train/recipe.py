"""A recipe: every number the training of the demo model needs, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from seeahead.errors import InputError
from seeahead.train.optimizers import Limits

STAGES = ("features", "soft-words", "answers")


@dataclass(frozen=True)
class Sizes:
    """Shapes of the trained networks."""

    vision_width: int = 256
    vision_layers: int = 6
    vision_heads: int = 4
    adapter_rank: int = 16


@dataclass(frozen=True)
class Amounts:
    """How much data is made, and how many minutes the writing stages may take."""

    view_rounds: int = 2
    num_scenes: int = 3000
    base_writing_minutes: float = 8.0
    writing_batch: int = 64
    writing_tokens: int = 96
    held_out_per_kind: int = 100
    held_out_texts: int = 40
    watch_minutes: float = 10.0
    num_conversations: int = 8000


@dataclass(frozen=True)
class ShippedDrafter:
    """A drafter's name, its recipe's file beside this recipe's, and which of those before it starts from ("": none).

    One that is there only for another to start from is not shipped."""

    name: str
    recipe: str
    start: str = ""
    is_shipped: bool = True


@dataclass(frozen=True)
class Recipe:
    """Everything of one training run; `smoke` replaces packages and SmolLM2 by made pictures and a tiny model."""

    seed: int
    smoke: bool
    sizes: Sizes
    amounts: Amounts
    shares: dict[str, float]
    stages: dict[str, Limits]
    drafters: tuple[ShippedDrafter, ...]
    folder: Path


def read_toml(path: Path, example: str) -> dict[str, Any]:
    """The recipe's tables. Raises InputError, naming an `example`, where there are none to read."""
    if not path.is_file():
        raise InputError(f"no recipe at {path}; give a TOML file such as {example}")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML ({error}); correct it") from None


def read_recipe(path: Path) -> Recipe:
    table = read_toml(path, "recipes/demo.toml")
    stages = table.get("stages", {})
    missing = [name for name in STAGES if name not in stages]
    if missing or "shares" not in table:
        raise InputError(f"{path} lacks {', '.join(missing) or 'shares'}; stages needed: {', '.join(STAGES)}")
    return Recipe(
        seed=int(table.get("seed", 0)),
        smoke=bool(table.get("smoke", False)),
        sizes=read_table(Sizes, table.get("sizes", {}), path),
        amounts=read_table(Amounts, table.get("amounts", {}), path),
        shares={name: float(value) for name, value in table["shares"].items()},
        stages={name: read_table(Limits, stages[name], path) for name in STAGES},
        drafters=tuple(read_table(ShippedDrafter, row, path) for row in table.get("drafters", ())),
        folder=path.parent,
    )


T = TypeVar("T")


def read_table(kind: type[T], table: dict[str, object], path: Path) -> T:
    allowed = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise InputError(f"{path} has unknown {', '.join(unknown)}; allowed here: {', '.join(sorted(allowed))}")
    try:
        return kind(**table)
    except TypeError as error:
        raise InputError(f"{path}: {error}; allowed here: {', '.join(sorted(allowed))}") from None
