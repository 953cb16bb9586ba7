"""The training loop: limits, resume, a stop at a bad loss; and recipes that cannot be read."""

from pathlib import Path

import pytest
import torch

from seeahead.errors import InputError, SeeaheadError
from seeahead.train.loop import Limits, Stage, TrainingStoppedError, fit, rate_at
from seeahead.train.recipe import STAGES, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LIMITS = Limits(minutes=1, steps=5, batch_size=2, learning_rate=0.1)


def stage(folder: Path, lines: list[str]) -> Stage:
    return Stage("words", folder, LIMITS, lines.append)


def test_a_stage_learns_saves_and_is_not_run_twice(tmp_path: Path) -> None:
    weight, lines = torch.nn.Parameter(torch.ones(3, 1)), []
    fit(stage(tmp_path, lines), {"weight": weight}, lambda step: ((weight**2).sum(), {}))
    learned = weight.detach().clone()
    assert learned.abs().max() < 1
    with torch.no_grad():
        weight.zero_()
    fit(stage(tmp_path, lines), {"weight": weight}, lambda step: pytest.fail("must not run again"))
    assert torch.equal(weight, learned)
    assert "done before" in lines[-1]


def test_an_interrupted_stage_goes_on_at_its_step(tmp_path: Path) -> None:
    weight, steps = torch.nn.Parameter(torch.ones(1)), []
    stage(tmp_path, []).save({"weight": weight}, step=3, seconds=1.0, done=False)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        steps.append(step)
        return (weight**2).sum(), {}

    fit(stage(tmp_path, []), {"weight": weight}, loss_of)
    assert steps == [3, 4]


def test_a_loss_that_is_no_number_stops_and_names_the_checkpoint(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    first = stage(tmp_path, [])
    first.save({"weight": weight}, step=1, seconds=0.0, done=False)
    with pytest.raises(
        TrainingStoppedError, match=r"loss is nan at step 1; last good checkpoint: .*words\.safetensors"
    ):
        fit(first, {"weight": weight}, lambda step: (weight.sum() * float("nan"), {}))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    stage(tmp_path, []).save({"other": weight}, step=1, seconds=0.0, done=False)
    with pytest.raises(SeeaheadError, match="holds other tensors than this recipe trains"):
        fit(stage(tmp_path, []), {"weight": weight}, lambda step: (weight.sum(), {}))


def test_the_rate_rises_then_falls() -> None:
    rates = [rate_at(share, LIMITS) for share in (0.01, 0.04, 0.5, 1.0)]
    assert rates[0] < rates[1] == pytest.approx(0.1)
    assert rates[1] > rates[2] > rates[3] > 0


@pytest.mark.parametrize("name", ["demo.toml", "demo-smoke.toml"])
def test_shipped_recipes_are_read_and_fit_two_hours(name: str) -> None:
    recipe = read_recipe(RECIPES / name)
    assert set(recipe.stages) == set(STAGES)
    assert sum(recipe.shares.values()) == pytest.approx(1)
    minutes = sum(limits.minutes for limits in recipe.stages.values())
    assert minutes + recipe.amounts.base_writing_minutes + recipe.amounts.own_writing_minutes <= 110


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "is not valid TOML"),
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


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe at"):
        read_recipe(tmp_path / "none.toml")
