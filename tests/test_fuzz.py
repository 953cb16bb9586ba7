"""A few mutated inputs for every public parser; `python -m tests.fuzz` has many more."""

import time

import pytest

from seeahead.errors import InputError
from tests.fuzz.mutations import NESTED_DEEP, deep, written
from tests.fuzz.parsers import PARSERS
from tests.fuzz.running import Hang, Parser, failure_of, fuzz, mutator, watched, wrong_message
from tests.fuzz.shrinking import shrunk

COUNT = 150


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_inputs_end_in_a_value_or_in_one_line(tmp_path, name):
    result = fuzz(PARSERS[name], tmp_path, count=COUNT, shrinks=False)
    told = [f"number {failure.number}: {place}\n{failure.story}" for place, failure in result.failures.items()]
    assert not told, "\n".join(told)
    # Otherwise the inputs are all of one kind, and what is behind the first check is never reached.
    assert result.num_values >= COUNT // 20
    assert result.num_refused >= COUNT // 20
    # What is loaded at first use, or by another test's thread, is not loaded again.
    assert not result.grows or not fuzz(PARSERS[name], tmp_path, count=COUNT, shrinks=False).grows


@pytest.mark.parametrize("name", PARSERS)
def test_an_input_is_made_again_by_its_seed_and_number(name):
    first, again, other = (PARSERS[name].make(mutator(PARSERS[name], seed, 7)) for seed in (0, 0, 1))
    assert written(first) == written(again)
    assert written(first) != written(other)


def parser_of(read, value=b"abcdef"):
    return Parser("made up", lambda mutator: value, lambda value, folder: read(value))


def raising(error):
    def read(value):
        raise error

    return read


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
        Hang(),
        InputError(""),
        InputError("two\nlines"),
        InputError("\x1b[31mred"),
        InputError("\u2028"),
        InputError("\ud800"),
        InputError("x" * 1001),
        UserWarning("x"),
    ],
)
def test_what_must_not_come_out_is_seen(tmp_path, error):
    assert failure_of(parser_of(raising(error)), b"", tmp_path) is not None


@pytest.mark.parametrize("error", [InputError("one line, é 🦓"), InputError("x" * 1000)])
def test_a_line_is_right(tmp_path, error):
    assert failure_of(parser_of(raising(error)), b"", tmp_path) is None
    assert wrong_message(str(error)) == ""


def test_a_hang_is_ended():
    def endless():
        with watched(0.05):
            while True:
                time.sleep(0.01)

    with pytest.raises(Hang):
        endless()


def test_failures_are_counted_by_place_and_the_smallest_input_is_kept(tmp_path):
    def read(value):
        if b"d" in value:
            raise KeyError(value)

    result = fuzz(parser_of(read), tmp_path, count=3)
    (failure,) = result.failures.values()
    assert (failure.count, failure.value) == (3, b"d")
    assert "test_fuzz" in failure.place or "running" in failure.place


@pytest.mark.parametrize(
    ("value", "still_fails", "smallest"),
    [
        ("xxxxxxNxxxxxxxxx", lambda value: "N" in value, "N"),
        (b"xxxxxxNxxxxxxxxx", lambda value: b"N" in value, b"N"),
        ([1, [2, "N"], 3], lambda value: "N" in repr(value), "N"),
        ({"a": 1, "b": {"c": [1, "xNx"]}}, lambda value: isinstance(value, dict) and "N" in repr(value), {"c": "N"}),
        ([deep(NESTED_DEEP), "xN"], lambda value: isinstance(value, list) and "xN" in value, ["xN"]),
    ],
)
def test_an_input_is_made_smaller_for_as_long_as_it_fails(value, still_fails, smallest):
    assert shrunk(value, still_fails) == smallest
