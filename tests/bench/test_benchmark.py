"""`seeahead.bench.run` in Python, on a tiny LLaVA: everybody is asked the same, and nothing is written unasked."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seeahead import bench, images
from seeahead.bench import benchmark
from seeahead.bench.harness import Watch
from seeahead.bench.methods import passes_of
from seeahead.bench.record import PLAIN, Record
from seeahead.bench.suites import Item, Suite, suite_of
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.data.suite import Turn
from seeahead.errors import InputError
from seeahead.executor import Limits
from seeahead.testing import tiny_model, tiny_processor

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
        ({"suite": "no/such.jsonl"}, r"no/such\.jsonl does not exist; give a folder with images"),
        ({"folder": PICTURES}, "folder is .*; leave it out, or name their suite"),
        ({"suite": PICTURES, "folder": PICTURES}, "folder is .*; leave it out, or name their suite"),
        ({"max_new_tokens": 9}, "max_new_tokens is 9, but a suite says how long its answers are; leave it out"),
        ({"suite": "demo", "max_new_tokens": 9}, "max_new_tokens is 9, but a suite says"),
        ({"count": 0}, "count is 0; allowed is 1 or more"),
    ],
)
def test_wrong_input_is_refused_before_a_model_is_loaded(given, says, monkeypatch):
    monkeypatch.setattr("seeahead.api.load", None)
    with pytest.raises(InputError, match=says):
        bench.run("demo", ["lookup"], **{"suite": SUITE, **given})


def test_so_many_of_each_scenario_are_asked_of_any_suite():
    two = replace(SUITE, items=(*SUITE.items, replace(SUITE.items[2], id="d")))
    found = suite_of(two, 1, 0, None, Path("nowhere"), None)
    assert [item.scenario for item in found.items] == ["describe", "two", "text only"]
    assert suite_of(two, None, 0, None, Path("nowhere"), None) == two


@pytest.mark.parametrize(("given", "tokens"), [({}, 128), ({"max_new_tokens": 7}, 7)])
def test_ones_own_questions_are_found_by_a_path_in_words(tmp_path, given, tokens):
    (tmp_path / "asked.jsonl").write_text('{"turns": ["What?"]}')
    for path in (tmp_path / "asked.jsonl", tmp_path):
        found = suite_of(str(path), None, 0, None, tmp_path, given.get("max_new_tokens"))
        assert [item.turns for item in found.items] == [(Turn("What?", tokens),)]


def test_what_a_model_without_eyes_is_not_asked_is_named(tmp_path):
    tiny_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path)
    tiny_processor("llama").save_pretrained(tmp_path)
    told = {}

    class Notes(Watch):
        def leave_out(self, reasons):
            told.update(reasons)

    result = bench.run(str(tmp_path), [], SUITE, temperatures=[0.0], measures_costs=False, watch=Notes())
    assert told == dict.fromkeys("ab", "the model reads text only")
    assert result.record.settings["left_out"] == ["a", "b"]
    assert result.summary.warnings[0] == "2 questions were left out, because the model reads text only: a, b."
    seen = replace(SUITE, items=SUITE.items[:2])
    with pytest.raises(InputError, match="every question of tiny shows images: the model reads text only"):
        bench.run(str(tmp_path), [], seen, temperatures=[0.0], measures_costs=False)


def test_a_question_that_the_model_does_not_take_is_left_out_before_any_is_asked(tiny, tmp_path):
    long = '{"turns": ["' + "two " * 3000 + '"]}\n'
    (tmp_path / "q.jsonl").write_text('{"turns": ["One?"]}\n' + long)
    told = {}

    class Notes(Watch):
        def leave_out(self, reasons):
            told.update(reasons)

    asked = str(tmp_path / "q.jsonl")
    given = {"temperatures": [0.0], "measures_costs": False, "max_new_tokens": 4}
    result = bench.run(tiny, [], asked, watch=Notes(), **given)
    assert len(result.record.asked) == 1
    [reason] = told.values()
    assert "this model's maximum context length is" in reason
    (tmp_path / "q.jsonl").write_text(long)
    with pytest.raises(InputError, match="the model takes no question of q: the prompt has"):
        bench.run(tiny, [], asked, **given)


def test_images_are_opened_once_before_questions_are_asked(tiny, monkeypatch):
    opened, open_image = [], images.open_image

    def noted(source, **limits):
        opened.append(source)
        return open_image(source, **limits)

    class Begun(Watch):
        def begin(self, methods, num_questions):
            raise KeyboardInterrupt

    monkeypatch.setattr(images, "open_image", noted)
    monkeypatch.setattr(benchmark, "warm_up", lambda methods, suite: ())
    with pytest.raises(KeyboardInterrupt):
        bench.run(tiny, [], SUITE, temperatures=[0.0], measures_costs=False, watch=Begun())
    assert len(opened) == 1 + 3, "the first one that can be read, then those of all items"


def test_what_an_executor_chose_at_load_stands_in_the_record(result, tiny, monkeypatch):
    assert "passes" not in result.record.settings, "transformers chooses nothing"
    assert "passes by" not in result.summary.origin
    limits = Limits(10, None, 4, torch.device("cpu"), row_step=8, fixed_rows=(1, 8), long_rows=64)
    found = {"row_step": 8, "fixed_rows": [1, 8], "long_rows": 64}
    assert passes_of(limits) == found
    monkeypatch.setattr(benchmark, "passes_of", lambda limits: found)
    text = replace(SUITE, items=SUITE.items[2:])
    again = bench.run(tiny, [], text, temperatures=[0.0], measures_costs=False)
    assert Record.from_json(again.record.to_json()).settings["passes"] == found
    assert "passes by 8 rows, over more than 64 in 32 bits" in again.summary.origin


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
