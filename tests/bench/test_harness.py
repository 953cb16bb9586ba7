"""Who is asked what, in which order, and what an interruption leaves."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seeahead.bench.harness import Plan, Watch, ask_all, asked_of, question_of, warm_up
from seeahead.bench.log import Log
from seeahead.bench.record import Run
from seeahead.bench.suites import Item, Suite
from seeahead.data.suite import Turn
from seeahead.errors import InputError

SUITE = Suite(
    "tiny",
    "three conversations",
    (
        Item("a", "short", (), (Turn("What?", 8),)),
        Item("b", "short", (), (Turn("Why?", 8),)),
        Item("c", "two turns", (), (Turn("Who?", 8), Turn("And then?", 9))),
    ),
)
PLAN = Plan(SUITE, (0.0, 1.0), 2, seed=2**64 - 3)


class Fake:
    """Answers with its own name, and remembers what it was asked."""

    engine = SimpleNamespace(family=SimpleNamespace(device=torch.device("cpu")))

    def __init__(self, name, is_peer=False, fails=False):
        self.name, self.is_peer, self.fails = name, is_peer, fails
        self.heard = []

    def answer(self, place, question, seed, on_piece=None):
        self.heard.append((question.messages(), question.max_new_tokens, place.temperature, seed))
        if self.fails:
            raise ValueError("no such thing\nas this")
        return replace(place, token_ids=(1, 2, 3), text=f"{self.name} at {place.temperature}", seconds_total=0.3)


def run(plan, asked, log):
    return ask_all(plan, asked, log, Watch())


def methods():
    return {"none": Fake("none"), "language": Fake("language"), "peer": Fake("peer", is_peer=True, fails=True)}


@pytest.fixture
def log_at(tmp_path):
    """Opens the log of that name, as a process does after another one ended; what is open in the end is closed."""
    with ExitStack() as stack:

        def opened(name: str, plan=PLAN) -> Log:
            stack.close()
            log = stack.enter_context(Log(tmp_path / name, plan.fingerprint(model="demo")))
            log.begin({"methods": ["none", "language", "peer"]})
            return log

        yield opened


def test_everything_is_asked_of_everyone_equally_often(log_at):
    asked = methods()
    runs = list(run(PLAN, asked, log_at("log.jsonl")))
    assert len(runs) == PLAN.num_runs(3) == 4 * 3 * 2 * 2
    assert set(Counter(entry.method for entry in runs).values()) == {16}
    assert [call[3] for call in asked["none"].heard] == [call[3] for call in asked["language"].heard], "equal seeds"
    assert len({call[3] for call in asked["none"].heard}) == 8, "each question and repeat has its own seed"


def test_methods_take_turns_in_going_first(log_at):
    runs = list(run(PLAN, methods(), log_at("log.jsonl")))
    firsts = Counter(entry.method for entry in runs[::3])
    assert set(firsts) == {"none", "language", "peer"}


def test_a_follow_up_builds_on_the_first_plain_answer_for_everyone(log_at):
    asked = methods()
    log = log_at("log.jsonl")
    list(run(PLAN, asked, log))
    for method in ("none", "language"):
        follow_ups = [call for call in asked[method].heard if call[1] == 9]
        assert len(follow_ups) == 4
        assert all(call[0][1]["content"][0]["text"] == "none at 0.0" for call in follow_ups)
    entry = asked_of(PLAN, log)[3]
    assert (entry.id, entry.earlier) == ("c#2", (("Who?", "none at 0.0"),))


def test_images_of_one_name_in_different_folders_are_told_apart(log_at):
    paths = [(Path(f"{folder}/image.jpg"),) for folder in ("001", "002", "001")]
    items = [Item(f"{number}", "short", images, (Turn("What?", 8),)) for number, images in enumerate(paths)]
    asked = asked_of(replace(PLAN, suite=replace(SUITE, items=tuple(items))), log_at("log.jsonl"))
    assert [entry.pictures for entry in asked] == [("image.jpg",), ("image.jpg (2)",), ("image.jpg",)]


def test_a_peer_that_fails_is_kept_with_its_error_and_ours_stops_the_run(log_at):
    runs = list(run(PLAN, methods(), log_at("log.jsonl")))
    assert {entry.error for entry in runs if entry.method == "peer"} == {"ValueError: no such thing"}
    broken = methods() | {"language": Fake("language", fails=True)}
    with pytest.raises(ValueError, match="no such thing"):
        list(run(PLAN, broken, log_at("other.jsonl")))


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(tmp_path, log_at):
    path = tmp_path / "log.jsonl"
    whole = list(run(PLAN, methods(), log_at("whole.jsonl")))
    started = run(PLAN, methods(), log_at("log.jsonl"))
    for _ in range(20):
        next(started)
    path.write_text(path.read_text() + '{"asked": 1, "meth')  # killed in the middle of a line
    asked = methods()
    runs = list(run(PLAN, asked, log_at("log.jsonl")))
    assert sum(len(method.heard) for method in asked.values()) == len(whole) - 20
    assert [(entry.asked, entry.method, entry.repeat, entry.temperature) for entry in runs] == [
        (entry.asked, entry.method, entry.repeat, entry.temperature) for entry in whole
    ]


def test_a_log_of_other_settings_is_refused(log_at):
    log_at("log.jsonl")
    with pytest.raises(InputError, match="of other settings"):
        log_at("log.jsonl", Plan(SUITE, (0.0,), 1, seed=4))


@pytest.mark.parametrize("stranger", [(9, "none", 0, 0), (0, "other", 0, 0), (0, "none", 5, 0), (0, "none", 0, 0.5)])
def test_answers_that_this_run_does_not_ask_for_are_refused_before_it_asks(log_at, stranger):
    log = log_at("log.jsonl")
    log.add(Run(*stranger, (1,)))
    asked = methods()
    with pytest.raises(InputError, match="holds answers that this run does not ask for"):
        next(run(PLAN, asked, log))
    assert not any(method.heard for method in asked.values())


def test_a_finished_log_is_gone(tmp_path, log_at):
    log_at("log.jsonl").finish()
    assert not (tmp_path / "log.jsonl").exists()


def test_the_warm_up_meets_every_scenario_and_number_of_pictures():
    asked = methods()
    shares = list(warm_up(asked, SUITE))
    assert shares[-1] == 1.0
    assert len(asked["none"].heard) == 2


def test_pictures_are_asked_about_by_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    question = question_of(Item("d", "one", (Path("cat.png"),), (Turn("What?", 4),)), ())
    assert question.messages()[0]["content"][0]["path"] == tmp_path / "cat.png"


def test_a_run_about_other_images_is_another_run(tmp_path):
    """Also where they have the same names."""
    paths = [tmp_path / name / "1.jpg" for name in "ab"]
    plans = []
    for path, word in zip(paths, (b"one", b"two"), strict=True):
        path.parent.mkdir()
        path.write_bytes(word)
        item = Item("1.jpg", "describe", (path,), (Turn("What?", 4),))
        plans.append(Plan(Suite("own", "own data", (item,))))
    first, second = (plan.fingerprint() for plan in plans)
    assert first != second
    paths[1].write_bytes(b"one")
    assert plans[1].fingerprint() == first, "where it lies is no matter"
    paths[1].unlink()
    assert plans[1].fingerprint() != first, "what cannot be read is left out later"
