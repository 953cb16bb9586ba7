"""The comparison itself, on a tiny LLaVA: everybody is asked the same, in turn, and differences are measured."""

from itertools import pairwise

import pytest

from seeahead.api import Engine
from seeahead.bench.compare import (
    PLAIN,
    Answer,
    Part,
    Round,
    Said,
    compare,
    differences,
    num_questions,
    warm_up,
)
from seeahead.demo.scenarios import Conversation, Question, Scenario, Turn
from seeahead.drafters.empty import EmptyDrafter
from seeahead.families import family_for
from seeahead.records import Generation, Step
from seeahead.testing import tiny_model
from seeahead.testing.processors import tiny_processor
from tests.bench.exchanges import drafted_answer, plain_answer

SCENARIOS = (
    Scenario("describe", (Conversation(("cat.jpg",), (Turn("What is this?", 12), Turn("And then?", 9))),)),
    Scenario("two", (Conversation(("shapes_before.png", "shapes_after.png"), (Turn("Compare.", 8),)),)),
    Scenario("text only", (Conversation((), (Turn("a b a b a b", 10),)),)),
)


@pytest.fixture(scope="module")
def engines():
    plain = Engine(
        family_for(tiny_model("llava", max_position_embeddings=512), tiny_processor("llava")), EmptyDrafter()
    )
    return {PLAIN: plain, "lookup": plain.with_drafter("lookup")}


@pytest.fixture(scope="module")
def events(engines):
    return list(compare(engines, SCENARIOS))


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_every_question_is_asked_of_everyone(events):
    rounds = of_kind(events, Round)
    assert len(rounds) == len(of_kind(events, Question)) == num_questions(SCENARIOS) == 4
    assert all(list(round_.answers) == [PLAIN, "lookup"] for round_ in rounds)
    assert [len(round_.plain.generation.token_ids) for round_ in rounds] == [12, 9, 8, 10]


def test_in_float32_everyone_says_the_same(events, engines):
    rounds = of_kind(events, Round)
    assert all(round_.is_identical("lookup") for round_ in rounds)
    assert list(differences(engines[PLAIN].family, rounds)) == []


def test_methods_take_turns_in_going_first(events):
    first_answers = []
    for before, event in pairwise(events):
        if isinstance(before, Question) and isinstance(event, Said):
            first_answers.append(event.method)
    assert first_answers == [PLAIN, "lookup", PLAIN, "lookup"]


def test_a_follow_up_stands_after_the_plain_answer(events):
    first, second = of_kind(events, Question)[:2]
    assert first.earlier == ()
    assert second.earlier == (("What is this?", of_kind(events, Round)[0].plain.text),)
    roles = [message["role"] for message in second.messages()]
    assert roles == ["user", "assistant", "user"]
    kinds = [[part["type"] for part in message["content"]] for message in second.messages()]
    assert kinds == [["image", "text"], ["text"], ["text"]]


def test_what_was_said_is_the_answer(events):
    said = of_kind(events, Said)
    for answer in of_kind(events, Answer):
        assert sum(part.num_tokens for part in answer.parts) == len(answer.generation.token_ids)
        assert all(Said(answer.method, part) in said for part in answer.parts)


def test_parts_arrive_with_the_step_that_confirmed_them():
    plain, drafted = plain_answer(4, seconds=0.5), drafted_answer(num_tokens=7, per_step=3, seconds=0.25)
    assert plain.arrival_seconds == (0.0, 0.5, 1.0, 1.5)
    assert drafted.arrival_seconds == (0.0, 0.25, 0.25, 0.5, 0.5)
    assert drafted.decode_seconds == 0.5


def test_warming_up_reports_its_share(engines):
    shares = list(warm_up(engines, SCENARIOS))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 3 * len(engines)


def swapped(answer, position, token):
    """`answer` with another token at `position`, one token per step."""
    ids = list(answer.generation.token_ids)
    ids[position] = token
    steps = tuple(Step((one,), ("target",), 0, 0, 0, 0.0, 0.1, 0.1) for one in ids[1:])
    return Answer("other", (Part("x", "target", len(ids)),), Generation(1, ids[0], steps))


@pytest.mark.parametrize("position", [0, 1, 5])
def test_the_gap_at_the_first_difference_is_the_targets_own(engines, events, position):
    round_ = of_kind(events, Round)[0]
    ids = round_.plain.generation.token_ids
    other = swapped(round_.plain, position, 41 if ids[position] != 41 else 42)
    (found,) = differences(engines[PLAIN].family, [Round(round_.question, {PLAIN: round_.plain, "other": other})])
    assert (found.method, found.position) == ("other", position)
    # The plain answer is greedy: its token has the highest logit there.
    assert found.logit_gap > 0


def test_an_answer_that_ends_earlier_has_no_gap(engines, events):
    round_ = of_kind(events, Round)[0]
    generation = round_.plain.generation
    shorter = Answer("other", (), Generation(1, generation.first_token, generation.steps[:3]))
    (found,) = differences(engines[PLAIN].family, [Round(round_.question, {PLAIN: round_.plain, "other": shorter})])
    assert (found.position, found.logit_gap) == (4, None)


def test_without_plain_there_is_nothing_to_compare_with(engines):
    with pytest.raises(AssertionError):
        list(compare({"lookup": engines["lookup"]}, SCENARIOS))
