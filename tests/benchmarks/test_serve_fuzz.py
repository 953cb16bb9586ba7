"""Requests at random can be made again, and what comes back is told apart."""

import json

import pytest

from benchmarks.serve_fuzz import Found, Reply, answer_of, is_error, summary
from benchmarks.serve_fuzz_requests import KINDS, NUM_ORDINARY, Sent, made, ordinary

ERROR = json.dumps({"error": {"message": "x", "type": "x", "param": None, "code": None}}).encode()


def test_a_request_is_the_same_for_its_seed_and_number():
    first = [made(3, number) for number in range(60)]
    assert first == [made(3, number) for number in range(60)]
    assert len({sent.kind for sent in first}) == len(KINDS)
    assert first != [made(4, number) for number in range(60)]


def test_ordinary_requests_differ():
    assert len({json.dumps(ordinary(number)) for number in range(NUM_ORDINARY)}) == NUM_ORDINARY


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"choices": [{"index": 0, "message": {"content": "ab"}}]}', '{"0": "ab"}'),
        (b'{"choices": [{"index": 0, "text": "ab"}, {"index": 1, "text": "c"}]}', '{"0": "ab", "1": "c"}'),
        (
            b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
            b'data: {"choices": [{"index": 0, "delta": {"content": "b"}}]}\n\ndata: [DONE]\n\n',
            '{"0": "ab"}',
        ),
        (ERROR, ""),
        (b"Internal Server Error", ""),
    ],
)
def test_answers_are_read(body, answer):
    assert answer_of(body) == answer
    assert is_error(body) == (body == ERROR)


@pytest.mark.parametrize(
    ("kind", "status", "body", "fault"),
    [
        ("fields", "500", ERROR, "5xx"),
        ("fields", "501", ERROR, "5xx"),
        ("fields", "503", ERROR, None),
        ("fields", "400", ERROR, None),
        ("fields", "silent", b"", "silence"),
        ("ordinary", "200", b'{"choices": [{"index": 0, "text": "ab"}]}', None),
        ("ordinary", "200", b'{"choices": [{"index": 0, "text": "b"}]}', "wrong answer"),
        ("ordinary", "400", ERROR, "wrong answer"),
        ("ordinary", "closed", b"", "wrong answer"),
        ("ordinary", "429", ERROR, None),
    ],
)
def test_faults_are_counted_and_limits_are_none(kind, status, body, fault):
    found = Found(0)
    found.add(7, Sent(kind, (b"",), ordinary=0 if kind == "ordinary" else None), Reply(status, body), ['{"0": "ab"}'])
    assert dict(found.num_faults) == ({fault: 1} if fault else {})
    assert [one["number"] for one in found.faults] == ([7] if fault else [])


def test_growth_is_from_the_second_sixth_to_the_last():
    found = Found(0, memory=[(seconds, 100.0 + seconds / 30) for seconds in range(0, 3601, 30)])
    told = summary(found, 3600.0, "Traceback (most recent call last):\n  x\nWARNING: 12\nWARNING: 34\n")
    assert told["memory_growth_mib"] == 80.0
    assert told["tracebacks"] == 1
    assert told["log_lines"]["WARNING: 0"] == 2
