"""What `auto` keeps in files: state of the user's own, and what a drafter's training learned."""

from __future__ import annotations

import json

import pytest

from seeahead.drafters import spec_of
from seeahead.drafters.auto import keep, keep_all
from seeahead.drafters.experience import PRIOR, Learned
from seeahead.errors import DrafterError, InputError
from seeahead.target import Target
from tests.drafters.test_auto import RIGHT, TARGET, WRONG, answered
from tests.free_costs import TableExperience, auto


def test_what_was_learned_is_kept_in_a_file_and_read_again(tmp_path):
    drafter = auto(WRONG, RIGHT)
    answered(drafter)
    drafter.experience.save(tmp_path / "auto.json")
    again = TableExperience()
    again.read(tmp_path / "auto.json")
    for key, skill in drafter.experience.skills.items():
        assert (again.skills[key].value, again.skills[key].sure) == (skill.value, skill.sure)
    old, new = (one.calibrations["right 1", True].weights for one in (drafter.experience, again))
    assert old == new


def test_a_drafter_brings_what_its_training_learned_of_it(tmp_path):
    """Under whatever name it is a member, and less sure than what is learned here."""
    drafter = auto(WRONG, RIGHT)
    for _ in range(12):
        answered(drafter)
    drafter.experience.save_prior(tmp_path, "right 1")
    new = TableExperience()
    new.read_prior(tmp_path, "mine")
    new.read_prior(tmp_path / "another", "other")
    [(key, skill)] = new.skills.items()
    learned = drafter.experience.skills["right 1", key[1]]
    assert key[0] == "mine"
    assert skill.value == learned.value > 1
    assert skill.sure < learned.sure
    weights = [one.calibrations[name, True].weights for one, name in ((drafter.experience, "right 1"), (new, "mine"))]
    assert weights[0] == weights[1]
    (tmp_path / PRIOR).write_text("{")
    with pytest.raises(DrafterError, match=r"delete its auto\.json"):
        new.read_prior(tmp_path, "mine")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"skills": [{"drafter": 3}], "calibrations": []}', '{"skills": 1, "calibrations": []}', "{"]
)
def test_a_file_that_auto_did_not_write_is_one_line(tmp_path, text):
    (tmp_path / "auto.json").write_text(text)
    with pytest.raises(DrafterError) as refused:
        spec_of(f"auto:state={tmp_path / 'auto.json'}").bind(Target(TARGET))
    assert "\n" not in str(refused.value)
    assert "auto.json" in str(refused.value) or "entry" in str(refused.value)


@pytest.mark.parametrize("sure", [1e-7, 0, -1, 1e9])
def test_how_sure_a_file_may_be_has_bounds(tmp_path, sure):
    skill = {"drafter": "a", "num_images": 0, "is_greedy": True, "log_odds": 0.5, "sure": sure}
    (tmp_path / "auto.json").write_text(json.dumps({"skills": [skill], "calibrations": []}))
    with pytest.raises(DrafterError, match="sure"):
        TableExperience().read(tmp_path / "auto.json")


def test_whatever_is_kept_can_be_read_again(tmp_path):
    kept, again = TableExperience(), TableExperience()
    kept.skills["a", (0, True)] = Learned(51.0, 60.0)
    kept.skills["a" * 501, (0, True)] = Learned(1.0, 60.0)
    kept.calibrations["a", True].weights[:2] = -101.0, 1000.0
    kept.save(tmp_path / "auto.json")
    again.read(tmp_path / "auto.json")
    assert [(key, one.value) for key, one in again.skills.items()] == [(("a", (0, True)), 50.0)]
    assert again.calibrations["a", True].weights[:2] == [-100.0, 100.0]


def test_a_state_that_cannot_be_kept_is_told_before_and_after(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as refused:
        spec_of(f"auto:state={tmp_path / 'file' / 'auto.json'}").bind(Target(TARGET))
    assert "\n" not in str(refused.value)
    keep(TableExperience(), tmp_path / "file" / "auto.json")  # what became of it meanwhile
    assert capfd.readouterr().err.count("\n") == 1


def test_what_two_drafters_of_a_process_learn_for_one_file_is_not_lost(tmp_path):
    """The later one begins with what the earlier has learned; and each file is written once, in the end."""
    path = tmp_path / "auto.json"
    text = f"auto:members=lookup,state={path}"
    first = spec_of(text).bind(Target(TARGET))
    first.experience.skills["lookup", (0, True)] = Learned(2.5, 60.0)
    second = spec_of(text).bind(Target(TARGET))
    assert second.experience.skills["lookup", (0, True)].value == 2.5
    second.experience.skills["lookup", (0, True)] = Learned(3.5, 60.0)
    keep_all()
    assert json.loads(path.read_text())["skills"][0]["log_odds"] == 3.5


def test_what_is_learned_of_who_is_always_right_can_be_unlearned():
    part = Learned(0.0, 4.0)
    for _ in range(100_000):
        part.learn(0.02, 0.02)
    assert part.value == 8.0
    num = 0
    while part.value > 4.0:
        part.learn(-0.98, 0.02)
        num += 1
    assert num < 500
