"""The demo's questions: every promised kind of use, and every picture there."""

from seeahead.bench.suites import demo_questions
from seeahead.demo.scenarios import PICTURES, QUICK, SCENARIOS, Question, picture_facts
from seeahead.prompt import make_prompt


def conversations(scenarios):
    return [talk for scenario in scenarios for talk in scenario.conversations]


def test_every_kind_of_use_is_there():
    assert [scenario.name for scenario in SCENARIOS] == [
        "describe",
        "describe in detail",
        "question",
        "read text",
        "two pictures",
        "follow-up",
        "text only",
    ]
    counts = {len(talk.pictures) for talk in conversations(SCENARIOS)}
    assert counts == {0, 1, 2}
    assert any(len(talk.turns) > 1 for talk in conversations(SCENARIOS))
    assert 8 <= sum(len(item.turns) for item in demo_questions(quick=False).items) <= 14


def test_a_quick_run_is_three_questions():
    assert sum(len(item.turns) for item in demo_questions(quick=True).items) == 3
    assert {len(talk.pictures) for talk in conversations(QUICK)} == {0, 1}


def test_every_picture_is_bundled_and_credited():
    used = {name for talk in conversations(SCENARIOS) for name in talk.pictures}
    assert len(used) >= 6
    assert used <= set(picture_facts())
    assert all((PICTURES / name).is_file() for name in used)


def test_questions_become_prompts_with_their_pictures():
    for talk in conversations(SCENARIOS):
        prompt = make_prompt(Question("x", talk.pictures, talk.turns[0].text, 8).messages())
        assert len(prompt.images) == len(talk.pictures)
        assert prompt.messages[-1].text == talk.turns[0].text
