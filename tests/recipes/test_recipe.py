"""The recipe of the demo model: what ships is read, and what cannot be followed is refused in one line."""

from contextlib import suppress
from pathlib import Path

import pytest

from recipes.demo_model.recipe import STAGES, read_recipe
from seeahead.errors import InputError
from seeahead.train.recipe import read_drafter_recipe
from tests.train.test_recipes import NAMES, NO_NUMBERS, NO_RECIPES, changed, mutated, refused

RECIPES = Path(__file__).parents[2] / "recipes"
DEMO = "../demo.toml"


@pytest.mark.parametrize("name", ["demo.toml", "demo-smoke.toml"])
def test_shipped_recipes_are_read_and_fit_the_hours_they_promise(name: str) -> None:
    recipe = read_recipe(RECIPES / name)
    assert set(recipe.stages) == set(STAGES)
    assert sum(recipe.shares.values()) == pytest.approx(1)
    minutes = sum(limits.minutes for limits in recipe.stages.values())
    assert minutes + recipe.amounts.base_writing_minutes <= 110
    drafters = [read_drafter_recipe(RECIPES / entry.recipe) for entry in recipe.drafters]
    names = [entry.name for entry in recipe.drafters]
    assert all(entry.start in ("", *names[:place]) for place, entry in enumerate(recipe.drafters))
    if not recipe.smoke:
        minutes = sum(stage.limits.minutes for drafter in drafters for stage in drafter.stages)
        # Of the two and a half hours that the page promises, five minutes are for reading.
        assert minutes + drafters[0].writing.minutes <= 145


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "is not TOML"),
        ("seed = 1", "lacks features, soft-words"),
        ("[shares]\npicture = 1.0\n[stages]\nfeatures = {}", "lacks soft-words"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_unknown_settings_are_named_with_the_known_ones(tmp_path: Path) -> None:
    text = (RECIPES / "demo-smoke.toml").read_text().replace("vision_width", "vision_widht")
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="unknown vision_widht; allowed here: adapter_rank"):
        read_recipe(path)


@pytest.mark.parametrize("value", [*NO_NUMBERS, "1.5", "0x" + "f" * 6000])
@pytest.mark.parametrize(
    ("table", "key"),
    [("", "seed"), ("sizes", "vision_layers"), ("amounts", "writing_tokens"), ("stages.answers", "steps")],
)
def test_what_is_no_whole_number_is_refused_where_one_is_wanted(tmp_path, table, key, value) -> None:
    assert f"{key} is " in refused(read_recipe, tmp_path, changed(DEMO, table, key, value))


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize(("table", "key"), [("amounts", "base_writing_minutes"), ("shares", "picture")])
def test_what_is_no_finite_number_is_refused_where_one_is_wanted(tmp_path, table, key, value) -> None:
    assert key in refused(read_recipe, tmp_path, changed(DEMO, table, key, value))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_drafter_that_leads_out_of_the_folder_is_refused(tmp_path, name) -> None:
    assert "name is " in refused(read_recipe, tmp_path, changed(DEMO, "drafters", "name", name))


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        ("drafters", "start", '"nobody"', "starts from 'nobody'; drafters before it: none"),
        ("drafters", "recipe", "3", "recipe is 3"),
        ("drafters", "is_shipped", '"no"', "is_shipped is 'no'; allowed: true or false"),
        ("sizes", "vision_heads", "3", "vision_width is 256, which 3 vision_heads do not divide"),
        ("stages.soft-words", "batch_size", "1", "batch_size is 1; allowed: 4 or more"),
        ("shares", "dogs", "0.5", "has unknown dogs; allowed here: chart"),
        ("shares", "text", "", "needs text"),
        ("stages.other", "steps", "", "has unknown other"),
        ("", "smoke", '"yes"', "smoke is 'yes'; allowed: true or false"),
        ("", "shapes", "3", "has unknown shapes"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path, table, key, value, message) -> None:
    if table == "stages.other":
        written = (RECIPES / "demo.toml").read_text() + "\n[stages.other]\nsteps = 1\n"
    else:
        written = changed(DEMO, table, key, value)
    assert message in refused(read_recipe, tmp_path, written)


@pytest.mark.parametrize(("written", "message"), NO_RECIPES)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, written, message) -> None:
    assert message in refused(read_recipe, tmp_path, written)


def test_mutated_recipes_are_read_or_refused_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "recipe.toml"
    for written in mutated((RECIPES / "demo.toml").read_bytes()):
        path.write_bytes(written)
        with suppress(InputError):
            read_recipe(path)
