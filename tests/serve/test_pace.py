"""What passes cost is measured once, and learned once from each step, whoever asks for it."""

import pytest

import seeahead
from seeahead.decode import Batch
from seeahead.drafters import pass_times
from seeahead.serve.owner import Owner
from seeahead.serve.pace import Pace
from seeahead.testing import tiny_model, tiny_processor


@pytest.fixture
def passes(monkeypatch):
    """Sizes of the passes that are timed."""
    found, time_passes = [], pass_times.time_passes

    def timed(session, inputs, sizes, num_rounds):
        found.extend(sizes)
        return time_passes(session, inputs, sizes, num_rounds)

    monkeypatch.setattr(pass_times, "time_passes", timed)
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


@pytest.mark.parametrize("with_auto", [False, True])
def test_each_step_is_learned_from_once(monkeypatch, with_auto):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    pace, learned = Pace(engine.target.executor, [engine.drafter]), []
    monkeypatch.setattr(engine.drafter.experience.times, "learn", lambda *given: learned.append(given))
    others = [engine.with_drafter("lookup"), engine] if with_auto else [engine.with_drafter("lookup")]
    for step in steps([one.answer({"prompt": "one two one two", "max_new_tokens": 9}).request for one in others]):
        before = len(learned)
        pace.learn(step)
        assert len(learned) - before == (0 if with_auto else 1)
    assert learned


@pytest.mark.parametrize(("others", "drafts"), [(0, True), (1, False)])
def test_auto_drafts_beside_others_where_that_has_paid(others, drafts):
    """Alone its own answer tells it more. Now and then it looks again."""
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    pace, requests = Pace(engine.target.executor, [engine.drafter]), []
    for _ in range(1 + others):
        requests.append(engine.answer({"prompt": "one two", "max_new_tokens": 9}).request)
    load = len(requests).bit_length()
    pace._rates = {("auto", load): 10.0, ("other", load): 99.0, ("", load): 9.5}
    given = set_often(pace, requests, 64)
    assert given == [None if drafts else 0] * 63 + [None]
    pace._rates["auto", load] = 11.0
    assert set_often(pace, requests, 2) == [None, None]


def test_what_pays_is_held_against_plain_steps_again_and_again():
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "auto")
    pace = Pace(engine.target.executor, [engine.drafter])
    requests = [engine.answer({"prompt": "one two", "max_new_tokens": 9}).request for _ in range(2)]
    pace._rates = {("auto", 2): 20.0}
    assert set_often(pace, requests, 2) == [0, 0], "nothing to hold it against"
    pace._rates["", 2] = 10.0
    assert set_often(pace, requests, 30) == [None] * 13 + [0] + [None] * 15 + [0]


@pytest.mark.parametrize("somebody_waits", [True, False])
def test_steps_beside_prompts_that_are_made_ready_tell_nothing_of_drafts(somebody_waits):
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "lookup")
    pace = Pace(engine.target.executor, [engine.drafter])
    request = engine.answer({"prompt": "one two one two", "max_new_tokens": 9}).request
    for step in steps([request]):
        pace.set([request], somebody_waits=somebody_waits)
        pace.learn(step)
    assert bool(pace._rates) is not somebody_waits


def set_often(pace, requests, times):
    """What the first of the requests may draft, each time."""
    found = []
    for _ in range(times):
        pace.set(requests, somebody_waits=False)
        found.append(requests[0].most_nodes)
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
