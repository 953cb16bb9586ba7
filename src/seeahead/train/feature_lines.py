"""Answers of the target with its features, as a feature drafter learns from them, and the draw of text and pictures."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from seeahead.errors import InputError
from seeahead.train.lines import SLOT


@dataclass(frozen=True)
class FeatureLine:
    """`ids` in target ids, SLOT at placeholders; learned from `start` on.

    `features` [tokens - 1, width]: the target's at every position but the last. `visual` [slots, width]."""

    ids: tuple[int, ...]
    start: int
    features: Tensor
    visual: Tensor | None


@dataclass(frozen=True)
class Place:
    """Where a line is stored."""

    file: Path
    row: int
    ids: tuple[int, ...]
    start: int

    @property
    def has_pictures(self) -> bool:
        return SLOT in self.ids


class RecordedFeatures:
    """A folder of own answers that were written with features; these stay on disk until a line is drawn."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError for a folder whose answers were written without features."""
        self.places: list[Place] = []
        for path in sorted(folder.glob("*.jsonl")):
            for row, text in enumerate(path.read_text("utf-8").splitlines()):
                said = json.loads(text)
                ids = (*said["view"], *said["ids"])
                self.places.append(Place(path.with_suffix(".safetensors"), row, ids, len(said["view"])))
        if not self.places:
            raise InputError(f"no answers in {folder}; let the target write some first")
        with safe_open(self.places[0].file, "pt") as stored:
            if "0 features" not in stored.keys():
                raise InputError(
                    f"the answers in {folder} were written without features; choose another --answers, or delete them"
                )

    def line(self, place: Place) -> FeatureLine:
        with safe_open(place.file, "pt") as stored:
            features = stored.get_tensor(f"{place.row} features")
            visual = stored.get_tensor(str(place.row)) if place.has_pictures else None
        return FeatureLine(place.ids, place.start, features, visual)


def ramp(share: float) -> float:
    """The share of lines with pictures at a share of the stage: none in its first half, then from 0.05 up to 1.

    MSD's released code: 20 epochs of text, then 1/20, 2/20, ... 1."""
    if share < 0.5:
        return 0.0
    return min(1.0, (1 + int((share - 0.5) * 2 * 20)) / 20)


class ModalityDraw:
    """Line number `n` of a stage: with a picture or not by a coin of its own, so the same for any number of workers."""

    def __init__(self, places: Sequence[Place], mixture: str, num_lines: int, seed: int) -> None:
        """`mixture`: text, pictures, both (half and half) or ramp; `num_lines`: in the whole stage.

        Raises InputError when there are no lines of a kind that is needed."""
        self._kinds = {seen: [place for place in places if place.has_pictures == seen] for seen in (False, True)}
        needed = {"text": (False,), "pictures": (True,), "both": (False, True), "ramp": (False, True)}[mixture]
        for seen in needed:
            if not self._kinds[seen]:
                raise InputError(f"no answers {'about' if seen else 'without'} pictures to learn from; give such data")
        self._mixture, self._num_lines, self._seed = mixture, num_lines, seed

    def share(self, number: int) -> float:
        """Of lines with pictures, when line `number` is drawn."""
        fixed = {"text": 0.0, "pictures": 1.0, "both": 0.5}
        return fixed[self._mixture] if self._mixture in fixed else ramp(number / max(1, self._num_lines))

    def __call__(self, number: int) -> Place:
        rng = random.Random(f"{self._seed} line {number}")
        seen = rng.random() < self.share(number)
        return rng.choice(self._kinds[seen])
