"""Answers of the target with its features, as feature drafters learn from them; the mixture of text and pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from seeahead.errors import InputError
from seeahead.train.left_out import LeftOut
from seeahead.train.stored_answers import answers_in, features_of

MIXTURES = ("text", "pictures", "both", "ramp", "all")
_WINDOW = 8
"""Batches whose lines are sorted by length together."""


@dataclass(frozen=True)
class FeatureLine:
    """`ids` in target ids, below 0 where a visual embedding stands; learned from `start` on.

    `features` [tokens - 1, width]: the target's at every position but the last. `visual` [visual places, width]."""

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
        return min(self.ids) < 0


class RecordedFeatures:
    """A folder of own answers that were written with features; these stay on disk until a line is drawn."""

    def __init__(self, folder: Path, longest: int | None = None) -> None:
        """Lines of more than `longest` tokens are left out. Raises InputError for a folder whose answers were written
        without features."""
        self.places: list[Place] = []
        self.left_out = LeftOut()
        for path, rows in answers_in(folder):
            for row, said in enumerate(rows):
                # An answer of one token has nothing in it that could have been drafted.
                if len(said.ids) < 2:
                    continue
                ids = (*said.view, *said.ids)
                if longest is not None and len(ids) > longest:
                    self.left_out.add(f"they are longer than the {longest} tokens that a feature drafter reads")
                else:
                    self.places.append(Place(path.with_suffix(".safetensors"), row, ids, len(said.view)))
        if not self.places:
            raise InputError(f"no answers in {folder}; let the target write some first")
        for file in sorted({place.file for place in self.places}):
            self._check(file, folder)

    def _check(self, file: Path, folder: Path) -> None:
        if file.is_file():
            with safe_open(file, "pt") as stored:
                if features_of(0) in set(stored.keys()):
                    return
        raise InputError(
            f"the answers in {folder} were written without features; choose another --answers, or delete them"
        )

    def line(self, place: Place) -> FeatureLine:
        with safe_open(place.file, "pt") as stored:
            features = stored.get_tensor(features_of(place.row))
            visual = stored.get_tensor(str(place.row)) if place.has_pictures else None
        return FeatureLine(place.ids, place.start, features, visual)


def ramp(share: float) -> float:
    """The share of lines with pictures at a share of the stage: none in its first half, then from 0.05 up to 1.

    MSD's released code: 20 epochs of text, then 1/20, 2/20, ... 1."""
    if share < 0.5:
        return 0.0
    return min(1.0, (1 + int((share - 0.5) * 2 * 20)) / 20)


class Mixture:
    """Batches of lines, each with a picture or not by a coin of its own: the same ones for any number of workers."""

    def __init__(self, places: Sequence[Place], mixture: str, num_batches: int, size: int, seed: int) -> None:
        """`mixture`: text, pictures, both (half and half), ramp, or all (every line alike); `num_batches`: of the whole
        stage, each of `size`.

        Raises InputError when there are no lines of a kind that is needed."""
        self._kinds = {seen: [place for place in places if place.has_pictures == seen] for seen in (False, True)}
        found = tuple(seen for seen in (False, True) if self._kinds[seen]) or (False, True)
        needed = {"text": (False,), "pictures": (True,), "all": found}.get(mixture, (False, True))
        for seen in needed:
            if not self._kinds[seen]:
                raise InputError(f"no answers {'about' if seen else 'without'} pictures to learn from; give such data")
        self._mixture, self._num_lines, self._size, self._seed = mixture, num_batches * size, size, seed
        self._natural = len(self._kinds[True]) / len(places)
        self._window, self._batches = -1, list[list[Place]]()

    def __call__(self, number: int) -> list[Place]:
        """Batch `number`; lines of similar length stand together."""
        window, place = divmod(number, _WINDOW)
        if window != self._window:
            self._window, self._batches = window, self._drawn(window)
        return self._batches[place]

    def _drawn(self, window: int) -> list[list[Place]]:
        count, size = _WINDOW * self._size, self._size
        lines = sorted(
            (self.line(number) for number in range(window * count, (window + 1) * count)),
            key=lambda place: len(place.ids),
        )
        batches = [lines[first : first + size] for first in range(0, count, size)]
        random.Random(f"{self._seed} window {window}").shuffle(batches)
        return batches

    def line(self, number: int) -> Place:
        rng = random.Random(f"{self._seed} line {number}")
        seen = rng.random() < self.share(number)
        return rng.choice(self._kinds[seen])

    def share(self, number: int) -> float:
        """Of lines with pictures, when line `number` is drawn."""
        fixed = {"text": 0.0, "pictures": 1.0, "both": 0.5, "all": self._natural}
        return fixed[self._mixture] if self._mixture in fixed else ramp(number / max(1, self._num_lines))
