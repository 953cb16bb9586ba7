"""Made scenes and the dialogues about them: what is said must be what was drawn."""

import random

import numpy as np
import pytest
from PIL import Image

from recipes.demo_model import scenes
from recipes.demo_model.bank import Card
from recipes.demo_model.dialogues import colour_names, image_example, place_image
from recipes.demo_model.evaluate import is_right, noun_of
from recipes.demo_model.examples import drawn_patches
from recipes.demo_model.scene_dialogues import easy_vqa_turn, scene_example, shape_pair_example


@pytest.mark.parametrize("seed", range(20))
def test_a_shape_lies_where_its_fact_says(seed: int) -> None:
    scene = scenes.shapes_scene(random.Random(seed))
    pixels = np.asarray(scene.image).astype(int)
    for thing in scene.things:
        at = pixels[22 + 42 * thing.row, 22 + 42 * thing.column]
        assert np.abs(at - scenes.COLOURS[thing.colour]).max() < 40, thing
    assert len({thing.colour for thing in scene.things}) == len(scene.things)


@pytest.mark.parametrize("kind", ["shapes", "chart", "sign", "receipt"])
@pytest.mark.parametrize("seed", range(8))
def test_every_reference_answer_is_right_by_its_own_truth(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    example = scene_example(getattr(scenes, f"{kind}_scene")(rng), rng)
    turns = [turn for dialogue in example.dialogues for turn in dialogue]
    assert all(is_right(turn, turn.answer) for turn in turns if turn.truth)
    assert any(turn.ability == "detail" and turn.answer.count(".") >= 3 for turn in turns)
    assert all(0 <= patch < 64 for patch in example.places or {})


@pytest.mark.parametrize("seed", range(12))
def test_a_pair_differs_in_what_its_answer_says(seed: int) -> None:
    example = shape_pair_example(random.Random(seed))
    first, second = (np.asarray(image).astype(int) for image in example.images)
    assert np.abs(first - second).max() > 60
    assert is_right(example.dialogues[0][0], example.dialogues[0][0].answer)


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("does the image contain a rectangle?", "yes", "Yes, there is a rectangle in the picture."),
        ("is there not a blue shape?", "no", "No, there is a blue shape in the picture."),
        ("is no rectangle present?", "yes", "Yes, there is no rectangle in the picture."),
        ("is a teal shape present?", "no", "No, there is no teal shape in the picture."),
        ("what color is the triangle?", "blue", "The triangle is blue."),
        ("what is the blue shape?", "rectangle", "The blue shape is a rectangle."),
    ],
)
def test_easy_vqa_answers_become_sentences(question: str, answer: str, expected: str) -> None:
    turn = easy_vqa_turn(question, answer)
    assert turn.answer == expected
    assert is_right(turn, turn.answer)


def test_the_patches_of_an_easy_vqa_shape_are_found() -> None:
    image = Image.new("RGB", (128, 128), (250, 240, 245))
    image.paste((30, 60, 200), (32, 48, 64, 80))
    assert drawn_patches(image) == [26, 27, 34, 35]


def test_a_patch_of_a_scene_says_colour_shape_and_place_and_its_ground_how_many() -> None:
    things = (scenes.Thing("star", "red", row=0, column=2), scenes.Thing("circle", "blue"))
    scene = scenes.shapes_scene(random.Random(0), things, "light blue")
    assert set(scene.places.values()) == {("red", "star", "upper", "right"), ("blue", "circle", "center")}
    assert scene_example(scene, random.Random(0)).ground == ("light", "blue", "two", "shapes")


def test_a_wrong_answer_is_wrong() -> None:
    assert not is_right(easy_vqa_turn("is a teal shape present?", "no"), "Yes, there is a teal shape.")
    assert not is_right(easy_vqa_turn("what color is the triangle?", "blue"), "The triangle is red.")


@pytest.mark.parametrize(("colour", "rgb"), [(name, rgb) for name, rgb in scenes.COLOURS.items() if name != "pink"])
def test_main_colours_are_named(colour: str, rgb: tuple[int, int, int]) -> None:
    pixels = np.zeros((128, 128, 4), dtype=np.uint8)
    pixels[20:100, 20:100] = (*rgb, 255)
    assert colour_names(pixels) == [colour]


def test_an_image_example_says_noun_kind_colour_and_background() -> None:
    pixels = np.zeros((128, 128, 4), dtype=np.uint8)
    pixels[10:118, 10:118] = (215, 35, 35, 255)
    example = image_example(
        Card("k", "apple", "food", "stamp", False), pixels, random.Random(1), {"apple": ["It grows."]}
    )
    turns = [turn for dialogue in example.dialogues for turn in dialogue]
    naming = next(turn for turn in turns if turn.ability == "name")
    assert noun_of(naming.answer) == "apple"
    assert naming.answer.endswith(" food: an apple.")
    assert any(turn.answer.endswith("It grows.") for turn in turns if turn.ability == "detail")
    assert len(example.dialogues[-1]) == 2
    assert len(example.places or {}) > 20


def test_the_plain_placing_is_centred_on_white() -> None:
    pixels = np.full((128, 128, 4), 255, dtype=np.uint8)
    placed = place_image(pixels, random.Random(0), plain=True)
    assert placed.background == "white"
    assert np.asarray(placed.image).min() == 255
