"""Values from files: strict types, ranges, keys; whatever is wrong is one line that names it and what is allowed."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import torch

from seeahead.checked import (
    checked,
    flag,
    is_folder,
    matching,
    one_of,
    read_json,
    real,
    several,
    shown_value,
    whole,
)
from seeahead.errors import InputError, ModelError


@dataclass(frozen=True)
class Settings:
    """One field of every kind."""

    count: Annotated[int, whole(1, 8)]
    share: Annotated[float, real(0, 1, above=True)] = 0.5
    wanted: Annotated[bool, flag()] = True
    loss: Annotated[str, one_of(("tvd++", "cross-entropy"))] = "tvd++"
    name: Annotated[str, matching("^[a-z]+$", "small letters")] = "a"
    data: Annotated[tuple[Annotated[str, one_of(("text", "answers"))], ...], several("text, answers")] = ("text",)
    weights: Annotated[dict[str, Annotated[float, real(0, 10)]], several("numbers by name", 0)] = None
    most: Annotated[int | None, whole(0, 5)] = None


def test_right_values_become_the_class_and_the_rest_is_its_own() -> None:
    read = checked(Settings, {"count": 3, "share": 1, "data": ["answers", "text"], "weights": {"x": 2}}, "f")
    assert read == Settings(3, 1.0, data=("answers", "text"), weights={"x": 2.0})
    assert type(read.share) is float


NO_COUNT = ["3", True, 0, 9, 10**400, 1.0, math.nan, None, [], {}, "\ud800", int("f" * 9000, 16)]


@pytest.mark.parametrize("value", NO_COUNT, ids=range(len(NO_COUNT)))
def test_what_is_no_whole_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^f: count is .{1,90}; allowed: a whole number from 1 to 8$"):
        checked(Settings, {"count": value}, "f")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(("share", value, "a number above 0 up to 1") for value in (0, -1, 2, "1", True, math.nan, math.inf, 10**400)),
        *(("wanted", value, "true or false") for value in (0, 1, "true", None, [])),
        *(("loss", value, r"tvd\+\+, cross-entropy") for value in ("tvd+", "", "tvd++\n", 3, ["tvd++"], "\ud800")),
        *(("name", value, "small letters") for value in ("", "A", "../a", "a\n", "a\0", 3)),
        *(("data", value, "text, answers") for value in ("text", 3, [], ["text", "x"], [3], {"text": 1}, [["text"]])),
        *(("weights", value, "numbers by name") for value in (3, [1], {"x": "y"}, {"x": -1}, {"x": math.nan}, "x")),
        *(("most", value, "a whole number from 0 to 5") for value in (-1, True, "3", 6)),
    ],
)
def test_every_kind_of_field_says_what_it_takes(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"^f: {key}.* is .*; allowed: {message}$"):
        checked(Settings, {"count": 1, key: value}, "f")


def test_missing_and_unknown_keys_are_named() -> None:
    with pytest.raises(InputError, match="f lacks count; give it a whole number from 1 to 8"):
        checked(Settings, {}, "f")
    with pytest.raises(InputError, match=r"f has unknown 'x\\n', z; allowed here: count, data"):
        checked(Settings, {"count": 1, "z": 1, "x\n": 2}, "f")
    assert checked(Settings, {"count": 1, "z": 1}, "f", is_open=True) == Settings(1)


@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {1: 2}])
def test_what_is_no_table_is_refused_as_the_error_asked_for(value: object) -> None:
    with pytest.raises(ModelError, match=r"^f is .*; allowed: a table of names and values$"):
        checked(Settings, value, "f", ModelError)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b'{"a": "\xe9"}', "is not UTF-8 text"),
        (b"[]", "not an object"),
        (b"3", "not an object"),
        (b'"x"', "not an object"),
        (b"null", "not an object"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b" " * (9 << 20), "larger than"),
    ],
)
def test_a_file_that_holds_no_object_is_one_line(tmp_path: Path, written: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(written)
    with pytest.raises(ModelError, match=f"^'config.json' in '.*' .*{message}.*; get it again$"):
        read_json(tmp_path / "config.json", "get it again", ModelError)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(tmp_path / "config.json", "", ModelError) == {"a": 1}


def test_a_folder_or_nothing_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    places = (tmp_path, tmp_path / "none", tmp_path / ("x" * 5000))
    for path, said in zip(places, ("is not a regular file", "is missing", "cannot be read"), strict=True):
        with pytest.raises(ModelError, match=said):
            read_json(path, "get it again", ModelError)


def test_whatever_is_shown_is_short_and_on_one_line() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("\n\x1b[31m" * 999, int("f" * 9000, 16), deep, {"a": {"b": {"c": {}}}}, b"x" * 999, 2.5):
        assert len(shown_value(value)) < 120
        assert shown_value(value).isprintable()
    while deep:  # taken apart: freeing it at once would need as many calls
        (deep,) = deep


@pytest.mark.parametrize("name", ["x" * 5000, "\0", "\ud800", "", "no/such"])
def test_what_cannot_be_a_path_is_no_folder(name: str, tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / name / "below")
    assert name == "" or not is_folder(name)


@pytest.mark.parametrize(
    "value",
    [10**5000, "x" * 5000, "two\nlines", "\ud800", [["\x1b"]] * 50, torch.zeros(9, 9), {"a": {"b": {"c": 1}}}],
    ids=type,
)
def test_a_value_is_shown_on_one_short_line(value: object) -> None:
    assert shown_value(value).isprintable()
    assert len(shown_value(value)) < 500
