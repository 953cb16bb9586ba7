"""A record survives its own JSON, and says what is wrong with another's."""

import json
import operator
from dataclasses import replace

import pytest

from seeahead.bench import statistics
from seeahead.bench.markdown import markdown
from seeahead.bench.record import Asked, Costs, Gap, Record, Run, read_record, write_record
from seeahead.bench.summary import summarize
from seeahead.errors import InputError
from seeahead.records import Generation, Step

STEPS = (
    Step((5, 6), ("drafted", "target"), 4, 2, 1, 0.001, 0.02, 0.022),
    Step((7,), ("target",), 3, 3, 0, 0.002, 0.02, 0.023),
)
GENERATION = Generation(9, 4, STEPS, "end", 0.1, 0.01, "language", ("a note",))
RECORD = Record(
    {"commit": "abc"},
    {"suite": "demo"},
    {"target": 100, "language": 5},
    Costs(200, {1: 0.02, 4: 0.02, 8: 0.03}),
    ("none", "language", "peer"),
    ("peer",),
    (
        Asked("a/0", "short", "Who?", ("cat.jpg",)),
        Asked("a/1", "short", "What?", ("cat.jpg",), (("Who?", "A cat."),), 32),
    ),
    (
        Run(0, "language", 0, 0.0, (4, 5, 6, 7), "yes", 0.11, 0.16, 7, GENERATION, pieces=(("yes", "drafted"),)),
        Run(0, "peer", 0, 1.0, error="no"),
    ),
    (Gap(0, "language", 0, 2, None),),
)


def test_a_record_is_what_it_was_after_json(tmp_path):
    write_record(tmp_path / "bench.json", RECORD)
    assert read_record(tmp_path / "bench.json") == RECORD


def test_a_record_says_who_proposed_each_token(tmp_path):
    """Also where that were more drafters than there are letters; an older one says only that there was one."""
    steps = (replace(STEPS[0], origins=("msd", "target")), replace(STEPS[1], origins=("lookup <b>",)))
    names = tuple(f"drafter {number}" for number in range(40))
    more = Step(tuple(range(40)), names, 40, 40, 40, 0.0, 0.0, 0.0)
    for own in (steps, STEPS, (*steps, more)):
        tokens = (4, *(token for step in own for token in step.emitted))
        answer = replace(GENERATION, steps=own)
        run = replace(RECORD.runs[0], token_ids=tokens, generation=answer, pieces=(("a", "msd"),))
        write_record(tmp_path / "bench.json", replace(RECORD, runs=(run, RECORD.runs[1]), gaps=()))
        read = read_record(tmp_path / "bench.json").runs[0]
        assert (read.pieces, read.generation.steps[:2]) == (run.pieces, own[:2])
    assert read.generation.origins[4:28] == names[:24]
    assert len(set(read.generation.origins[28:])) == 1, "there is no further letter"


def test_the_cost_of_tokens_between_measured_numbers_is_interpolated():
    costs = RECORD.costs
    assert [costs.ratio(k) for k in (1, 4, 6, 8, 20)] == pytest.approx([1.0, 1.0, 1.25, 1.5, 1.5])


def test_decoding_is_all_after_the_first_token_whoever_decodes():
    """Also what lies between steps; of tokens those that did not come at once with the first one."""
    ours, peer = RECORD.runs[0], Run(0, "peer", 0, 0.0, (1, 2, 3), "", 0.25, 1.0)
    assert ours.totals.seconds == pytest.approx(0.05)
    assert sum(step.seconds for step in ours.generation.steps) == pytest.approx(0.045)
    assert (peer.totals.seconds, peer.totals.tokens) == (0.75, 2)
    assert replace(peer, num_first=2).totals.tokens == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read the record"),
        ('{"schema": "other/1"}', "no benchmark record of schema seeahead-bench/1"),
        ('{"schema": "seeahead-bench/1", "costs": {}}', "it lacks provenance"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_record(path)
    assert "\n" not in str(refused.value)


def stored():
    """RECORD as its file has it, to be spoiled."""
    return json.loads(json.dumps(RECORD.to_json()))


def places(value, place=()):
    """Where every value is: the keys that lead to it."""
    yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*place, key))


def spoiled(place, change):
    value = inner = stored()
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    return value


def replaced_by(new):
    return lambda inner, key: operator.setitem(inner, key, new)


PLACES = sorted((place for place in places(stored()) if place), key=str)
WRONG = [None, -1, 10**30, 1.5, float("nan"), 1e300, "x", "\ud800", True, [], {}, [[1]]]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_whatever_is_spoiled_in_a_record_is_one_line_or_can_be_shown(place, monkeypatch):
    monkeypatch.setattr(statistics, "NUM_DRAWS", 5)
    changes = [replaced_by(new) for new in WRONG] + [operator.delitem]
    for change in changes:
        message = ""
        try:
            markdown(summarize(Record.from_json(spoiled(place, change))))
        except InputError as error:
            message = str(error)
        assert "\n" not in message
        assert len(message) < 600


@pytest.mark.parametrize(
    ("place", "new", "says"),
    [
        (("runs",), [], "holds no answers"),
        (("runs",), 3, "runs: Input should be a valid"),
        (("runs", 0, "asked"), 7, "runs.0 answers question 7 of 2"),
        (("runs", 0, "method"), "other", "runs.0 is of a method that is not listed"),
        (("runs", 0, "asked"), "0", "runs.0.asked: Input should be a valid integer"),
        (("runs", 0, "asked"), True, "runs.0.asked: Input should be a valid integer"),
        (("runs", 0, "token_ids"), [4, 5], "runs.0.generation: its tokens are not those of its steps"),
        (("runs", 0, "error"), "failed", "runs.0.error: it failed and has an answer"),
        (("runs", 0, "seconds_total"), -1.0, "runs.0.seconds_total: Input should be greater"),
        (("runs", 0, "pieces"), [["a"]], "it lacks runs.0.pieces.0.1"),
        (("runs", 0, "pieces"), [["a", 7]], "runs.0.pieces.0.1"),
        (("runs", 0, "generation", "finish_reason"), "bored", "runs.0.generation.finish_reason"),
        (("runs", 0, "generation", "steps", "origins"), "Att", "an origin has no name"),
        (("runs", 0, "generation", "steps", "emitted"), [3], "its columns differ in length"),
        (("runs", 0, "generation", "steps", "emitted"), [2, 2], "its tokens and their origins differ in number"),
        (("runs", 0, "generation", "steps", "origins"), "dxt", "origins"),
        (("runs", 0, "generation", "steps", "num_accepted"), [9, 0], "runs.0.steps.0: it has more accepted nodes (9)"),
        (("runs", 0, "generation", "steps", "depth"), [2, 10**9], "depth.1: Input should be less"),
        (("gaps", 0, "repeat"), 5, "gaps.0 is of an answer that is not there"),
        (("gaps", 0, "logit_gap"), "none", "gaps.0.logit_gap"),
        (("methods",), ["language", "none", "peer"], "methods do not begin with none"),
        (("methods",), ["none", "language", "peer", "peer"], "or name one twice"),
        (("peers",), ["stranger"], "its peers are not among its methods"),
        (("peers",), ["none"], "its plain loop is named as a peer"),
        (("asked", 1, "earlier"), [["Who?"]], "it lacks asked.1.earlier.0.1"),
        (("asked", 0, "earlier"), [["Who?", "A cat."]], "its first question follows another one"),
        (("costs", "seconds"), {"2": 0.1}, "lack those of one token"),
        (("costs", "seconds"), {"1": 0.0}, "costs.seconds.1: Input should be greater than 0"),
        (("costs", "seconds"), {"one": 1.0}, "costs.seconds.one"),
        (("gaps", 0, "position"), 5, "gaps.0 lies beyond its answer"),
        (("num_parameters",), {"language": 3}, "its sizes lack that of the target"),
        (("num_parameters",), {"target": "many"}, "num_parameters.target"),
        (("provenance", "command"), [3], "provenance.command.0"),
        (("provenance", "hardware"), "fast", "provenance.hardware"),
        (("settings", "num_repeats"), None, "settings.num_repeats"),
        (("settings", "num_questions"), 4, "its number of questions"),
        (("settings", "temperatures"), [0.0], "a temperature is not among"),
        (("settings", "seed"), -3, "settings.seed"),
        (("settings", "passes"), {"row_step": 0}, "settings.passes.row_step"),
        (("more",), 1, "it has an unknown more"),
    ],
)
def test_what_does_not_add_up_is_named(place, new, says):
    with pytest.raises(InputError) as refused:
        Record.from_json(spoiled(place, replaced_by(new)))
    assert says in str(refused.value)


def test_an_answer_that_is_there_twice_is_refused():
    value = stored()
    value["runs"].append(value["runs"][0])
    with pytest.raises(InputError, match=r"runs\.2 is there twice"):
        Record.from_json(value)


@pytest.mark.parametrize(
    "text", ["", "[" * 10**5, "3", "[]", "null", '"x"', "\x00" * 9, '{"schema": ' + "9" * 5000 + "}"]
)
def test_a_file_of_anything_is_one_line(tmp_path, text):
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(InputError, match="cannot read the record") as refused:
        read_record(tmp_path / "bench.json")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_and_a_folder_are_one_line(tmp_path):
    (tmp_path / "bench.json").write_bytes(b"\xff\xfe{")
    for path in (tmp_path / "bench.json", tmp_path):
        with pytest.raises(InputError, match="cannot read the record"):
            read_record(path)


def test_a_record_without_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the record"):
        read_record(tmp_path / "none.json")


def test_every_answer_is_one_line_and_its_steps_are_columns(tmp_path):
    write_record(tmp_path / "bench.json", RECORD)
    lines = (tmp_path / "bench.json").read_text().splitlines()
    steps = json.loads(next(line for line in lines if '"language",' in line and "steps" in line).rstrip(","))
    columns = steps["generation"]["steps"]
    assert columns["origins"] == "dtt"
    assert columns["emitted"] == [2, 1]
    assert columns["num_drafted"] == [4, 3]
    assert columns["micros"] == [22000, 23000]


def test_words_are_kept_once():
    said = RECORD.runs[0]
    assert said.as_stored == said
    assert replace(said, repeat=1).as_stored == replace(said, repeat=1, text="", pieces=())
    assert replace(said, temperature=1.0).as_stored == replace(said, temperature=1.0, pieces=())


def test_a_record_of_any_seed_that_a_run_takes_and_without_costs_is_read_again(tmp_path):
    settings = {**RECORD.settings, "seed": 2**64 - 1}
    record = replace(RECORD, settings=settings, provenance={**RECORD.provenance, "seed": 2**64 - 1}, costs=Costs(0, {}))
    write_record(tmp_path / "bench.json", record)
    assert read_record(tmp_path / "bench.json") == record
    assert markdown(summarize(record))


@pytest.mark.parametrize("changes", [{"seconds_first": 5.0, "seconds_total": 1.0}, {"num_first": 9}])
def test_an_answer_that_ends_before_its_first_token_is_refused(tmp_path, changes):
    run = replace(RECORD.runs[0], **changes)
    write_record(tmp_path / "bench.json", replace(RECORD, runs=(run, RECORD.runs[1])))
    with pytest.raises(InputError, match="ends before its first token"):
        read_record(tmp_path / "bench.json")
