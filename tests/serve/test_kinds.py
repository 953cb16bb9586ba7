"""What is written as another kind of value than its field is of: refused, never guessed at."""

import pytest

from tests.serve.conftest import chat
from tests.serve.test_refusals import refused, sent

# Fields by the kind of their values, and what looks like one and is another.
WHOLE = ("max_tokens", "max_completion_tokens", "n", "seed", "top_k", "top_logprobs")
REAL = ("temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")
YES_OR_NO = ("stream", "logprobs", "store")
TEXTS = ("model", "stop")
OTHER_KINDS = [
    *((name, value) for name in (*WHOLE, *REAL) for value in ("1", "", "1.0", True, False, [1], {}, "NaN")),
    *((name, value) for name in WHOLE for value in (1.5, 1.0, 1e300)),
    *((name, value) for name in YES_OR_NO for value in ("true", "", "yes", 1, 0, 0.0, [True])),
    *((name, value) for name in TEXTS for value in (1, True, 0.5, {})),
    ("stop", [1]),
    ("speculative", True),
    ("speculative", {"num_nodes": "3"}),
    ("speculative", {"details": 1}),
    ("speculative", {"details": "true"}),
    ("speculative", {"drafter": 1}),
    ("stream_options", {"include_usage": "true"}),
    ("stream_options", {"include_usage": 1}),
    ("stream_options", [["include_usage", True]]),
    ("messages", {"0": {"role": "user", "content": "x"}}),
]


@pytest.mark.parametrize(("name", "value"), OTHER_KINDS)
def test_a_value_of_another_kind_is_refused_and_named(served, name, value):
    body = {**chat("x", logprobs=True), name: value}
    body |= {"stream": True} if name == "stream_options" else {}
    refused(served, body, 400, name)


@pytest.mark.parametrize("value", ["1", True, 1.5])
def test_so_it_is_where_a_text_is_continued(served, value):
    body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
    for name in ("logprobs", "max_tokens", "best_of"):
        refused(served, {**body, name: value}, 400, name, path="/v1/completions")
    refused(served, {**body, "echo": 0}, 400, "echo", path="/v1/completions")


def test_a_refused_value_is_repeated_as_it_was_written(served):
    refused(served, chat("x", max_tokens="3"), 400, "max_tokens: Input should be a valid integer", '(given: "3")')
    refused(served, chat("x", stream=1), 400, "stream: ", "(given: 1)")


def test_a_number_with_a_point_may_be_whole_where_it_need_not_be(served):
    assert sent(served, chat("x", max_tokens=2, temperature=0, top_p=1, repetition_penalty=1.0))[0] == 200
