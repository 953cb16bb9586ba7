"""What passes cost is measured once, and learned once from each step, whoever asks for it."""

import math
from types import SimpleNamespace

import pytest

import seeahead
from seeahead.decode import Batch
from seeahead.drafters import pace as pace_module
from seeahead.drafters import pass_times
from seeahead.drafters.pace import Pace
from seeahead.serve.owner import Owner
from seeahead.testing import tiny_model, tiny_processor

AUTO, OTHER, PLAIN = ("auto", False), ("other", False), pace_module._PLAIN
FIRST = pace_module._FIRST


@pytest.fixture
def passes(monkeypatch):
    """Sizes of the passes that are timed."""
    found, time_passes = [], pass_times.time_passes

    def timed(session, inputs, sizes, num_rounds):
        found.extend(sizes)
        return time_passes(session, inputs, sizes, num_rounds)

    monkeypatch.setattr(pass_times, "time_passes", timed)
    monkeypatch.setattr(pass_times, "_SLOW_SECONDS", math.inf)  # where one pass is slow, no other is timed
    return found


@pytest.mark.parametrize("drafter", ["auto", "lookup"])
def test_a_server_times_each_size_once(passes, drafter):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), drafter)
    owner = Owner(engine, {drafter: engine})
    owner.start()
    owner.stop()
    assert passes == [1, 1, 2, 4, 8, 16, 32, 64, 128]
    if drafter == "auto":
        assert owner.pace._times is engine.drafter.experience.times
    times = owner.pace._times
    assert 0 < times.seconds(1) <= times.seconds(64) <= times.seconds(128) <= times.seconds(500)


def test_those_who_share_a_drafter_measure_once_and_no_large_passes(passes):
    """The seconds of which nobody would get back."""
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    for one in (engine, engine.with_drafter(engine.drafter)):
        one.generate_batch([{"prompt": "one two", "max_new_tokens": 4}] * 2)
    assert passes == [1, 1, 2, 4, 8, 16, 32]
    assert len(engine.drafter.experience.times._measured) == 32


def test_steps_are_learned_from_for_texts_as_long_as_theirs(monkeypatch):
    """Also where nobody drafts any more."""
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    pace, seen = Pace(engine.target.executor, [engine.drafter]), []
    pace.measure()
    monkeypatch.setattr(pace._times, "at", seen.append)
    for one, longest in ((engine, 900), (engine.with_drafter("none"), 30)):
        requests = [SimpleNamespace(drafter=one.drafter, num_held=held, has_image=False) for held in (longest, 20)]
        pace.set(requests, somebody_waits=True)
    assert seen == [900, 30]


@pytest.mark.parametrize("with_auto", [False, True])
def test_each_step_is_learned_from_once(monkeypatch, with_auto):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    pace, learned = Pace(engine.target.executor, [engine.drafter]), []
    pace.measure()
    monkeypatch.setattr(engine.drafter.experience.times, "learn", lambda *given: learned.append(given))
    others = [engine.with_drafter("lookup"), engine] if with_auto else [engine.with_drafter("lookup")]
    for step in steps([one.answer({"prompt": "one two one two", "max_new_tokens": 9}).request for one in others]):
        before = len(learned)
        pace.learn(step)
        assert len(learned) - before == (0 if with_auto else 1)
    assert learned


@pytest.mark.parametrize(("others", "drafts"), [(0, True), (1, False)])
def test_auto_drafts_beside_others_where_that_has_paid(others, drafts):
    """Alone its own answer tells it more."""
    pace, requests = pace_of("auto", 1 + others)
    load = len(requests).bit_length()
    pace._seen = {(AUTO, load): seen(10.0), (OTHER, load): seen(99.0), (PLAIN, load): seen(9.5)}
    pace._owed = {AUTO: 1.0}
    assert set_often(pace, requests, 20) == [None if drafts else 0] * 20
    pace._seen[AUTO, load] = seen(11.0)
    assert set_often(pace, requests, 2) == [None, None]


def test_what_lost_is_tried_again_once_its_seconds_are_few_beside_all():
    pace, requests = pace_of("auto", 2)
    pace._seen = {(AUTO, 2): seen(0.5), (PLAIN, 2): seen(1.0)}
    pace._times.seconds = lambda rows, num_requests=1: 0.1
    pace._owed = {AUTO: 0.0095}
    for _ in range(9):
        assert set_often(pace, requests, 1) == [0]
        pace.learn([(request, step_of(0.1)) for request in requests])
    pace.learn([(request, step_of(0.1)) for request in requests])
    assert set_often(pace, requests, 1) == [None]
    assert (AUTO, 2) not in pace._seen, "what is tried now is to tell"


@pytest.mark.parametrize("drafter", ["auto", "lookup"])
@pytest.mark.parametrize(
    ("emitted", "num_steps", "pays"),
    [(1, FIRST, False), (2, FIRST + pace_module._TRIAL, False), (20, FIRST + pace_module._TRIAL, True)],
)
def test_a_trial_goes_on_for_some_steps_and_decides(drafter, emitted, num_steps, pays):
    """A part of the requests begins, but of a drafter that decides over all of them."""
    pace, requests = pace_of(drafter, 8)
    pace._seen = {(PLAIN, 4): seen(1.0)}
    pace._lasted[(drafter, False), 4] = math.inf
    pace._times.seconds = lambda rows, num_requests=1: 0.1
    for number in range(num_steps):
        pace.set(requests, somebody_waits=False)
        num_drafting = sum(request.share != 0 for request in requests)
        assert num_drafting == (2 if drafter == "lookup" and number < FIRST else 8)
        pace.learn([(request, step_of(0.21, 0.1, emitted)) for request in requests])
    assert (set_often(pace, requests, 1) != [0]) is pays
    assert (pace._owed[drafter, False] > 0) is not pays


@pytest.mark.parametrize(
    ("drafter", "number", "known", "seconds"),
    [
        ("auto", 3, {}, 0),
        ("auto", 7, {}, 2.8),
        ("lookup", 8, {}, 0),
        ("auto", 8, {}, 6.4),  # by half for each doubling: an eighth of what is hoped of single requests
        ("auto", 16, {}, 25.6),
        ("auto", 8, {1: 3.0}, 1.6),
        ("auto", 16, {1: 3.0, 4: 1.4}, 4.0),
        ("auto", 8, {3: 0.9}, 40.0),  # a hundredth of all seconds
    ],
)
def test_of_many_requests_auto_is_tried_once_lower_loads_would_have_paid_for_it(drafter, number, known, seconds):
    pace, requests = pace_of(drafter, number)
    if drafter == "auto":
        pace._auto.experience.usual_start = lambda: 0.05
    pace._times.seconds = lambda rows, num_requests=1: 0.1
    pace._seen = {(AUTO, load): seen(rate) for load, rate in known.items()}
    pace._seen |= {(PLAIN, load): seen(1.0) for load in range(1, 6)}
    num_plain = 0
    while set_often(pace, requests, 1) == [0]:
        pace.learn([(request, step_of(0.1)) for request in requests])
        num_plain += 1
    assert 0.1 * num_plain == pytest.approx(seconds, abs=0.31)  # each 16th step is plain whatever pays


def test_what_does_not_pay_for_text_may_pay_for_images():
    pace, requests = pace_of("auto", 2)
    requests[1].__dict__["has_image"] = True
    pace._seen = {(AUTO, 2): seen(0.5), (PLAIN, 2): seen(1.0)}
    pace._owed = {AUTO: 1.0}
    pace.set(requests, somebody_waits=False)
    assert [request.share for request in requests] == [0, None]


def test_a_step_that_was_held_up_says_little_of_drafts():
    """By a search for garbage, say: a trial would not be repeated for a hundred times as long."""
    pace, requests = pace_of("auto", 2)
    pace._seen = {(PLAIN, 2): seen(1.0)}
    pace._times.seconds = lambda rows, num_requests=1: 0.1
    pace.set(requests, somebody_waits=False)
    pace.learn([(request, step_of(50.0, 0.05)) for request in requests])
    assert pace._owed[AUTO] < 0.4


def test_steps_that_only_thought_of_drafts_are_no_plain_ones():
    pace, requests = pace_of("auto", 2)
    pace._times.seconds = lambda rows, num_requests=1: 0.1
    for share, known in ((None, []), (0, [(PLAIN, 2)])):
        for request in requests:
            request.share = share
        pace.learn([(request, step_of(0.1, 0.001)) for request in requests])
        assert [*pace._seen] == known


@pytest.mark.parametrize("drafter", ["none", "lookup"])
def test_batches_are_tried_as_a_server_s_requests_are(passes, drafter):
    """Where nothing is drafted nothing is measured."""
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), drafter)
    prompts = [{"prompt": "one two one two one", "max_new_tokens": 30}] * 4
    replies = engine.generate_batch(prompts)
    assert [one.token_ids for one in replies] == [engine.with_drafter("none").generate(**prompts[0]).token_ids] * 4
    assert bool(passes) == (drafter != "none")
    assert ((PLAIN, 3) in engine._pace._seen) == (drafter != "none")


def test_what_pays_is_held_against_plain_steps_again_and_again():
    pace, requests = pace_of("auto", 2)
    pace._seen = {(AUTO, 2): seen(20.0)}
    assert set_often(pace, requests, 2) == [0, 0], "nothing to hold it against"
    pace._seen[PLAIN, 2] = seen(10.0)
    assert set_often(pace, requests, 30) == [None] * 13 + [0] + [None] * 15 + [0]


@pytest.mark.parametrize("somebody_waits", [True, False])
def test_steps_beside_prompts_that_are_made_ready_tell_nothing_of_drafts(somebody_waits):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "lookup")
    pace = Pace(engine.target.executor, [engine.drafter])
    request = engine.answer({"prompt": "one two one two", "max_new_tokens": 9}).request
    for step in steps([request]):
        pace.set([request], somebody_waits=somebody_waits)
        request.share = 0
        pace.learn(step)
    assert bool(pace._seen) is not somebody_waits


def pace_of(drafter, num_requests):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), drafter)
    asked = {"prompt": "one two", "max_new_tokens": 9}
    requests = [engine.answer(asked).request for _ in range(num_requests)]
    pace = Pace(engine.target.executor, [engine.drafter])
    pace.measure()
    return pace, requests


def seen(rate):
    return pace_module._Seen(rate, 1.0, 1.0, pace_module._TRIAL)


def step_of(seconds, drafting=0.0, emitted=1):
    return SimpleNamespace(
        seconds=seconds, seconds_draft=drafting, num_drafted=0, num_accepted=0, emitted=[1] * emitted
    )


def set_often(pace, requests, times):
    """What the first of the requests may draft, each time."""
    found = []
    for _ in range(times):
        pace.set(requests, somebody_waits=False)
        found.append(requests[0].share)
    return found


def steps(requests):
    """Steps of all requests together, as a server takes them."""
    batch = Batch()
    for request in requests:
        batch.join(request)
    while batch.requests:
        done = [(request, step) for request, step in batch.step() if step is not None]
        if len(done) == len(requests):
            yield done
