"""Several requests of `auto` in a step: what each is charged, and learns, of what all of them do."""

from contextlib import suppress
from threading import Thread

import pytest

from seeahead.decode import run_step
from seeahead.drafters import auto_step
from seeahead.drafters.auto_step import AutoStep, DraftClock
from seeahead.drafting import Ask
from seeahead.testing import ScriptedDrafter
from seeahead.tree import Draft
from tests.drafters.test_auto import PLAIN, RIGHT, TARGET, ask
from tests.free_costs import TableExperience, auto
from tests.one_request import start


def started(drafter, number, num_tokens=90):
    requests = [ask(drafter, num_tokens) for _ in range(number)]
    for request in requests:
        start(request, request.inputs)
    return requests


@pytest.mark.parametrize("together", [True, False])
def test_what_one_reads_alone_is_no_part_of_what_others_wait_for(monkeypatch, together):
    """A prompt that one of several models reads takes none of the others' time; a pass is shared by who asks for it."""
    now, spent, step = [0.0], [], AutoStep()
    monkeypatch.setattr(auto_step, "perf_counter", lambda: now[0])

    def plan(clock, alone, executor):
        before = clock.seconds()
        now[0] += alone
        yield Ask(executor, ())
        now[0] += 0.25
        spent.append((clock.seconds() - before, clock.num_asking))

    clocks = [DraftClock(step) for _ in range(2)]
    executors = [TARGET, TARGET if together else object()]
    plans = [clock.driven(plan(clock, *how)) for clock, how in zip(clocks, zip((5.0, 0.0), executors))]
    for one in plans:
        next(one)
    now[0] += 2.0  # of two executors the first one's pass; here the other takes no time
    for one in plans:
        with suppress(StopIteration):
            one.send([])
    assert spent == ([(6.25, 2), (1.25, 2)] if together else [(7.25, 1), (0.25, 1)])


def test_steps_that_rest_are_booked_where_they_were():
    """Later, alone, the answers of many requests would seem to be as slow as plain ones."""
    experience = TableExperience()
    requests = started(auto(RIGHT, experience=experience), 4)
    for request in requests:
        request.most_nodes = 0
    for _ in range(20):
        run_step(requests)
    requests[0].most_nodes = None
    for _ in range(3):
        run_step(requests[:1])
    tokens, lasted = experience.steps[(0, True), 1]
    assert tokens / lasted > 1.9
    tokens, lasted = experience.steps[(0, True), 3]
    assert tokens / lasted == pytest.approx(1.0, abs=0.1)


def test_answers_of_which_many_are_under_way_are_no_shorter():
    experience = TableExperience()
    requests = started(auto(RIGHT, experience=experience), 8)
    assert experience.length((0, True)) == pytest.approx(12.0)
    del requests
    assert experience.length((0, True)) < 12.0, "those are over, after no step"


def test_a_look_takes_a_hundredth_of_all_steps_at_most():
    """One level of this model takes five plain steps, and each 64th step would ask it."""
    experience = TableExperience(0.0, 5.0)
    [request] = started(auto(RIGHT, experience=experience), 1, 400)
    looked = []
    for number in range(399):
        [step] = run_step([request])
        if step.num_drafted:
            looked.append(number)
    assert looked == []
    assert request.answer[: len(PLAIN)] == PLAIN


def test_who_proposes_nothing_is_not_asked_for_ever():
    """What a drafter takes that is no model, a search in a store, say, is paid in every step."""
    asked = []
    silent = ScriptedDrafter("silent", lambda *_: (asked.append(1), Draft())[1], is_alone=False)
    [request] = started(auto(silent, experience=TableExperience(0.0, 0.0, **{"silent 0": 0.3})), 1, 200)
    for _ in range(150):
        run_step([request])
    assert len(asked) < 40


def test_a_step_is_that_of_its_own_thread():
    drafter = auto(RIGHT)
    drafter.before(8, 9)
    other = Thread(target=drafter.before, args=(2, 9))
    other.start()
    other.join(60)
    assert drafter.step.num_requests == 8
