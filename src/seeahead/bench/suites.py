"""Suites by name: packaged ones, which need nothing, and public data sets, read from a folder. No torch on import."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from seeahead.checked import exists
from seeahead.data.files import read_lines
from seeahead.data.own_data import load_own, read_items
from seeahead.data.public import SUITES as PUBLIC
from seeahead.data.public import load_public
from seeahead.data.suite import BUNDLED, sampled
from seeahead.data.suite import Item as Item
from seeahead.data.suite import Suite as Suite
from seeahead.errors import InputError

_DEMO_QUESTIONS = BUNDLED.parent / "questions.jsonl"
"""Ten conversations of the suite `demo`; docs/demo-model.md has the rule by which they were chosen."""

PACKAGED = BUNDLED.parent / "suite"
"""A .jsonl file for each packaged suite, and the images that were drawn for them; `recipes.demo_model` writes it."""

DEMO, THREE_TASKS = "demo", "three-tasks"
_MOST_TOKENS = 128
"""Of an answer to somebody's own question, by default."""
_QUICK = ("caption-07", "read-text-03", "text-only-short-01")

SUITES: Mapping[str, str] = {
    DEMO: "ten scenarios on bundled and made images, held out from the demo model's training",
    THREE_TASKS: "the tasks of Gagrani et al. 2024 on images like those of demo: instructions, captions, science",
    **{name: suite.title for name, suite in PUBLIC.items()},
}
"""Every known name, with what it is."""


def load_suite(name: str, *, count: int | None, seed: int, folder: Path | None, workspace: Path) -> Suite:
    """The suite called `name`, with at most `count` items per scenario (None: all).

    `folder` holds a public data set; images that stand in its files are written into `workspace`.
    Raises InputError for an unknown name, a folder that does not hold the data set, and a row that is wrong."""
    if name not in SUITES:
        near = difflib.get_close_matches(name.lower(), SUITES, n=1, cutoff=0.5)
        meant = f", did you mean {near[0]}?" if near else ";"
        raise InputError(f"unknown suite {name!r}{meant} allowed: {', '.join(SUITES)}")
    if name in PUBLIC:
        return load_public(name, count=count, seed=seed, folder=folder, workspace=workspace)
    if folder is not None:
        raise InputError(f"suite {name} needs no folder; leave out {folder}, or give your own images with --data")
    homes = (PACKAGED / "images", BUNDLED)
    items = read_items(PACKAGED / f"{name}.jsonl", 1, homes, folder=BUNDLED.parent)
    return Suite(name, SUITES[name], tuple(sampled(items, lambda item: item.scenario, count, f"{seed} bench {name}")))


def suite_of(
    asked: str | Path | Suite, count: int | None, seed: int, folder: Path | None, workspace: Path, most: int | None
) -> Suite:
    """What may be asked for: a suite, one by name, or the path of somebody's own. Raises InputError for a `folder` or
    a limit of answers (`most`) that would have no effect."""
    if isinstance(asked, str) and asked not in SUITES and (asked.endswith(".jsonl") or exists(asked)):
        asked = Path(asked)
    if folder is not None and not isinstance(asked, str):
        raise InputError(f"folder is {folder}, where public data lie; leave it out, or name their suite")
    if isinstance(asked, Path):
        return load_own(asked, count=count, seed=seed, max_new_tokens=_MOST_TOKENS if most is None else most)
    if most is not None:
        raise InputError(f"max_new_tokens is {most}, but a suite says how long its answers are; leave it out")
    if isinstance(asked, str):
        return load_suite(asked, count=count, seed=seed, folder=folder, workspace=workspace)
    chosen = sampled(asked.items, lambda item: item.scenario, count, f"{seed} bench {asked.name}")
    return replace(asked, items=tuple(chosen))


def demo_questions(*, quick: bool) -> Suite:
    """What `seeahead demo` asks: a few conversations about the bundled images; three short questions if `quick`."""
    items = read_items(_DEMO_QUESTIONS, 1, (BUNDLED,), folder=BUNDLED.parent)
    return Suite(DEMO, "", tuple(item for item in items if not quick or item.id in _QUICK))


def demo_expects() -> dict[str, tuple[str, ...]]:
    """By id: words of which a right answer has one, where that can be told by a word."""
    return {str(row["id"]): tuple(row.get("expects", ())) for _, row in read_lines(_DEMO_QUESTIONS)}
