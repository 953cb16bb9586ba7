"""Bodies of requests: what is none, and what would hold up everybody else while it is checked."""

import json

import pytest
from pydantic import ValidationError

from seeahead.serve import bodies
from seeahead.serve.bodies import _parsed
from seeahead.serve.errors import ApiError
from seeahead.serve.schema import ChatBody
from tests.serve.test_refusals import refused


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


def test_a_large_body_of_wide_letters_is_refused_before_it_is_read(monkeypatch):
    """One such letter makes a whole text four times as large."""
    monkeypatch.setattr(bodies, "_MOST_WIDE", 1000)
    told = "a body with letters outside of ASCII may have 1,000 bytes; write images as base64"
    with pytest.raises(ApiError, match=told):
        _parsed(b'{"x": "' + b"a" * 1000 + "😀".encode() + b'"}')
    assert _parsed(b'{"x": "' + b"a" * 2000 + b'"}') == {"x": "a" * 2000}


def test_what_wide_texts_take_counts():
    """Escapes in ASCII make a text as wide."""
    wide = {"a": ["x" * 100_000 + "😀"], "b": "x" * 100_000, "c": "😀"}
    assert 300_000 < bodies._further_bytes(wide) < 301_000
