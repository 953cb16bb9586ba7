"""A record survives its own JSON, and says what is wrong with another's."""

import json
from dataclasses import replace

import pytest

from seeahead.bench.record import Asked, Costs, Gap, Record, Run, read_record, without_words, write_record
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
    ("none", "language"),
    (),
    (Asked("a/1", "short", "What?", ("cat.jpg",), (("Who?", "A cat."),), 32),),
    (
        Run(0, "language", 0, 0.0, (4, 5, 6, 7), "yes", 0.11, 0.16, 7, GENERATION, pieces=(("yes", "drafted"),)),
        Run(0, "peer", 0, 1.0, error="no"),
    ),
    (Gap(0, "language", 1, 2, None),),
)


def test_a_record_is_what_it_was_after_json(tmp_path):
    write_record(tmp_path / "bench.json", RECORD)
    assert read_record(tmp_path / "bench.json") == RECORD


def test_the_cost_of_tokens_between_measured_numbers_is_interpolated():
    costs = RECORD.costs
    assert [costs.ratio(k) for k in (1, 4, 6, 8, 20)] == pytest.approx([1.0, 1.0, 1.25, 1.5, 1.5])


def test_decode_seconds_are_those_of_the_steps_or_what_follows_the_first_token():
    ours, peer = RECORD.runs[0], Run(0, "peer", 0, 0.0, (1, 2, 3), "", 0.25, 1.0)
    assert ours.seconds_decode == pytest.approx(0.045)
    assert (peer.seconds_decode, peer.num_decoded) == (0.75, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read the record"),
        ('{"schema": "other/1"}', "no benchmark record of schema seeahead-bench/1"),
        ('{"schema": "seeahead-bench/1", "costs": {}}', "lacks or misnames 'seconds'"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_record(path)
    assert "\n" not in str(refused.value)


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
    assert without_words(said) == said
    assert without_words(replace(said, repeat=1)) == replace(said, repeat=1, text="", pieces=())
    assert without_words(replace(said, temperature=1.0)) == replace(said, temperature=1.0, pieces=())
