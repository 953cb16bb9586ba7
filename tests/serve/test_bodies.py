"""Bodies of requests: what is none, and what would hold up everybody else while it is checked."""

import json

import pytest
from pydantic import ValidationError

from seeahead.serve import bodies
from seeahead.serve.bodies import _parsed
from seeahead.serve.errors import ApiError
from seeahead.serve.owner import OwnerLimits
from seeahead.serve.schema import ChatBody
from tests.serve.conftest import chat, serving
from tests.serve.test_refusals import refused, sent


def test_a_body_of_very_many_values_is_refused_before_it_is_read():
    for value in (b"[]", b'""', rb'"\","'):
        with pytest.raises(ApiError, match="more than 100,000 values"):
            _parsed(b'{"x": [' + value + (b"," + value) * 100_000 + b"]}")
    text = '1,"[{\\' * 100_000
    assert _parsed(json.dumps({"x": text}).encode()) == {"x": text}


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": [{}] * 1000},
        {"role": "user", "content": [{"type": "text", "text": "x", **dict.fromkeys(map(str, range(1000)), 1)}]},
        {"role": "user", "content": "x", **dict.fromkeys(map(str, range(1000)), 1)},
    ],
)
def test_of_very_many_faults_few_are_looked_at(turn):
    """To tell them all takes seconds, in which nobody else is answered."""
    with pytest.raises(ValidationError) as caught:
        ChatBody.model_validate({"model": "tiny", "messages": [turn] * 90})
    assert caught.value.error_count() < 5


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "not JSON"),
        (b"\xff\xfe{", 400, "not UTF-8"),
        (b"[1]", 400, "not a JSON object"),
        (b'{"model": NaN}', 400, "no number"),
        (b'{"model": "a", "model": "b"}', 400, "twice"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, 400, "nested too deeply"),
        (b'{"model": "\\ud800"}', 400, ""),
        (b'{"model": ' + b"9" * 5000 + b"}", 400, ""),
        (b" " * (1 << 20) + b"{}", 413, "larger than"),
    ],
)
def test_bodies_that_are_none(served, body, status, told):
    refused(served, body, status, told)


def test_a_large_body_is_read_without_its_wide_letters(monkeypatch):
    """One of them, decoded as it is, makes all of it four times as large; images beside a question are ASCII."""
    monkeypatch.setattr(bodies, "_LARGE", 1000)
    monkeypatch.setattr(bodies, "_MOST_WIDE", 24)
    for text in ("ü😀", 'a"ü\\', "\u2028é😀"):
        body = {"x": "a" * 2000, "y": [text, {text: 1}]}
        data = json.dumps(body, ensure_ascii=False).encode()
        assert _parsed(data) == body
    with pytest.raises(ApiError, match="a body of more than 1,000 bytes may have 24 bytes of letters outside of ASCII"):
        _parsed(json.dumps({"x": "a" * 2000 + "😀" * 7}, ensure_ascii=False).encode())
    with pytest.raises(ApiError, match="not UTF-8"):
        _parsed(b'{"x": "' + b"a" * 2000 + b"\xff" + b'"}')


def test_one_body_alone_may_take_any_room_however_wide_it_is():
    with serving(OwnerLimits(image_bytes=1 << 20), max_body_bytes=8 << 20) as served:
        body = {**chat("one"), "metadata": {"x": "a" * (1 << 20) + "😀"}}
        assert sent(served, body)[0] == 200
        assert sent(served, body)[0] == 200  # what the first took is given up


def test_what_wide_texts_take_counts():
    """Escapes in ASCII make a text as wide."""
    long = "x" * 100_000
    assert 300_000 < bodies._further_bytes({"a": [f"{long}😀"], "b": long, "c": "😀"}) < 301_000
    assert 300_000 < bodies._further_bytes({"a": {f"{long}😀": 1}}) < 301_000
