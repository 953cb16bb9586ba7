"""What a suite is made of: conversations about images, their questions, and a seeded sample of them. No torch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from seeahead.errors import InputError

T = TypeVar("T")

BUNDLED = Path(__file__).parents[1] / "demo" / "pictures"
"""The images of the package."""
DESCRIBE = "Describe the picture in detail."


@dataclass(frozen=True)
class Turn:
    """One question of a conversation; the answer to it stands before the next one."""

    text: str
    max_new_tokens: int


@dataclass(frozen=True)
class Item:
    """One conversation: images, shown with the first turn, and the questions asked one after the other."""

    id: str
    scenario: str
    images: tuple[Path, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Suite:
    """Items to measure on. Speed-ups are averaged over scenarios, so that a large one does not decide alone."""

    name: str
    about: str
    items: tuple[Item, ...]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """In the order of their first item."""
        return tuple(dict.fromkeys(item.scenario for item in self.items))


@dataclass(frozen=True)
class Question:
    """One question as it is put to every method; `earlier` holds the questions and answers before it.

    `images` are names of bundled images, or whole paths."""

    scenario: str
    images: tuple[str, ...]
    text: str
    max_new_tokens: int
    earlier: tuple[tuple[str, str], ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as chat messages; its images are in the first one."""
        parts: list[dict[str, Any]] = [{"type": "image", "path": BUNDLED / name} for name in self.images]
        messages = []
        for question, answer in (*self.earlier, (self.text, "")):
            messages.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            parts = []
        return messages[:-1]


def sampled(entries: Sequence[T], scenario_of: Callable[[T], str], count: int | None, stream: str) -> list[T]:
    """At most `count` entries of each scenario (None: all), in their old order; the same stream draws the same ones."""
    if count is None:
        return list(entries)
    if count < 1:
        raise InputError(f"the number of items per scenario is {count}; give 1 or more, or leave it out for all")
    by_scenario: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        by_scenario.setdefault(scenario_of(entry), []).append(index)
    chosen: set[int] = set()
    for scenario, indices in by_scenario.items():
        # One stream per scenario: a scenario that grows does not change what is drawn from the others.
        chosen.update(random.Random(f"{stream} {scenario}").sample(indices, min(count, len(indices))))
    return [entry for index, entry in enumerate(entries) if index in chosen]


def image_facts() -> dict[str, Mapping[str, str]]:
    """Title, author, licence and source of every bundled image, by file name."""
    entries = json.loads((BUNDLED / "pictures.json").read_text(encoding="utf-8"))
    return {entry["file"]: entry for entry in entries}


def photographs() -> list[Path]:
    """The bundled photographs; all were held out when the demo model was trained."""
    return [BUNDLED / name for name, facts in image_facts().items() if facts["kind"] == "photograph"]
