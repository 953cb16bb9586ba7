"""Stories in five made images: one thing changes from each image to the next."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from PIL.Image import Image

from recipes.demo_model.scenes import COLOURS, PALE, Thing, changed, random_things, shapes_scene

NUM_IMAGES = 5
Frames = list[tuple[Thing, ...]]


def story(rng: random.Random) -> tuple[Image, ...]:
    """Five images on one background, of a kind drawn at random."""
    frames = rng.choice(KINDS)(rng)
    background, shades = rng.choice(tuple(PALE)), rng.random()
    # Every image starts from the same random numbers: the ground is the same, down to its shades.
    return tuple(shapes_scene(random.Random(shades), frame, background).image for frame in frames)


def _moves(rng: random.Random) -> Frames:
    """One shape goes through five cells; another one stands still."""
    mover, still = random_things(rng, 2)
    free = [cell for cell in range(9) if cell != still.row * 3 + still.column]
    cells = rng.sample(free, NUM_IMAGES)
    return [_ordered((replace(mover, row=cell // 3, column=cell % 3), still)) for cell in cells]


def _changes_colour(rng: random.Random) -> Frames:
    """One shape takes five colours, beside one that stays as it is."""
    changing, still = random_things(rng, 2)
    colours = rng.sample([name for name in COLOURS if name != still.colour], NUM_IMAGES)
    return [_ordered((replace(changing, colour=colour), still)) for colour in colours]


def _comes(rng: random.Random) -> Frames:
    """From one shape to five, one more in each image."""
    things = random_things(rng, NUM_IMAGES)
    order = rng.sample(things, NUM_IMAGES)
    return [_ordered(tuple(order[: number + 1])) for number in range(NUM_IMAGES)]


def _goes(rng: random.Random) -> Frames:
    """From five shapes to one, one fewer in each image."""
    return _comes(rng)[::-1]


def _this_and_that(rng: random.Random) -> Frames:
    """Each image differs from the one before in a colour, a shape, or a shape that is gone."""
    frames: Frames = [random_things(rng, 3)]
    while len(frames) < NUM_IMAGES:
        frames.append(changed(rng, frames[-1])[0])
    return frames


def _ordered(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    return tuple(sorted(things, key=lambda thing: (thing.row, thing.column)))


KINDS: tuple[Callable[[random.Random], Frames], ...] = (_moves, _changes_colour, _comes, _goes, _this_and_that)
