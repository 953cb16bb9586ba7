"""The demo's questions: every promised kind of use, and every image there."""

from pathlib import Path

from seeahead.bench.harness import question_of
from seeahead.bench.suites import demo_questions
from seeahead.data.suite import image_facts
from seeahead.prompt import make_prompt

ITEMS = demo_questions(quick=False).items


def test_every_kind_of_use_is_there():
    assert list(dict.fromkeys(item.scenario for item in ITEMS)) == [
        "describe",
        "describe in detail",
        "question",
        "read text",
        "two pictures",
        "follow-up",
        "text only",
    ]
    assert {len(item.images) for item in ITEMS} == {0, 1, 2}
    assert any(len(item.turns) > 1 for item in ITEMS)
    assert 8 <= sum(len(item.turns) for item in ITEMS) <= 14


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
