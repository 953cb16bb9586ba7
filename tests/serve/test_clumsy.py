"""What usual clients send beside what they mean: values that ask for nothing, and answers that are sent back."""

from unittest.mock import ANY
from urllib.request import urlopen

import pytest

from seeahead.serve.schema import ChatBody
from tests.serve.conftest import IMAGE, PATIENCE, chat
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
        {"stream_options": {"include_usage": None}},
        {"stop_token_ids": [], "bad_words": [], "chat_template_kwargs": {}, "extra_body": {}},
        {"ignore_eos": False, "min_tokens": 0, "skip_special_tokens": True, "length_penalty": 1.0, "echo": False,
         "use_beam_search": False, "include_stop_str_in_output": False, "add_generation_prompt": True, "best_of": 1},
        {"prompt_cache_key": "a", "prompt_cache_retention": "24h", "prompt_cache_options": {"ttl": "1h"}},
        {"temperature": 1e-8}, {"reasoning": {"effort": None}, "cache_control": {"type": "ephemeral"}},
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
        ({"type": "text", "text": "x", "cached": {"type": "ephemeral"}}, "cached"),
        ({"type": "text", "text": 5}, "text"),
        ({"type": "image_url", "image_url": {"url": IMAGE, "alt": "png"}}, "image_url.alt"),
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


@pytest.mark.parametrize(
    "message",
    [
        {"type": "text"}, {"type": "message"}, {"cache_control": {"type": "ephemeral"}},
        {"provider_specific_fields": {"refusal": None}},
        {"metadata": {"title": None, "tags": [None, {}]}},
    ],
)  # fmt: skip
def test_what_clients_put_beside_a_message_changes_nothing(served, message):
    plain = sent(served, chat("one two"))[1]["choices"]
    body = {**chat(), "messages": [{"role": "user", "content": "one two", **message}]}
    assert sent(served, body) == (200, ANY)
    assert sent(served, body)[1]["choices"] == plain


def test_hints_for_caches_of_providers_change_nothing(served):
    hints = {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"mode": "explicit"}}
    parts = [{"type": "text", "text": "one", **hints}]
    parts.append({"type": "image_url", "image_url": {"url": IMAGE, "format": "image/png"}, **hints})
    body = {**chat(), "messages": [{"role": "user", "content": parts}]}
    assert sent(served, body)[1]["choices"] == sent(served, chat("one", IMAGE))[1]["choices"]


def test_something_that_is_asked_for_deep_inside_is_refused(served):
    body = {**chat(), "messages": [{"role": "user", "content": "one", "metadata": {"a": [{"b": 0}]}}]}
    assert sent(served, body)[1]["error"]["param"] == "messages.0.metadata"


def test_an_answer_may_go_on_behind_the_token_that_ends_it(engine, monkeypatch):
    """Which those who measure servers ask for, so that all answers have one length."""
    first = engine.generate("one two", max_new_tokens=1).token_ids[0]
    monkeypatch.setattr(engine.target.family.model.generation_config, "eos_token_id", first)
    for given, number in (({}, 1), ({"ignore_eos": False}, 1), ({"ignore_eos": True}, 12)):
        settings = ChatBody.model_validate({**chat("one two"), **given}).settings()
        assert len(engine.generate("one two", max_new_tokens=12, **settings).token_ids) == number


def test_a_text_may_come_as_its_tokens(served):
    ids = served.owner.engine.family.tokenizer("one two")["input_ids"]
    wanted = {"model": "tiny", "max_tokens": 8}
    told = [
        sent(served, {**wanted, "prompt": prompt}, path="/v1/completions")[1]["choices"]
        for prompt in ("one two", ["one two"], ids, [ids])
    ]
    assert told == [told[0]] * 4
    most = served.owner.engine.family.vocab_size
    refused(served, {**wanted, "prompt": [most]}, 400, f"token {most} is none of this model's", path="/v1/completions")
    for several in (["a", "b"], [[1], [2]]):
        refused(served, {**wanted, "prompt": several}, 400, "2 prompts are given", path="/v1/completions")
    for wrong in ([], [[]], [1, "a"], [-1], [True], [1.5], [2**31]):
        assert sent(served, {**wanted, "prompt": wrong}, path="/v1/completions")[0] == 400


def test_every_chunk_tells_what_was_used_so_far_where_that_is_asked_for(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.chat.completions.create(**chat("one two"), stream=True, stream_options=options))
    said = [chunk.usage.completion_tokens for chunk in chunks]
    assert said == sorted(said)
    assert (said[0], said[-1]) == (0, 12)
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {chunks[-1].usage.prompt_tokens}
    assert all(chunk.usage.total_tokens == chunk.usage.prompt_tokens + said[n] for n, chunk in enumerate(chunks))


@pytest.mark.parametrize("path", ["/health/", "/ready/", "/metrics/", "/version/", "/docs/"])
def test_a_slash_at_the_end_of_what_monitors_ask_changes_nothing(served, path):
    with urlopen(served.url + path, timeout=PATIENCE) as reply:
        assert (reply.status, reply.url) == (200, served.url + path)


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/completions/"])
def test_a_slash_at_the_end_changes_nothing(served, path):
    body = chat("one") if "chat" in path else {"model": "tiny", "prompt": "one", "max_tokens": 2}
    assert sent(served, body, path=path)[0] == 200
