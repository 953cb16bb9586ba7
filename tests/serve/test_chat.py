"""The official client of OpenAI's API, and what it gets."""

import asyncio
import json
from urllib.request import Request, urlopen

import openai
import pytest

from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.pace import Pace
from seeahead.families import family_for
from seeahead.prompt import make_prompt
from seeahead.serve.prompts import chat_prompt
from seeahead.serve.schema import ChatBody
from seeahead.serve.settings import settings_from
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, random_tree, tiny_model
from tests.free_costs import auto
from tests.lossless.cases import language
from tests.serve.conftest import IMAGE, KEY, PATIENCE, chat, serving
from tests.serve.test_refusals import sent
from tests.serve.test_streams import counted


def test_an_answer_is_the_one_that_the_library_gives(client, engine):
    reply = client.chat.completions.create(**chat(IMAGE, "What is this?"))
    image = {"type": "image", "image": IMAGE}
    text = {"type": "text", "text": "What is this?"}
    alone = engine.generate(make_prompt([{"role": "user", "content": [image, text]}]), max_new_tokens=12)
    assert reply.choices[0].message.content == alone.text
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 12
    assert reply.usage.prompt_tokens == alone.generation.num_prompt_tokens
    figures = reply.model_extra["metrics"]["speculative_decoding"]
    details = reply.usage.completion_tokens_details
    assert figures["num_draft_tokens"] == details.accepted_prediction_tokens + details.rejected_prediction_tokens
    assert figures["num_spec_steps"] + figures["num_accepted_draft_tokens"] >= 11


@pytest.mark.parametrize("drafter", ["none", "lookup", "auto", {"drafter": "lookup", "num_nodes": 2, "details": True}])
def test_the_drafter_changes_no_answer(client, drafter):
    plain = client.chat.completions.create(**chat("one two one two"))
    other = client.chat.completions.create(**chat("one two one two"), extra_body={"speculative": drafter})
    most = drafter["num_nodes"] if isinstance(drafter, dict) else None
    assert other.model_extra["metrics"]["speculative_decoding"]["num_spec_tokens"] == most
    assert plain.choices[0].message.content == other.choices[0].message.content


def test_a_stream_adds_up_to_the_answer_and_tells_usage_at_the_end(client):
    asked = chat(IMAGE, "What is this?", temperature=0.9, seed=3)
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(
            **asked,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"speculative": {"details": True}},
        )
    )
    said = [chunk for chunk in chunks if chunk.choices]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in said][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    runs = [run for chunk in said for run in (chunk.model_extra.get("seeahead") or {}).get("tokens", [])]
    assert "".join(run["text"] for run in runs) == whole.choices[0].message.content
    assert sum(run["num_tokens"] for run in runs) == 12
    assert {run["source"] for run in runs} <= {"target", "lookup"}
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_answers_have_seeds_of_their_own(client):
    asked = chat("Tell me something.", temperature=1.0)
    several = client.chat.completions.create(**asked, seed=7, n=3)
    single = [client.chat.completions.create(**asked, seed=7 + number) for number in range(3)]
    assert [one.index for one in several.choices] == [0, 1, 2]
    assert [one.message.content for one in several.choices] == [one.choices[0].message.content for one in single]
    assert several.usage.completion_tokens == 36


def test_without_a_seed_answers_differ(client):
    asked = chat("Tell me something.", temperature=1.5)
    assert len({client.chat.completions.create(**asked).choices[0].message.content for _ in range(3)}) > 1


def test_log_probabilities_are_those_of_the_target(client):
    reply = client.chat.completions.create(**chat("one two"), logprobs=True, top_logprobs=3)
    said = reply.choices[0].logprobs.content
    assert len(said) == 12
    for token in said:
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)
        assert bytes(token.bytes).decode() == token.token or (not token.bytes and token.token.startswith("<"))
        assert len(token.top_logprobs) == 3
    assert b"".join(bytes(token.bytes) for token in said).decode() == reply.choices[0].message.content


def test_a_text_is_continued_as_it_is(client):
    reply = client.completions.create(model="tiny", prompt="one two three", max_tokens=8, logprobs=1)
    assert reply.choices[0].text
    assert reply.choices[0].logprobs.text_offset[0] == 0
    streamed = client.completions.create(model="tiny", prompt=["one two three"], max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == reply.choices[0].text


def test_stop_texts_end_an_answer(client):
    whole = client.chat.completions.create(**chat("one two")).choices[0].message.content
    stop = whole[4:6]
    ended = client.chat.completions.create(**chat("one two"), stop=[stop]).choices[0]
    assert ended.message.content == whole[: whole.index(stop)]
    assert ended.finish_reason == "stop"


def test_roles_of_tools_and_developers_are_read(client):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"where": "Rome"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    reply = client.chat.completions.create(model="tiny", messages=messages, max_tokens=4)
    assert reply.usage.completion_tokens == 4


def test_the_result_of_a_tool_names_the_tool():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "tool_calls": [call, {"id": "c2", "function": "odd"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "warm"},
        {"role": "user", "content": "And now?"},
    ]
    prompt = chat_prompt(ChatBody(model="tiny", messages=turns), settings_from(model_name="tiny"))
    # What the tools say, and what the user says to it, is one turn: many templates want turns to alternate.
    assert [message.role for message in prompt.messages] == ["user", "assistant", "user"]
    assert prompt.messages[1].text.startswith(json.dumps(call["function"]))
    results = "Result of the tool weather:\nsunny\n\nResult of the tool c2:\nwarm"
    assert prompt.messages[2].text == f"{results}\n\nAnd now?"
    assert [len(message.parts) for message in prompt.messages] == [1, 1, 1], "some templates read the first text alone"


def test_texts_beside_one_another_are_one():
    parts = [{"type": "text", "text": word} for word in ("one", "two")]
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    turns = [{"role": "system", "content": parts}, {"role": "user", "content": [*parts, image, *parts]}]
    first, second = chat_prompt(ChatBody(model="tiny", messages=turns), settings_from(model_name="tiny")).messages
    assert first.parts == ("one\ntwo",)
    assert [part if isinstance(part, str) else "image" for part in second.parts] == ["one\ntwo", "image", "one\ntwo"]


@pytest.mark.parametrize(("skips", "shown"), [(None, False), (True, False), (False, True)])
def test_special_tokens_are_shown_where_they_are_asked_for(skips, shown):
    body = ChatBody(**chat("one"), skip_special_tokens=skips)
    assert [*body.refused()] == []
    assert body.settings().get("special_tokens", False) == shown


def test_a_follow_up_reads_only_what_is_new(client, engine):
    first = chat(IMAGE, "What is here to be seen in the image?")
    said = client.chat.completions.create(**first)
    turn = {"role": "assistant", "content": said.choices[0].message.content}
    messages = [*first["messages"], turn, {"role": "user", "content": "Why?"}]
    again = client.chat.completions.create(model="tiny", messages=messages, max_tokens=9)
    assert again.usage.prompt_tokens_details.cached_tokens >= said.usage.prompt_tokens
    assert again.choices[0].message.content == engine.generate(make_prompt(messages), max_new_tokens=9).text


def test_another_image_is_not_taken_for_the_one_before(served, client):
    from PIL import Image

    from tests.serve.conftest import data_uri

    other = data_uri(Image.new("RGB", (40, 30), (200, 30, 30)))
    client.chat.completions.create(**chat(IMAGE, "What is this thing?"))
    reply = client.chat.completions.create(**chat(other, "What is this thing?"))
    assert reply.usage.prompt_tokens_details.cached_tokens == 0


def answered_at_once(served, asked):
    async def all_at_once():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client:
            replies = await asyncio.gather(*(client.chat.completions.create(**one) for one in asked))
            return [reply.choices[0].message.content for reply in replies]

    return asyncio.run(all_at_once())


ASKED = [
    chat(*([IMAGE] if number % 2 else []), f"What is {number}?", temperature=0.8 * (number % 3), seed=number)
    for number in range(24)
]


def test_many_clients_at_once_get_what_each_gets_alone(served, client):
    assert answered_at_once(served, ASKED) == [
        client.chat.completions.create(**one).choices[0].message.content for one in ASKED
    ]


def test_many_clients_at_once_get_the_same_where_one_drafter_decides_over_all(client, monkeypatch):
    monkeypatch.setattr(Pace, "_may_draft", lambda *_, **__: True)
    alone = [client.chat.completions.create(**one).choices[0].message.content for one in ASKED]
    drafters = LookupDrafter(min_match=1), language(), LanguageDrafter(Target.of(family_for(tiny_model("llava"))))
    with serving(more=lambda _: auto(*drafters)) as served:
        by_auto = [{**one, "extra_body": {"speculative": "auto"}} for one in ASKED]
        assert answered_at_once(served, by_auto) == alone
        assert counted(served, "vllm:spec_decode_num_draft_tokens_total") > 100


def test_whoever_names_no_drafter_has_the_default_one_whatever_else_is_served():
    with serving(more=lambda _: ScriptedDrafter("auto", random_tree())) as served, served.client() as client:
        own = client.models.retrieve("tiny").model_extra["seeahead"]
        assert own["default_drafter"] == "lookup"
        for asked, name in (
            ({}, "lookup"),
            ({"num_nodes": 2}, "lookup"),
            ("auto", "auto"),
            ({"drafter": None}, "lookup"),
        ):
            reply = client.chat.completions.create(**chat("one two"), extra_body={"speculative": asked})
            assert reply.model_extra["metrics"]["drafter"] == name


def test_models_and_monitoring(served, client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    own = client.models.retrieve("tiny").model_extra["seeahead"]
    assert own["drafters"] == ["lookup", "none"]
    assert (own["executor"], own["precision"]) == ("transformers", "float32")
    assert own["max_image_bytes"] == own["max_body_bytes"] == 1 << 20
    for path in ("/health", "/ready", "/version", "/metrics", "/openapi.json"):
        with urlopen(served.url + path, timeout=PATIENCE) as reply:
            assert reply.status == 200
            text = reply.read().decode()
    assert "/v1/chat/completions" in json.loads(text)["paths"]
    with urlopen(Request(served.url + "/metrics"), timeout=PATIENCE) as reply:
        metrics = reply.read().decode()
    for name in ("spec_decode_num_drafts", "spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens"):
        assert f"vllm:{name}_total" in metrics


@pytest.mark.parametrize("detail", ["auto", "low", "high", None])
def test_the_detail_of_an_image_has_no_effect(served, detail):
    body = chat(IMAGE, "what", max_tokens=4)
    plain = sent(served, body)[1]["choices"]
    body["messages"][0]["content"][0]["image_url"]["detail"] = detail
    assert sent(served, body)[1]["choices"] == plain


def test_a_seed_of_minus_one_is_none(served):
    body = chat("what", temperature=1.5, seed=-1, max_tokens=30)
    assert len({sent(served, body)[1]["choices"][0]["message"]["content"] for _ in range(4)}) > 1
