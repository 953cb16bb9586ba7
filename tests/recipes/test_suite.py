"""The packaged suites are what the recipe makes, and nothing that training draws."""

import random
from itertools import pairwise

import pytest

from recipes.demo_model import scenes
from recipes.demo_model.scene_dialogues import scene_example
from recipes.demo_model.stories import KINDS, story
from recipes.demo_model.suite import store_image, write_suites
from seeahead.bench.suites import PACKAGED


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    (folder / "images").mkdir()
    (folder / "images" / "old.png").write_bytes(b"of a question that is no longer asked")
    write_suites(folder)
    return folder


def test_the_packaged_questions_and_pixels_are_those_that_are_made(made):
    assert {path.name for path in made.iterdir()} == {path.name for path in PACKAGED.iterdir()}
    for path in PACKAGED.glob("*.jsonl"):
        assert path.read_text(encoding="utf-8") == (made / path.name).read_text(encoding="utf-8")
    # Images are named by their pixels.
    names = [{path.name for path in (folder / "images").iterdir()} for folder in (PACKAGED, made)]
    assert names[0] == names[1]


def test_made_images_come_from_streams_that_training_does_not_use(made, tmp_path):
    """The first scenes that training and its held-out measurement draw are not in a suite."""
    there = {path.name for path in (made / "images").iterdir()}
    for side in ("training", "held out"):
        rng = random.Random(f"0 {side}")
        drawn = [scene_example(scenes.shapes_scene(rng), rng).images[0] for _ in range(50)]
        assert not there & {store_image(tmp_path, image) for image in drawn}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@pytest.mark.parametrize("seed", range(3))
def test_one_thing_changes_from_image_to_image(kind, seed):
    frames = kind(random.Random(seed))
    assert len(frames) == 5
    for before, after in pairwise(frames):
        assert 1 <= len(set(before) ^ set(after)) <= 2
        cells = [(thing.row, thing.column) for thing in after]
        assert len(set(cells)) == len(cells)
    assert len(story(random.Random(seed))) == 5
