"""Suites by name: the demo suite is complete, seeded and held out; unknown names are refused with the known ones."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from PIL import Image

from seeahead.bench.demo_suite import NUM_PROMPTS, SCENARIOS
from seeahead.bench.suites import SUITES, load_suite
from seeahead.data import scenes
from seeahead.data.items import store_picture
from seeahead.data.scene_dialogues import scene_example
from seeahead.data.stories import KINDS, story
from seeahead.demo.scenarios import PICTURES
from seeahead.errors import InputError


def load(workspace, count=None, seed=0):
    return load_suite("demo", count=count, seed=seed, folder=None, workspace=workspace)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def suite(workspace):
    return load(workspace)


def test_every_scenario_has_thirty_questions(suite):
    assert suite.scenarios == tuple(SCENARIOS)
    assert len(suite.scenarios) >= 8
    prompts = Counter(item.scenario for item in suite.items for _ in item.turns)
    assert min(prompts.values()) >= NUM_PROMPTS == 30
    assert len({item.id for item in suite.items}) == len(suite.items)
    asked = Counter((item.scenario, item.pictures, item.turns) for item in suite.items)
    assert max(asked.values()) == 1, "no question is asked twice"
    limits = {turn.max_new_tokens for item in suite.items for turn in item.turns}
    assert all(32 <= limit <= 48 or 96 <= limit <= 128 for limit in limits)


def test_pictures_per_scenario(suite):
    counts = {}
    for item in suite.items:
        counts.setdefault(item.scenario, set()).add(len(item.pictures))
    several = {"two pictures": {2}, "five-picture story": {5}, "text only, short": {0}, "text only, long": {0}}
    assert counts == {name: several.get(name, {1}) for name in SCENARIOS}


def test_the_follow_up_is_a_second_turn(suite):
    items = suite.items
    assert {len(item.turns) for item in items if item.scenario == "follow-up"} == {2}
    assert {len(item.turns) for item in items if item.scenario != "follow-up"} == {1}


def test_pictures_are_bundled_or_made_readable_and_used_again(suite, workspace):
    paths = {path for item in suite.items for path in item.pictures}
    made = {path for path in paths if path.parent == workspace}
    assert all(path.parent == PICTURES for path in paths - made)
    assert made == set(workspace.iterdir()), "no picture that is not asked about, no half file"
    for path in paths:
        with Image.open(path) as opened:
            opened.load()
            assert min(opened.size) >= 128
    before = {path: path.stat().st_mtime_ns for path in made}
    assert load(workspace) == suite
    assert before == {path: path.stat().st_mtime_ns for path in made}


def test_a_sample_is_part_of_the_whole_and_writes_no_other_pictures(suite, tmp_path):
    some = load(tmp_path, count=3)
    whole = {item.id: item.turns for item in suite.items}
    assert all(whole[item.id] == item.turns for item in some.items)
    assert Counter(item.scenario for item in some.items) == dict.fromkeys(SCENARIOS, 3)
    shown = {path for item in some.items for path in item.pictures if path.parent == tmp_path}
    assert set(tmp_path.iterdir()) == shown


@pytest.mark.parametrize("seed", [1, 2024])
def test_another_seed_gives_another_full_suite(suite, tmp_path, seed):
    other = load(tmp_path, seed=seed)
    assert len(other.items) == len(suite.items) == 10 * NUM_PROMPTS - NUM_PROMPTS // 2
    assert not {path.name for path in tmp_path.iterdir()} & {
        path.name for item in suite.items for path in item.pictures
    }


def test_made_pictures_come_from_streams_that_training_does_not_use(suite, tmp_path):
    """The first scenes that training and its held-out measurement draw are not in the suite."""
    made = {path.name for item in suite.items for path in item.pictures}
    for side in ("training", "held out"):
        rng = random.Random(f"0 {side}")
        drawn = [scene_example(scenes.shapes_scene(rng), rng).pictures[0] for _ in range(50)]
        assert not made & {store_picture(tmp_path / "other", picture).name for picture in drawn}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@pytest.mark.parametrize("seed", range(3))
def test_one_thing_changes_from_picture_to_picture(kind, seed):
    frames = kind(random.Random(seed))
    assert len(frames) == 5
    for before, after in pairwise(frames):
        assert 1 <= len(set(before) ^ set(after)) <= 2
        cells = [(thing.row, thing.column) for thing in after]
        assert len(set(cells)) == len(cells)
    assert len(story(random.Random(seed))) == 5


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="unknown suite 'chart-qa', did you mean chartqa") as caught:
        load_suite("chart-qa", count=None, seed=0, folder=None, workspace=tmp_path)
    assert all(name in str(caught.value) for name in SUITES)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="unknown suite 'xyzzy'; allowed: demo, "):
        load_suite("xyzzy", count=None, seed=0, folder=None, workspace=tmp_path)
    with pytest.raises(InputError, match="suite demo needs no folder"):
        load_suite("demo", count=None, seed=0, folder=tmp_path, workspace=tmp_path)


def test_a_workspace_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write a picture into"):
        load(tmp_path / "file" / "pictures", count=1)


def test_the_three_tasks_have_thirty_questions_each(tmp_path):
    suite = load_suite("three-tasks", count=None, seed=0, folder=None, workspace=tmp_path)
    counts = Counter(item.scenario for item in suite.items)
    assert counts == dict.fromkeys(("instruction", "caption", "science question"), 30)
    asked = Counter((item.scenario, item.pictures, item.turns) for item in suite.items)
    assert max(asked.values()) == 1, "no question is asked twice"
    without = [item for item in suite.items if not item.pictures]
    assert {item.scenario for item in without} == {"science question"}
    assert len(without) == 10
