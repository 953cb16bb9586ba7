"""The suite `demo`: ten scenarios of 30 questions on bundled photographs and on images drawn here.

Bundled images were held out when the demo model was trained. Made ones come from streams of random numbers that
training does not use; text questions are about nouns and topics of the held-out side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from recipes.demo_model import scenes
from recipes.demo_model.dialogues import DETAIL
from recipes.demo_model.scene_dialogues import scene_example, shape_pair_example
from recipes.demo_model.stories import story
from recipes.demo_model.texts import HELD_OUT_NOUNS, text_questions
from seeahead.data.suite import BUNDLED, Turn, photographs

NUM_PROMPTS = 30
"""Questions per scenario; a conversation of two turns counts as two."""

SHORT, MIDDLE, LONG, LONGEST = 40, 48, 96, 128

CAPTIONS = (
    "What is in the picture?",
    "Describe the picture briefly.",
    "What do you see in the picture?",
    "Give a short caption.",
    "Say in one sentence what this is.",
)
ABOUT_A_PHOTOGRAPH = (
    "What kind of thing is this?",
    "What color is it?",
    "Is this an animal?",
    "Is this a plant?",
    "Is it large or small?",
    "What is the background like?",
)
ABOUT_THE_CHART = (
    "What does the chart show?",
    "Which bar is the tallest?",
    "Which bar is the shortest?",
    "How many bars are there?",
)
ABOUT_THE_SIGN = ("What does the sign say?", "Read the text in the picture.")
ABOUT_THE_RECEIPT = ("What was bought?", "What is the total?", "How much do the things cost?")
ABOUT_TWO = ("What do the two pictures show?", "Compare the two pictures.")
STORY = "Tell what happens in these five pictures."
FREE_STORIES = (STORY, "Write a short story that these five pictures illustrate.", "What do the five pictures show?")
FOLLOW_UPS = (
    "Tell me more about it.",
    "What can you tell me about it?",
    "Write a very short story about it.",
    "Where could one find something like this?",
    "Say all of that again, please, in more words.",
)
LONG_TEXTS = ("Write", "Explain", "Give me", "Tell me", "What should", "Why is")


@dataclass(frozen=True)
class Sketch:
    """An item before its images are written to files."""

    scenario: str
    images: tuple[Path | Image, ...]
    turns: tuple[Turn, ...]


Draw = Callable[[str, random.Random, int], Iterator[Sketch]]


def spread(questions: Sequence[str], rng: random.Random) -> Iterator[str]:
    """The questions in turn, for ever, each time in another order."""
    while True:
        yield from rng.sample(questions, len(questions))


def made(kind: str, rng: random.Random, abilities: Sequence[str]) -> tuple[Image, str]:
    """A drawn scene and one question about it that asks for one of the abilities."""
    example = scene_example(getattr(scenes, f"{kind}_scene")(rng), rng)
    questions = [turn.question for (turn,) in example.dialogues if turn.ability in abilities]
    return example.images[0], rng.choice(questions)


def captions(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph in photographs():
        for question in rng.sample(CAPTIONS, 2):
            yield Sketch(name, (photograph,), (Turn(question, SHORT),))
    for question, _ in zip(spread(CAPTIONS, rng), range(NUM_PROMPTS - 2 * len(photographs()))):
        image, _ = made("shapes", rng, ("list",))
        yield Sketch(name, (image,), (Turn(question, SHORT),))


def _details(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph in photographs():
        for question in rng.sample(DETAIL, 2):
            yield Sketch(name, (photograph,), (Turn(question, LONGEST),))
    kinds = spread(("shapes", "chart", "sign", "receipt"), rng)
    for kind, _ in zip(kinds, range(NUM_PROMPTS - 2 * len(photographs()))):
        image, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (image,), (Turn(rng.choice(DETAIL), LONGEST),))


def _questions(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph, question in zip(photographs(), spread(ABOUT_A_PHOTOGRAPH, rng)):
        yield Sketch(name, (photograph,), (Turn(question, SHORT),))
    for _ in range(NUM_PROMPTS - len(photographs())):
        image, question = made("shapes", rng, ("count", "colour", "shape", "where", "yes-no"))
        yield Sketch(name, (image,), (Turn(question, SHORT),))


def _reading(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    bundled = [("sign.png", text) for text in ABOUT_THE_SIGN] + [("receipt.png", text) for text in ABOUT_THE_RECEIPT]
    for file, question in bundled:
        yield Sketch(name, (BUNDLED / file,), (Turn(question, SHORT),))
    for kind, _ in zip(spread(("sign", "receipt"), rng), range(NUM_PROMPTS - len(bundled))):
        image, question = made(kind, rng, ("read",))
        yield Sketch(name, (image,), (Turn(question, SHORT),))


def _charts(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for question in ABOUT_THE_CHART:
        yield Sketch(name, (BUNDLED / "chart.png",), (Turn(question, _chart_limit(question)),))
    for _ in range(NUM_PROMPTS - len(ABOUT_THE_CHART)):
        image, question = made("chart", rng, ("chart", "count", "detail"))
        yield Sketch(name, (image,), (Turn(question, _chart_limit(question)),))


def _chart_limit(question: str) -> int:
    return MIDDLE if question.startswith(("Which", "How many")) else LONG


def _pairs(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """Photographs side by side, and made shapes of which one thing changes."""
    bundled = (BUNDLED / "shapes_before.png", BUNDLED / "shapes_after.png")
    yield Sketch(name, bundled, (Turn("What is different between the two pictures?", MIDDLE),))
    yield Sketch(name, bundled, (Turn("How many shapes are in each picture?", MIDDLE),))
    for question, _ in zip(spread(ABOUT_TWO, rng), range(NUM_PROMPTS // 2 - 1)):
        first, second = rng.sample(photographs(), 2)
        yield Sketch(name, (first, second), (Turn(question, LONG if question.startswith("Compare") else MIDDLE),))
    for _ in range(NUM_PROMPTS - NUM_PROMPTS // 2 - 1):
        example = shape_pair_example(rng)
        question = rng.choice(example.dialogues)[0].question
        yield Sketch(name, example.images, (Turn(question, MIDDLE),))


def _stories(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for question, _ in zip(spread(FREE_STORIES, rng), range(NUM_PROMPTS // 3)):
        yield Sketch(name, tuple(rng.sample(photographs(), 5)), (Turn(question, LONGEST),))
    for _ in range(NUM_PROMPTS - NUM_PROMPTS // 3):
        yield Sketch(name, story(rng), (Turn(STORY, LONGEST),))


def _follow_ups(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """A question about an image, then one that needs what was said more than it needs the image."""
    first, second = spread(CAPTIONS, rng), spread(FOLLOW_UPS, rng)
    for photograph in photographs():
        yield Sketch(name, (photograph,), (Turn(next(first), SHORT), Turn(next(second), LONG)))
    kinds = spread(("shapes", "chart", "sign", "receipt"), rng)
    for kind, _ in zip(kinds, range(NUM_PROMPTS // 2 - len(photographs()))):
        image, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (image,), (Turn(next(first), SHORT), Turn(FOLLOW_UPS[-1], LONG)))


def _texts(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """Questions without an image. Sums are left out: the same one may stand in the training set."""
    is_long = name == LONG_TEXT
    drawn = text_questions(list(HELD_OUT_NOUNS), held_out=True, count=600, seed=seed)
    wanted = [
        text
        for text in sorted(drawn)
        if text.startswith(LONG_TEXTS) == is_long and not any(letter.isdigit() for letter in text)
    ]
    for text in rng.sample(wanted, NUM_PROMPTS):
        yield Sketch(name, (), (Turn(text, LONGEST if is_long else MIDDLE),))


SHORT_TEXT, LONG_TEXT = "text only, short", "text only, long"

SCENARIOS: Mapping[str, Draw] = {
    "caption": captions,
    "describe in detail": _details,
    "question": _questions,
    "read text": _reading,
    "chart": _charts,
    "two pictures": _pairs,
    "five-picture story": _stories,
    "follow-up": _follow_ups,
    SHORT_TEXT: _texts,
    LONG_TEXT: _texts,
}
