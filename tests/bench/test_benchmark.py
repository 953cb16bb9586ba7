"""`seeahead.bench.run` in Python, on a tiny LLaVA: everybody is asked the same, and nothing is written unasked."""

import pytest

from seeahead import bench
from seeahead.bench import benchmark
from seeahead.bench.harness import Watch
from seeahead.bench.record import PLAIN
from seeahead.bench.suites import Item, Suite
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.data.suite import Turn
from seeahead.errors import InputError

SUITE = Suite(
    "tiny",
    "four questions",
    (
        Item("a", "describe", (PICTURES / "cat.jpg",), (Turn("What is this?", 12), Turn("And then?", 9))),
        Item("b", "two", (PICTURES / "shapes_before.png", PICTURES / "shapes_after.png"), (Turn("Compare.", 8),)),
        Item("c", "text only", (), (Turn("a b a b a b", 10),)),
    ),
)


class Seen(Watch):
    """Remembers everything in order."""

    def __init__(self):
        self.begun, self.questions, self.said, self.runs = None, [], {}, []

    def begin(self, methods, num_questions):
        self.begun = (list(methods), num_questions)

    def ask(self, question):
        self.questions.append(question)

    def piece(self, method, text, origin):
        self.said.setdefault((len(self.questions), method), []).append((text, origin))

    def finish(self, run):
        self.runs.append((len(self.questions), run))


@pytest.fixture(scope="module")
def seen():
    return Seen()


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def result(tiny, seen, told):
    return bench.run(
        tiny,
        ["lookup"],
        SUITE,
        temperatures=[0.0],
        measures_costs=False,
        is_shuffled=False,
        progress=lambda *stage: told.append(stage),
        watch=seen,
    )


def test_every_question_is_asked_of_everyone(result, seen):
    assert seen.begun == ([PLAIN, "lookup"], 4)
    assert len(seen.questions) == len(result.record.asked) == 4
    answers = result.record.first_answers()
    assert all(list(runs) == [PLAIN, "lookup"] for runs in answers.values())
    assert [len(runs[PLAIN].token_ids) for runs in answers.values()] == [12, 9, 8, 10]


def test_in_float32_everyone_gives_the_same_answers(result):
    assert all(entry.num_identical == entry.num_answers == 4 for entry in result.summary.headline_methods)
    assert result.record.gaps == ()


def test_a_follow_up_stands_after_the_plain_answer(result, seen):
    first, second = seen.questions[:2]
    assert first.earlier == ()
    assert second.earlier == (("What is this?", result.record.first_answers()[0][PLAIN].text),)
    assert [message["role"] for message in second.messages()] == ["user", "assistant", "user"]


def test_what_arrives_is_the_answer_in_time(seen):
    for number, run in seen.runs:
        assert tuple(seen.said[number, run.method]) == run.pieces
        assert "".join(text for text, _ in run.pieces) == run.text
        assert len(run.arrivals) == len(run.pieces)
        assert list(run.arrivals) == sorted(run.arrivals)
        assert run.arrivals[0] == 0 < run.arrivals[-1] < run.seconds_total


def test_progress_goes_from_loading_to_the_last_answer(result, told):
    assert [what for number, (what, _) in enumerate(told) if not number or told[number - 1][0] != what][-2:] == [
        "warming up",
        "asking",
    ]
    assert told[-1] == ("asking", 1.0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"repeats": 0}, "repeats is 0; allowed is 1 or more"),
        ({"temperatures": [0.7]}, "temperatures are 0.7; 0 must be among them"),
        ({"peers": ["sglang"]}, "no peer 'sglang'"),
        ({"suite": "chartq"}, "did you mean chartqa"),
    ],
)
def test_wrong_input_is_refused_before_a_model_is_loaded(given, says, monkeypatch):
    monkeypatch.setattr("seeahead.api.load", None)
    with pytest.raises(InputError, match=says):
        bench.run("demo", ["lookup"], **{"suite": SUITE, **given})


def test_the_package_names_its_doors_and_nothing_else():
    assert {name for name in bench.__all__ if getattr(bench, name) is not None} == set(bench.__all__)
    with pytest.raises(AttributeError):
        _ = bench.walk


@pytest.mark.parametrize("changed", ["commit", "versions", "hardware"])
def test_a_run_that_was_cut_off_goes_on_where_it_began_alone(tiny, tmp_path, monkeypatch, changed):
    class CutOff(Watch):
        def finish(self, run):
            raise KeyboardInterrupt

    given = {"temperatures": [0.0], "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        bench.run(tiny, ["lookup"], SUITE, watch=CutOff(), **given)
    here = benchmark.provenance()
    with monkeypatch.context() as patch:
        patch.setattr(benchmark, "provenance", lambda seed=None: here | {changed: "another"})
        with pytest.raises(InputError, match=changed):
            bench.run(tiny, ["lookup"], SUITE, **given)
    assert bench.run(tiny, ["lookup"], SUITE, **given).record.runs
