"""Pictures of a suite, opened before a model is loaded: one that is broken must not end a run hours later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seeahead.data.suite import Suite
from seeahead.errors import ImageError, InputError
from seeahead.images import load_image


def pictures_of(suite: Suite) -> tuple[Path, ...]:
    """Every picture once."""
    return tuple(dict.fromkeys(path for item in suite.items for path in item.pictures))


def with_readable_pictures(suite: Suite, advance: Callable[[], None]) -> tuple[Suite, dict[str, str]]:
    """The suite without items whose pictures cannot be read, and why not, by the item's id.

    `advance` is told of every picture. Raises InputError when nothing is left."""
    wrong: dict[Path, str] = {}
    for path in pictures_of(suite):
        try:
            load_image(path)
        except ImageError as error:
            wrong[path] = str(error)
        advance()
    left_out = {item.id: wrong[path] for item in suite.items for path in item.pictures if path in wrong}
    items = tuple(item for item in suite.items if item.id not in left_out)
    if left_out and not items:
        raise InputError(f"no picture of {suite.name} can be read: {next(iter(left_out.values()))}")
    return replace(suite, items=items), left_out
