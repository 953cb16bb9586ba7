"""What usual clients send beside what they mean: values that ask for nothing, and answers that are sent back."""

import pytest

from tests.serve.conftest import IMAGE, chat
from tests.serve.test_refusals import refused, sent


@pytest.mark.parametrize("back", ["object", "dumped", "without what was not set", "as others have it"])
def test_an_answer_may_be_sent_back_as_it_came(client, back):
    said = client.chat.completions.create(**chat("one")).choices[0].message
    others = {"role": "assistant", "content": "two", "annotations": [], "refusal": None, "audio": None}
    turns = {"object": said, "dumped": said.model_dump(), "without what was not set": said.to_dict()}
    turn = turns.get(back, others)
    messages = [*chat("one")["messages"], turn, {"role": "user", "content": "why?"}]
    assert client.chat.completions.create(model="tiny", messages=messages, max_tokens=2).usage.completion_tokens == 2


@pytest.mark.parametrize(
    "nothing",
    [
        {"top_p": 1}, {"top_p": 1.0, "top_k": 0, "min_p": 0}, {"top_k": -1}, {"temperature": 0, "top_p": 0.9},
        {"logprobs": False, "top_logprobs": 0}, {"stream_options": {}}, {"stream_options": {"include_usage": False}},
        {"anything": None}, {"tools": [], "functions": [], "logit_bias": {}},
    ],
)  # fmt: skip
def test_a_value_that_asks_for_nothing_changes_nothing(client, served, nothing):
    status, reply = sent(served, {**chat("one two"), **nothing})
    assert status == 200, reply
    plain = client.chat.completions.create(**chat("one two"))
    assert reply["choices"][0]["message"]["content"] == plain.choices[0].message.content


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"type": "text", "text": 5}, "text"),
        ({"type": "image_url", "image_url": {"url": IMAGE, "format": "png"}}, "image_url.format"),
        ({"type": "image_url", "image_url": {"url": 5}}, "image_url.url"),
        ({"type": "image_url", "image_url": IMAGE, "text": "x"}, "text"),
    ],
)
def test_a_refused_field_of_a_part_is_named(served, part, field):
    body = {**chat("x"), "messages": [{"role": "user", "content": [part]}]}
    assert sent(served, body)[1]["error"]["param"] == f"messages.0.content.0.{field}"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_text_that_is_far_too_long_is_refused_unread(served, path, monkeypatch):
    """Tokens of many megabytes take minutes, in which nobody else's are made."""
    longest = served.owner.engine.target.executor.limits.max_length
    text = "a" * (16 * longest + 1)
    body = chat(text) if "chat" in path else {"model": "tiny", "prompt": text, "max_tokens": 2}
    monkeypatch.setattr(served.owner, "encoding", None)
    refused(served, body, 400, f"the text has {len(text):,} letters", path=path)
