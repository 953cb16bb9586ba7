"""The suite that needs nothing: ten scenarios of 30 questions on bundled photographs and on pictures drawn here.

Bundled pictures were held out when the demo model was trained. Made ones come from streams of random numbers that
training does not use; text questions are about nouns and topics of the held-out side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image as Picture

from seeahead.data import scenes
from seeahead.data.items import DESCRIBE, Item, Suite, photographs, sampled, store_picture
from seeahead.data.scene_dialogues import scene_example, shape_pair_example
from seeahead.data.stories import story
from seeahead.data.texts import HELD_OUT_NOUNS, text_questions
from seeahead.demo.scenarios import PICTURES, Turn

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
DETAILS = (DESCRIBE, "Describe this image in detail.", "Please give a detailed description.")
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
    """An item before its pictures are written to files."""

    scenario: str
    pictures: tuple[Path | Picture, ...]
    turns: tuple[Turn, ...]
    number: int = 0


Draw = Callable[[str, random.Random, int], Iterator[Sketch]]


def load_drawn(
    name: str, scenarios: Mapping[str, Draw], about: str, *, count: int | None, seed: int, workspace: Path
) -> Suite:
    """All scenarios, `count` items of each; made pictures of the chosen items are written into `workspace`."""
    sketches: list[Sketch] = []
    for scenario, draw in scenarios.items():
        rng = random.Random(f"{seed} bench {scenario}")
        sketches += [
            Sketch(scenario, drawn.pictures, drawn.turns, number)
            for number, drawn in enumerate(draw(scenario, rng, seed), start=1)
        ]
    chosen = sampled(sketches, lambda sketch: sketch.scenario, count, f"{seed} bench {name}")
    return Suite(name, about, tuple(_item(sketch, workspace) for sketch in chosen))


def _item(sketch: Sketch, workspace: Path) -> Item:
    pictures = tuple(
        picture if isinstance(picture, Path) else store_picture(workspace, picture) for picture in sketch.pictures
    )
    name = sketch.scenario.replace(" ", "-").replace(",", "")
    return Item(f"{name}-{sketch.number:02d}", sketch.scenario, pictures, sketch.turns)


def spread(questions: Sequence[str], rng: random.Random) -> Iterator[str]:
    """The questions in turn, for ever, each time in another order."""
    while True:
        yield from rng.sample(questions, len(questions))


def made(kind: str, rng: random.Random, abilities: Sequence[str]) -> tuple[Picture, str]:
    """A drawn scene and one question about it that asks for one of the abilities."""
    example = scene_example(getattr(scenes, f"{kind}_scene")(rng), rng)
    questions = [turn.question for (turn,) in example.dialogues if turn.ability in abilities]
    return example.pictures[0], rng.choice(questions)


def captions(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph in photographs():
        for question in rng.sample(CAPTIONS, 2):
            yield Sketch(name, (photograph,), (Turn(question, SHORT),))
    for question, _ in zip(spread(CAPTIONS, rng), range(NUM_PROMPTS - 2 * len(photographs()))):
        picture, _ = made("shapes", rng, ("list",))
        yield Sketch(name, (picture,), (Turn(question, SHORT),))


def _details(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph in photographs():
        for question in rng.sample(DETAILS, 2):
            yield Sketch(name, (photograph,), (Turn(question, LONGEST),))
    kinds = spread(("shapes", "chart", "sign", "receipt"), rng)
    for kind, _ in zip(kinds, range(NUM_PROMPTS - 2 * len(photographs()))):
        picture, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (picture,), (Turn(rng.choice(DETAILS), LONGEST),))


def _questions(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for photograph, question in zip(photographs(), spread(ABOUT_A_PHOTOGRAPH, rng)):
        yield Sketch(name, (photograph,), (Turn(question, SHORT),))
    for _ in range(NUM_PROMPTS - len(photographs())):
        picture, question = made("shapes", rng, ("count", "colour", "shape", "where", "yes-no"))
        yield Sketch(name, (picture,), (Turn(question, SHORT),))


def _reading(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    bundled = [("sign.png", text) for text in ABOUT_THE_SIGN] + [("receipt.png", text) for text in ABOUT_THE_RECEIPT]
    for file, question in bundled:
        yield Sketch(name, (PICTURES / file,), (Turn(question, SHORT),))
    for kind, _ in zip(spread(("sign", "receipt"), rng), range(NUM_PROMPTS - len(bundled))):
        picture, question = made(kind, rng, ("read",))
        yield Sketch(name, (picture,), (Turn(question, SHORT),))


def _charts(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for question in ABOUT_THE_CHART:
        yield Sketch(name, (PICTURES / "chart.png",), (Turn(question, _chart_limit(question)),))
    for _ in range(NUM_PROMPTS - len(ABOUT_THE_CHART)):
        picture, question = made("chart", rng, ("chart", "count", "detail"))
        yield Sketch(name, (picture,), (Turn(question, _chart_limit(question)),))


def _chart_limit(question: str) -> int:
    return MIDDLE if question.startswith(("Which", "How many")) else LONG


def _pairs(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """Photographs side by side, and made shapes of which one thing changes."""
    bundled = (PICTURES / "shapes_before.png", PICTURES / "shapes_after.png")
    yield Sketch(name, bundled, (Turn("What is different between the two pictures?", MIDDLE),))
    yield Sketch(name, bundled, (Turn("How many shapes are in each picture?", MIDDLE),))
    for question, _ in zip(spread(ABOUT_TWO, rng), range(NUM_PROMPTS // 2 - 1)):
        first, second = rng.sample(photographs(), 2)
        yield Sketch(name, (first, second), (Turn(question, LONG if question.startswith("Compare") else MIDDLE),))
    for _ in range(NUM_PROMPTS - NUM_PROMPTS // 2 - 1):
        example = shape_pair_example(rng)
        question = rng.choice(example.dialogues)[0].question
        yield Sketch(name, example.pictures, (Turn(question, MIDDLE),))


def _stories(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    for question, _ in zip(spread(FREE_STORIES, rng), range(NUM_PROMPTS // 3)):
        yield Sketch(name, tuple(rng.sample(photographs(), 5)), (Turn(question, LONGEST),))
    for _ in range(NUM_PROMPTS - NUM_PROMPTS // 3):
        yield Sketch(name, story(rng), (Turn(STORY, LONGEST),))


def _follow_ups(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """A question about a picture, then one that needs what was said more than it needs the picture."""
    first, second = spread(CAPTIONS, rng), spread(FOLLOW_UPS, rng)
    for photograph in photographs():
        yield Sketch(name, (photograph,), (Turn(next(first), SHORT), Turn(next(second), LONG)))
    kinds = spread(("shapes", "chart", "sign", "receipt"), rng)
    for kind, _ in zip(kinds, range(NUM_PROMPTS // 2 - len(photographs()))):
        picture, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (picture,), (Turn(next(first), SHORT), Turn(FOLLOW_UPS[-1], LONG)))


def _texts(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """Questions without a picture. Sums are left out: the same one may stand in the training set."""
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
