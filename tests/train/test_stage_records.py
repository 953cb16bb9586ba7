"""A stage that is done or under way is gone on with where it is sound and of the same recipe; else that is one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seeahead.errors import SeeaheadError
from seeahead.train.recipe import DrafterRecipe, GenerationSettings, Network, StageRecipe, origin_of_stage
from seeahead.train.stage import LIMITS, Limits, Stage

LIMITS_OF_STAGE = Limits(steps=5, batch_size=2, learning_rate=0.1)
STAGE = StageRecipe("words", ("answers",), {"cross-entropy": 1.0}, LIMITS_OF_STAGE)
RECIPE = DrafterRecipe("vision", 7, Network(visual_tokens=2), GenerationSettings(visual_tokens=2), (STAGE,))


def stage(folder: Path, recipe: DrafterRecipe = RECIPE, given: dict[str, str] | None = None, place: int = 0) -> Stage:
    entry = recipe.stages[place]
    return Stage(entry.name, folder, entry.limits, lambda line: None, origin_of_stage(recipe, entry, given or {}))


def changed(**changes: object) -> DrafterRecipe:
    return replace(RECIPE, stages=(replace(STAGE, **changes),))


OTHERS = {
    "steps was 5, is 9": (changed(limits=replace(LIMITS_OF_STAGE, steps=9)), {}),
    "learning_rate was 0.1, is 0.2": (changed(limits=replace(LIMITS_OF_STAGE, learning_rate=0.2)), {}),
    "loss was .*, is ": (changed(loss={"cross-entropy": 0.5}), {}),
    "trained was all, is adapter": (changed(trained="adapter"), {}),
    "width was 320, is 64": (replace(RECIPE, network=replace(RECIPE.network, width=64)), {}),
    "seed was 7, is 8": (replace(RECIPE, seed=8), {}),
    "answers was not there, is 0123": (RECIPE, {"answers": "0123"}),
}


@pytest.mark.parametrize("told", OTHERS)
def test_a_finished_stage_of_another_recipe_is_refused(tmp_path, told) -> None:
    weight = {"weight": torch.ones(3)}
    stage(tmp_path).save(weight, 5, 1.0)
    assert stage(tmp_path).record().done
    with pytest.raises(SeeaheadError, match=rf"words was finished in .* otherwise: .*{told}.*delete .*words\.json"):
        stage(tmp_path, *OTHERS[told]).load(weight)


def test_a_stage_under_way_goes_on_with_other_limits_but_with_nothing_else(tmp_path) -> None:
    """Whoever is told to lower the rate or the batch does that."""
    weight = {"weight": torch.ones(3)}
    stage(tmp_path).save(weight, 3, 1.0, {})
    lower = replace(LIMITS_OF_STAGE, learning_rate=0.01, batch_size=1, accumulate=2, steps=50)
    assert stage(tmp_path, changed(limits=lower)).load(weight).step == 3
    for told, (recipe, given) in OTHERS.items():
        if told.split()[0] not in LIMITS:
            with pytest.raises(SeeaheadError, match=rf"words was begun in .*{told}"):
                stage(tmp_path, recipe, given).load(weight)
    with pytest.raises(SeeaheadError, match="has average was False, is True"):
        stage(tmp_path, changed(limits=replace(LIMITS_OF_STAGE, average=0.9))).load(weight)


def test_a_finished_stage_after_another_one_is_refused(tmp_path) -> None:
    weight, second = {"weight": torch.ones(3)}, replace(STAGE, name="more")
    stage(tmp_path, replace(RECIPE, stages=(STAGE, second)), place=1).save(weight, 5, 1.0)
    other = replace(RECIPE, stages=(replace(STAGE, loss={"tvd++": 1.0}), second))
    with pytest.raises(SeeaheadError, match=r"more was finished in .* otherwise: another stages before"):
        stage(tmp_path, other, place=1).load(weight)


@pytest.mark.parametrize(
    "written", [b"", b"{", b"[]", b"{}", b"\xff", b'{"step": -1}', b'{"step": "x"}', b"[" * 99_999]
)
def test_a_damaged_checkpoint_is_one_line(tmp_path, written) -> None:
    weight = {"weight": torch.ones(3)}
    made = stage(tmp_path)
    made.save(weight, 3, 1.0, {})
    made.weights.write_bytes(written)
    with pytest.raises(SeeaheadError, match=r"words\.safetensors is damaged; delete it"):
        made.load(weight)
    made.save(weight, 3, 1.0, {})
    if written != b"{}":  # nothing was done yet
        made.state.write_bytes(written)
        with pytest.raises(SeeaheadError, match=r"words\.json"):
            made.load(weight)
    made.save({"weight": torch.ones(4)}, 3, 1.0, {})
    with pytest.raises(SeeaheadError, match="other tensors"):
        made.load(weight)
