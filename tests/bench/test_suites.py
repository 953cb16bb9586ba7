"""Suites by name: packaged ones are whole and what they were; unknown names are refused with the known ones."""

import hashlib
from collections import Counter

import pytest
from PIL import Image

from seeahead.bench.suites import PACKAGED, SUITES, load_suite
from seeahead.data.suite import BUNDLED
from seeahead.errors import InputError

SCENARIOS = (
    "caption", "describe in detail", "question", "read text", "chart", "two pictures", "five-picture story",
    "follow-up", "text only, short", "text only, long",
)  # fmt: skip
DIGEST = "4d8bafd55a972cb2"
"""Of the packaged files. Stored results are about these questions: others could not be compared with them."""


def load(name="demo", count=None, seed=0, folder=None):
    return load_suite(name, count=count, seed=seed, folder=folder, workspace=PACKAGED / "never")


@pytest.fixture(scope="module")
def suite():
    return load()


def test_the_packaged_files_are_those_of_the_stored_results():
    digest = hashlib.sha256()
    for path in sorted(path for path in PACKAGED.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(PACKAGED).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    assert digest.hexdigest()[:16] == DIGEST


def test_every_scenario_has_thirty_questions(suite):
    assert suite.scenarios == SCENARIOS
    prompts = Counter(item.scenario for item in suite.items for _ in item.turns)
    assert prompts == dict.fromkeys(SCENARIOS, 30)
    assert len({item.id for item in suite.items}) == len(suite.items) == 285
    asked = Counter((item.scenario, item.images, item.turns) for item in suite.items)
    assert max(asked.values()) == 1, "no question is asked twice"
    limits = {turn.max_new_tokens for item in suite.items for turn in item.turns}
    assert all(32 <= limit <= 48 or 96 <= limit <= 128 for limit in limits)


def test_images_per_scenario(suite):
    counts = {}
    for item in suite.items:
        counts.setdefault(item.scenario, set()).add(len(item.images))
    several = {"two pictures": {2}, "five-picture story": {5}, "text only, short": {0}, "text only, long": {0}}
    assert counts == {name: several.get(name, {1}) for name in SCENARIOS}


def test_the_follow_up_is_a_second_turn(suite):
    items = suite.items
    assert {len(item.turns) for item in items if item.scenario == "follow-up"} == {2}
    assert {len(item.turns) for item in items if item.scenario != "follow-up"} == {1}


def test_images_are_bundled_or_packaged_and_readable(suite):
    paths = {path for item in (*suite.items, *load("three-tasks").items) for path in item.images}
    made = {path for path in paths if path.parent == PACKAGED / "images"}
    assert all(path.parent == BUNDLED for path in paths - made)
    assert made == set((PACKAGED / "images").iterdir()), "no image that is not asked about"
    for path in paths:
        with Image.open(path) as opened:
            opened.load()
            assert min(opened.size) >= 128
    assert sum(path.stat().st_size for path in made) < 1_000_000


def test_a_sample_is_part_of_the_whole_and_its_seed_draws_it(suite):
    some = load(count=3)
    assert set(some.items) <= set(suite.items)
    assert Counter(item.scenario for item in some.items) == dict.fromkeys(SCENARIOS, 3)
    assert load(count=3) == some
    assert load(count=3, seed=1).items != some.items


def test_the_three_tasks_have_thirty_questions_each():
    suite = load("three-tasks")
    counts = Counter(item.scenario for item in suite.items)
    assert counts == dict.fromkeys(("instruction", "caption", "science question"), 30)
    asked = Counter((item.scenario, item.images, item.turns) for item in suite.items)
    assert max(asked.values()) == 1, "no question is asked twice"
    without = [item for item in suite.items if not item.images]
    assert {item.scenario for item in without} == {"science question"}
    assert len(without) == 10


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="unknown suite 'chart-qa', did you mean chartqa") as caught:
        load("chart-qa")
    assert all(name in str(caught.value) for name in SUITES)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="unknown suite 'xyzzy'; allowed: demo, "):
        load("xyzzy")
    with pytest.raises(InputError, match="suite demo needs no folder"):
        load(folder=tmp_path)
