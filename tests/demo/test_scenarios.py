"""The demo's questions: every promised kind of use, and every image there."""

from pathlib import Path

from seeahead.bench.harness import question_of
from seeahead.bench.suites import demo_expects, demo_questions, load_suite
from seeahead.data.suite import image_facts
from seeahead.prompt import make_prompt

ITEMS = demo_questions(quick=False).items


def test_they_are_chosen_from_the_suite_by_the_rule():
    """Which answers are right no test can know without the model; the rest of the rule is here."""
    suite = load_suite("demo", count=None, seed=0, folder=None, workspace=Path())
    *chosen, wrong = ITEMS
    known = {item.id: item for item in suite.items}
    assert all(known[item.id] == item for item in ITEMS)
    assert [item.scenario for item in chosen] == [
        scenario for scenario in dict.fromkeys(item.scenario for item in chosen) if scenario in suite.scenarios
    ]
    assert set(suite.scenarios) - {item.scenario for item in chosen} == {"five-picture story"}
    images = [path.name for item in ITEMS for path in item.images]
    assert len(images) == len(set(images)), "each image is new"
    for item in chosen:
        if not item.images:
            assert item == next(one for one in suite.items if one.scenario == item.scenario)
    assert wrong == suite.items[0]


def test_every_kind_of_use_is_there():
    assert {len(item.images) for item in ITEMS} == {0, 1, 2}
    assert any(len(item.turns) > 1 for item in ITEMS)
    assert 8 <= sum(len(item.turns) for item in ITEMS) <= 14
    assert all(demo_expects()[item.id] for item in ITEMS if item.images)


def test_a_quick_run_is_three_questions():
    items = demo_questions(quick=True).items
    assert sum(len(item.turns) for item in items) == 3
    assert {len(item.images) for item in items} == {0, 1}


def test_every_image_is_bundled_and_credited():
    used = {Path(path).name for item in ITEMS for path in item.images}
    assert len(used) >= 6
    assert used <= set(image_facts())


def test_questions_become_prompts_with_their_images():
    for item in ITEMS:
        prompt = make_prompt(question_of(item, ()).messages())
        assert len(prompt.images) == len(item.images)
        assert prompt.messages[-1].text == item.turns[0].text
