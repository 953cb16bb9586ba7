"""What the demo asks: scenarios of conversations about the bundled pictures, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Turn:
    """One question of a conversation; the answer to it stands before the next one."""

    text: str
    max_new_tokens: int


@dataclass(frozen=True)
class Conversation:
    """Pictures (file names in the bundled folder) and the questions asked about them, one after the other."""

    pictures: tuple[str, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Scenario:
    """One kind of use. Speed-ups are averaged over scenarios, so that long answers do not decide alone."""

    name: str
    conversations: tuple[Conversation, ...]


@dataclass(frozen=True)
class Question:
    """One question as it is put to every method; `earlier` holds the questions and answers before it."""

    scenario: str
    pictures: tuple[str, ...]
    text: str
    max_new_tokens: int
    earlier: tuple[tuple[str, str], ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as chat messages; its pictures are in the first one."""
        parts: list[dict[str, Any]] = [{"type": "image", "path": PICTURES / name} for name in self.pictures]
        messages = []
        for question, answer in (*self.earlier, (self.text, "")):
            messages.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            parts = []
        return messages[:-1]


def picture_facts() -> dict[str, Mapping[str, str]]:
    """Title, author, licence and source of every bundled picture, by file name."""
    entries = json.loads((PICTURES / "pictures.json").read_text(encoding="utf-8"))
    return {entry["file"]: entry for entry in entries}


def _ask(pictures: str, *turns: tuple[str, int]) -> Conversation:
    return Conversation(tuple(pictures.split()), tuple(Turn(text, limit) for text, limit in turns))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "describe",
        (
            _ask("pelican.jpg", ("What is in the picture?", 48)),
            _ask("coffee.jpg", ("Describe the picture briefly.", 48)),
        ),
    ),
    Scenario("describe in detail", (_ask("fire_engine.jpg", ("Describe the picture in detail.", 96)),)),
    Scenario(
        "question",
        (
            _ask("chart.png", ("What does the chart show?", 64)),
            _ask("cow.jpg", ("What kind of thing is this?", 32)),
        ),
    ),
    Scenario(
        "read text",
        (
            _ask("receipt.png", ("What was bought?", 48)),
            _ask("sign.png", ("What does the sign say?", 32)),
        ),
    ),
    Scenario(
        "two pictures",
        (_ask("shapes_before.png shapes_after.png", ("What is different between the two pictures?", 64)),),
    ),
    Scenario(
        "follow-up",
        (
            _ask(
                "guitar.jpg",
                ("What is this?", 48),
                ("Tell me more about it.", 64),
                ("Say all of that again, please.", 96),
            ),
        ),
    ),
    Scenario("text only", (_ask("", ("Explain in a few sentences why the sky is blue.", 96)),)),
)

QUICK: tuple[Scenario, ...] = tuple(
    Scenario(scenario.name, scenario.conversations[:1])
    for scenario in SCENARIOS
    if scenario.name in ("describe", "read text", "text only")
)
"""Three short prompts, for a first look and for tests."""
