"""Draws examples for training and for held-out measurement from all sources, in fixed shares."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.demo_model import scenes
from recipes.demo_model.bank import Bank
from recipes.demo_model.dialogues import Example, image_example, image_pair_example, place_image
from recipes.demo_model.scene_dialogues import easy_vqa_turn, scene_example, shape_pair_example

MADE = {"shapes": 0.5, "chart": 0.18, "sign": 0.2, "receipt": 0.12}
STAMP_SHARE = 0.35  # stamps are photographs and careful drawings: more often than their number asks for


@dataclass(frozen=True)
class EasyVqa:
    """The easy-VQA images of one of its own two sides, with their questions."""

    folder: Path
    questions: dict[int, list[tuple[str, str]]]

    @staticmethod
    def read(root: Path, held_out: bool) -> EasyVqa:
        folder = root / "easy_vqa/data" / ("test" if held_out else "train")
        rows = json.loads((folder / "questions.json").read_text())
        questions: dict[int, list[tuple[str, str]]] = {}
        for question, answer, image in rows:
            questions.setdefault(int(image), []).append((question, answer))
        return EasyVqa(folder, questions)

    def example(self, number: int) -> Example:
        with Image.open(self.folder / "images" / f"{number}.png") as image:
            drawn = image.convert("RGB").resize((scenes.SIZE, scenes.SIZE), Image.Resampling.BICUBIC)
        turns = tuple((easy_vqa_turn(question, answer),) for question, answer in self.questions[number])
        said = [turn.answer for (turn,) in turns if " no " not in turn.answer]
        words = {word for answer in said for word in re.findall("[a-z]+", answer)}
        shown = tuple(word for word in (*scenes.COLOURS, *scenes.SHAPES) if word in words)
        return Example((drawn,), turns, "easy-vqa", shown, dict.fromkeys(drawn_patches(drawn), shown), "", ("white",))


def drawn_patches(image: Image.Image) -> list[int]:
    """Patches that differ from the ground, which is what the corners show."""
    pixels = np.asarray(image).astype(int)
    ground = np.median(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0)
    differs = (np.abs(pixels - ground).sum(-1) > 60).reshape(8, 16, 8, 16).mean((1, 3)).reshape(-1)
    return [int(patch) for patch in np.flatnonzero(differs > 0.3 * differs.max())] if differs.max() > 0 else []


class ExampleSource:
    """Endless examples of one side; the same seed gives the same examples."""

    def __init__(
        self,
        bank: Bank,
        easy: EasyVqa,
        facts: dict[str, list[str]],
        held_out: bool,
        seed: int,
        shares: dict[str, float],
    ) -> None:
        self.bank, self.easy, self.facts, self.held_out = bank, easy, facts, held_out
        self.shares = {kind: share for kind, share in shares.items() if kind != "text"}
        # Held-out made scenes come from their own stream of random numbers; images from their own side of the split.
        self.rng = random.Random(f"{seed} {'held out' if held_out else 'training'}")
        self.indices = bank.side(held_out)
        self.numbers = sorted(easy.questions)
        stamps = [index for index in self.indices if bank.cards[index].source == "stamp"]
        self.by_source = {"stamp": stamps, "other": [index for index in self.indices if index not in set(stamps)]}

    def scene(self, kind: str | None = None) -> Example:
        kind = kind or self.rng.choices(tuple(MADE), tuple(MADE.values()))[0]
        make = getattr(scenes, f"{kind}_scene")
        return scene_example(make(self.rng), self.rng, everywhere=not self.held_out)

    def image(self, index: int | None = None) -> Example:
        if index is None:
            side = self.by_source["stamp" if self.rng.random() < STAMP_SHARE else "other"]
            index = self.rng.choice(side or self.indices)
        return image_example(self.bank.cards[index], self.bank.pixels[index], self.rng, self.facts)

    def plain_image(self, index: int) -> Example:
        """An image of the bank as it is: centred on white, with its noun and kind."""
        card = self.bank.cards[index]
        placed = place_image(self.bank.pixels[index], self.rng, plain=True)
        places: dict[int, tuple[str, ...]] = dict.fromkeys(placed.covered, (card.kind,))
        return Example((placed.image,), (), card.kind, places=places, name=card.name or card.kind)

    def draw(self, kind: str | None = None) -> Example:
        kind = kind or self.rng.choices(tuple(self.shares), tuple(self.shares.values()))[0]
        if kind == "picture":
            return self.image()
        if kind == "easy-vqa":
            return self.easy.example(self.rng.choice(self.numbers))
        if kind == "shape-pair":
            return shape_pair_example(self.rng)
        if kind == "picture-pair":
            first, second = self.rng.sample(self.indices, 2)
            return image_pair_example(self.bank, (first, second), self.rng)
        return self.scene(None if kind == "scene" else kind)
