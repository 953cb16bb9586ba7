"""Questions of choice whose reason is asked too, as in ScienceQA: in words, of an image's kind, of a chart."""

from __future__ import annotations

import random
from collections.abc import Sequence

from recipes.demo_model.dialogues import KIND_WORDS
from recipes.demo_model.examples import ExampleSource
from seeahead.data.conversations import MARKER, Conversation
from seeahead.data.public import lettered

REASON = "Answer the question and explain in detail how you reach the answer."
WHICH_KIND = "Which kind of thing is this?"

CATEGORIES: dict[str, tuple[str, ...]] = {
    "a mammal": ("a whale", "a bat", "a mouse", "an elephant", "a dolphin", "a rabbit"),
    "a bird": ("an owl", "a penguin", "an eagle", "a parrot", "an ostrich", "a swan"),
    "an insect": ("a bee", "a butterfly", "a beetle", "a fly", "a grasshopper"),
    "a fish": ("a shark", "a salmon", "a trout", "a tuna", "an eel"),
    "a plant": ("a fern", "a rose", "moss", "a pine tree", "a tulip"),
    "a metal": ("copper", "gold", "silver", "aluminium", "lead", "tin"),
    "a gas": ("oxygen", "helium", "steam", "nitrogen", "carbon dioxide"),
    "a liquid at room temperature": ("milk", "oil", "vinegar", "honey"),
    "a gemstone": ("a ruby", "an emerald", "a diamond", "a sapphire"),
    "a planet": ("Jupiter", "Saturn", "Mercury", "Neptune", "Uranus"),
    "a unit of length": ("a metre", "a mile", "an inch", "a kilometre"),
    "a unit of time": ("an hour", "a second", "a decade", "a week"),
    "a musical instrument": ("a flute", "a drum", "a trumpet", "a cello", "a harp"),
    "a tool": ("a hammer", "a saw", "a screwdriver", "a wrench"),
    "a fruit": ("a pear", "a cherry", "a mango", "a grape", "a melon"),
    "an organ of the body": ("the liver", "a lung", "a kidney", "the stomach", "the brain"),
    "a form of energy": ("heat", "motion", "sunlight"),
    "a force": ("friction", "weight", "tension"),
    "a kind of weather": ("fog", "a hailstorm", "drizzle", "a blizzard"),
    "a continent": ("Africa", "Asia", "Europe", "South America"),
    "a simple machine": ("a lever", "a pulley", "a wedge", "an inclined plane"),
}
"""What belongs to what: the wrong options of a question are of other categories."""


def with_options(question: str, options: Sequence[str], rng: random.Random) -> str:
    """The question, its options in any order behind letters, and the wish for a reason."""
    return "\n".join([question, *lettered(rng.sample(options, len(options))), REASON])


def science_conversation(source: ExampleSource, rng: random.Random) -> Conversation:
    """A third without an image, a third about a photograph or drawing, a third about a chart."""
    return rng.choice((_in_words, _about_an_image, _about_a_chart))(source, rng)


def _in_words(source: ExampleSource, rng: random.Random) -> Conversation:
    category, *others = rng.sample(sorted(CATEGORIES), rng.choice((3, 4)))
    options = [rng.choice(CATEGORIES[name]) for name in (category, *others)]
    return Conversation((("user", with_options(f"Which of these is {category}?", options, rng)),))


def _about_an_image(source: ExampleSource, rng: random.Random) -> Conversation:
    example = source.draw("picture")
    kinds = rng.sample([kind for kind in KIND_WORDS if kind != example.kind], 3)
    return Conversation((("user", MARKER + with_options(WHICH_KIND, (example.kind, *kinds), rng)),), example.images)


def _about_a_chart(source: ExampleSource, rng: random.Random) -> Conversation:
    example = source.draw("chart")
    questions = [turn.question for (turn,) in example.dialogues if turn.ability in ("chart", "count")]
    return Conversation((("user", f"{MARKER}{rng.choice(questions)}\n{REASON}"),), example.images)
