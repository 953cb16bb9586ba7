"""The three tasks of Gagrani et al. 2024 on the demo's held-out pictures, 30 questions each.

The paper asks LLaVA-Instruct-150K (open questions), COCO (captions) and ScienceQA (a choice, with its reason), which
are public suites here; this one needs nothing on disk.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from seeahead.bench.demo_suite import LONG, LONGEST, NUM_PROMPTS, Draw, Sketch, captions, made, spread
from seeahead.data.items import photographs
from seeahead.data.science import REASON, WHICH_KIND, with_options
from seeahead.demo.scenarios import Turn

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
        picture, _ = made(kind, rng, ("detail",))
        yield Sketch(name, (picture,), (Turn(next(asked), LONGEST),))


def _science(name: str, rng: random.Random, seed: int) -> Iterator[Sketch]:
    """As in ScienceQA, a third of the questions has no picture."""
    for question, options in SCIENCE:
        yield Sketch(name, (), (Turn(with_options(question, options, rng), LONG),))
    for photograph in photographs():
        kinds = tuple(rng.sample(KINDS, 4))
        yield Sketch(name, (photograph,), (Turn(with_options(WHICH_KIND, kinds, rng), LONG),))
    for _ in range(NUM_PROMPTS - len(SCIENCE) - len(photographs())):
        picture, question = made("chart", rng, ("chart", "count"))
        yield Sketch(name, (picture,), (Turn(f"{question}\n{REASON}", LONG),))


SCENARIOS: Mapping[str, Draw] = {
    "instruction": _instructions,
    "caption": captions,
    "science question": _science,
}
