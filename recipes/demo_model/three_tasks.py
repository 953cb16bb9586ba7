"""The three tasks of Gagrani et al. 2024 on the demo's held-out images, 30 questions each.

The paper asks LLaVA-Instruct-150K (open questions), COCO (captions) and ScienceQA (a choice, with its reason), which
are public suites here; this one needs nothing on disk.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from recipes.demo_model.demo_suite import LONG, LONGEST, NUM_PROMPTS, Draw, Sketch, captions, made, spread
from recipes.demo_model.science import REASON, WHICH_KIND, with_options
from seeahead.data.suite import Turn, photographs

INSTRUCTIONS = (
    "Describe the picture in detail.",
    "What is shown here, and what does it look like?",
    "Tell me everything you can see in the picture.",
    "Describe this image to somebody who cannot see it.",
    "What stands out in the picture, and why?",
)
KINDS = ("animal", "plant", "food", "vehicle", "piece of clothing", "hobby thing", "household thing", "person")
SCIENCE = (
    ("Which of these is a source of light?", ("the moon", "the sun", "a mirror")),
    ("Which of these melts first in the sun?", ("ice", "iron", "glass")),
    ("What do plants need to grow?", ("water and light", "salt and sand", "nothing")),
    ("Which of these does a magnet attract?", ("wood", "iron", "paper")),
    ("What makes the tides?", ("the wind", "the moon", "fish")),
    ("Which of these animals lays eggs?", ("a chicken", "a cow", "a dog")),
    ("Where does rain come from?", ("the clouds", "the ground", "the stars")),
    ("Which planet do we live on?", ("Mars", "Venus", "Earth")),
    ("What does the heart do?", ("it pumps blood", "it digests food", "it thinks")),
    ("Which of these is the fastest?", ("light", "sound", "a train")),
)


def _instructions(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    asked = spread(INSTRUCTIONS, rng)
    for photograph in photographs():
        yield Sketch(name, (photograph,), (Turn(next(asked), LONGEST),))
    kinds = spread(("shapes", "chart", "sign", "receipt"), rng)
    for kind, _ in zip(kinds, range(NUM_PROMPTS - len(photographs()))):
        image, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (image,), (Turn(next(asked), LONGEST),))


def _science(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """As in ScienceQA, a third of the questions has no image."""
    for question, options in SCIENCE:
        yield Sketch(name, (), (Turn(with_options(question, options, rng), LONG),))
    for photograph in photographs():
        kinds = tuple(rng.sample(KINDS, 4))
        yield Sketch(name, (photograph,), (Turn(with_options(WHICH_KIND, kinds, rng), LONG),))
    for _ in range(NUM_PROMPTS - len(SCIENCE) - len(photographs())):
        image, question = made("chart", rng, ("chart", "count"))
        yield Sketch(name, (image,), (Turn(f"{question}\n{REASON}", LONG),))


SCENARIOS: Mapping[str, Draw] = {
    "instruction": _instructions,
    "caption": captions,
    "science question": _science,
}
