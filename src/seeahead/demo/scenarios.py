"""What the demo asks: scenarios of conversations about the bundled images, as data."""

from __future__ import annotations

from dataclasses import dataclass

from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.data.suite import Question, Turn
from seeahead.data.suite import image_facts as picture_facts

__all__ = ["PICTURES", "QUICK", "SCENARIOS", "Conversation", "Question", "Scenario", "Turn", "picture_facts"]


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
