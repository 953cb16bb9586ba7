"""What a server refuses, and how: in the form of OpenAI's API, on one line, with nothing of this machine in it."""

import base64
import http.client
import json
import logging
import struct
import zlib
from contextlib import closing
from urllib.parse import urlsplit

import openai
import pytest
from PIL import Image

from seeahead.cli import main
from seeahead.errors import DrafterError, ImageError, InputError
from seeahead.images import OpenedImage
from seeahead.serve import prompts
from seeahead.serve.app import owner_of
from seeahead.serve.errors import ApiError
from seeahead.serve.schema import ChatBody
from seeahead.serve.settings import settings_from
from tests.serve.conftest import IMAGE, KEY, PATIENCE, chat, data_uri, serving

CHAT = "/v1/chat/completions"
# A PNG of 60,000 x 60,000 pixels, by its head; its pixels would take 10 GB.
_HEAD = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
_PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _HEAD + struct.pack(">I", zlib.crc32(_HEAD))
BOMB = "data:image/png;base64," + base64.b64encode(_PNG).decode()


def sent(served, body, path=CHAT, method="POST", **headers):
    """Status and JSON of a raw request."""
    given = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)) as connection:
        connection.request(method, path, data, given)
        with connection.getresponse() as reply:
            return reply.status, json.loads(reply.read())


def refused(served, body, status, *told, **how):
    found, reply = sent(served, body, **how)
    assert found == status, reply
    error = reply["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert len(error["message"]) < 500
    for words in told:
        assert words in error["message"]
    assert KEY not in json.dumps(reply)


def with_image(url):
    part = {"type": "image_url", "image_url": {"url": url}}
    return {**chat("x"), "messages": [{"role": "user", "content": [part, {"type": "text", "text": "x"}]}]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tools": [{"type": "function"}]}, "'tools' is not done here"),
        ({"response_format": {"type": "json_object"}}, "'response_format'"),
        ({"modalities": ["audio"]}, "'modalities'"),
        ({"logit_bias": {"5": 1}}, "'logit_bias'"),
        ({"frequency_penalty": 0.5}, "'frequency_penalty'"),
        ({"what\nis": 1}, "is not done here"),
        ({"n": 9}, "n is 9; at most 8"),
        ({"n": 0}, "n: "),
        ({"max_tokens": 201}, "max_tokens is 201; at most 200"),
        ({"max_tokens": None, "max_completion_tokens": 201}, "max_completion_tokens is 201; at most 200"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x" * 1001]}, "stop.0: String should have at most 1000 characters"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"speculative": "no\nbody" * 20}, "there is no drafter 'no\\nbodyno"),
        ({"speculative": "nobody"}, "allowed are auto, lookup, none"),
        ({"speculative": {"drafter": "lookup", "depth": 3}}, "speculative"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user"}]}, "a user message has no content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages.0.content.0: Input tag 'input_audio'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0: a text part has no text",
        ),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: "),
        ({"store": True}, "'store' is not done here"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "does not end with a user message"),
        ({"messages": "x"}, "messages"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_wrong_fields_are_named(served, changes, told):
    refused(served, {**chat("x"), **changes}, 400, told)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tools": [{}]}, "tools"),
        ({"n": 0}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages.0.content.0.image_url.url"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"model": "gpt"}, "model"),
        ({"speculative": "nobody"}, "speculative"),
        ({"max_tokens": None, "max_completion_tokens": 201}, "max_completion_tokens"),
    ],
)  # fmt: skip
def test_a_refusal_says_which_field_it_is_about(served, changes, param):
    assert sent(served, {**chat("x"), **changes})[1]["error"]["param"] == param


@pytest.mark.parametrize("prompt", [[[1], [2]], ["a", "b"], "", "\x00<image>", None, {}])
def test_only_one_text_is_continued(served, prompt):
    refused(served, {"model": "tiny", "prompt": prompt, "max_tokens": 2}, 400, "prompt", path="/v1/completions")


def test_the_official_client_knows_refusals_by_their_kind(served, client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**{**chat("x"), "temperature": 3})
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**{**chat("x"), "model": "gpt"})
    assert caught.value.code == "model_not_found"
    with served.client("sk-wrong") as other, pytest.raises(openai.AuthenticationError) as caught:
        other.models.list()
    assert "sk-wrong" not in str(caught.value)


def test_an_empty_key_is_none():
    """It would let in everybody who sends one."""
    with pytest.raises(InputError, match="--api-key"):
        settings_from(model_name="tiny", api_keys=("",))


def test_keys_are_in_no_printed_settings():
    assert KEY not in repr(settings_from(model_name="tiny", api_keys=(KEY,)))


def test_what_asks_for_nothing_is_accepted(served):
    nothing = {"tools": [], "tool_choice": "none", "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}}
    harmless = {"user": "me", "metadata": {"a": "b"}, "store": False, "response_format": {"type": "text"}}
    assert sent(served, {**chat("x"), **nothing, **harmless, "max_tokens": 2})[0] == 200


def test_other_refusals(served):
    refused(served, chat("x"), 415, "send application/json", **{"content-type": "text/plain"})
    refused(served, chat("x"), 415, "send the body as it is", **{"content-encoding": "gzip"})
    refused(served, {**chat("x"), "model": "gpt"}, 404, "no model 'gpt'")
    refused(served, {}, 404, "there is no '/v1/nope'", path="/v1/nope")
    refused(served, {}, 404, "there is no '//v1/a b' here", path="//v1/a%20b")
    refused(served, {}, 405, "not done here", path="/v1/models")
    refused(served, {}, 404, "no model", path="/v1/models/other", method="GET")


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer \u00e9"])
def test_a_key_is_asked_for(served, key):
    refused(served, chat("x"), 401, "API key", authorization=key.encode("latin-1"))


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "http://127.0.0.1:1/x.png",
        "https://example.com/x.png",
        "ftp://example.com/x.png",
        "",
        "x" * 5000,
        "data:image/png;base64,AAAA",
        "data:text/html,<script>",
        "data:image/png;base64",
        pytest.param(BOMB, id="bomb"),
    ],
)
def test_addresses_of_images_that_are_not_read(served, url):
    refused(served, with_image(url), 400)


def test_files_are_read_below_the_allowed_folder_alone(tmp_path):
    folder, outside = tmp_path / "images", tmp_path / "outside.png"
    folder.mkdir()
    for path in (folder / "a b.png", outside):
        path.write_bytes(base64.b64decode(IMAGE.partition(",")[2]))
    (folder / "link.png").symlink_to(outside)
    with serving(image_folder=folder) as served:
        assert sent(served, with_image(f"file://{folder}/a%20b.png"))[0] == 200
        (folder / "broken.png").write_bytes(b"x")
        (folder / "named.png").symlink_to(folder / "broken.png")
        refused(served, with_image(f"file://{folder}/named.png"), 400, "named.png' ")  # as it was given
        for url in (f"file://{folder}/../outside.png", f"file://{folder}/%2e%2e/outside.png", f"file://{outside}",
                    f"file://{folder}/link.png", f"file://{folder}/none.png", f"file://{folder}",
                    f"file://elsewhere{folder}/a%20b.png", "file://%00"):  # fmt: skip
            refused(served, with_image(url), 400)


def test_private_addresses_are_not_fetched_even_where_addresses_are_allowed():
    with serving(allow_urls=True) as served:
        for host in ("127.0.0.1", "[::1]", "localhost", "0x7f.1", "2130706433", "169.254.169.254", "10.0.0.1"):
            refused(served, with_image(f"http://{host}/x.png"), 400)


def test_too_many_images(served):
    refused(served, chat(*[IMAGE] * 17, "x"), 400, "hold 17 images; at most 16")


def test_pixels_have_a_limit_of_the_server_own():
    with serving(max_pixels=1199) as served:
        refused(served, with_image(IMAGE), 400, "has 40x30 = 1,200 pixels, the limit is 1,199")


def test_of_images_that_are_too_large_together_none_is_decoded(monkeypatch):
    """A few kilobytes each may be 200 megabytes once they are decoded."""
    monkeypatch.setattr(OpenedImage, "load", lambda self: pytest.fail("an image was decoded"))
    body = ChatBody(**chat(*[data_uri(Image.new("RGB", (300, 200)))] * 8, "x"))
    with pytest.raises(ImageError, match="480,000 pixels together, the limit is 262,144"):
        prompts.chat_prompt(body, settings_from(model_name="tiny", image_bytes=1 << 20))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_prompt_beyond_the_context_is_refused_before_it_waits(served, path, stream):
    longest = served.owner.engine.target.executor.limits.max_length
    text = "one " * longest
    body = chat(text) if path == CHAT else {"model": "tiny", "prompt": text}
    status, reply = sent(served, {**body, "stream": stream}, path=path)
    assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")
    assert reply["error"]["param"] == ("messages" if path == CHAT else "prompt")
    assert f"maximum context length is {longest}" in reply["error"]["message"]


def test_an_answer_that_takes_too_long_ends():
    with serving(timeout_seconds=1e-6) as served:
        refused(served, chat("x", max_tokens=200), 504, "took longer")
        assert served.owner.engine is not None


def test_after_closing_nothing_is_taken_on():
    with serving() as served:
        served.owner.close()
        refused(served, chat("x"), 503, "shutting down")
        assert sent(served, b"", path="/ready", method="GET")[0] == 503
        assert sent(served, b"", path="/health", method="GET")[0] == 200


def test_a_fault_of_the_server_is_not_shown(served, monkeypatch, caplog):
    async def broken(asked):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(served.owner, "ask", broken)
    with caplog.at_level(logging.ERROR):
        status, reply = sent(served, chat("x"))
    assert status == 500
    assert "secret" not in json.dumps(reply)
    assert KEY not in caplog.text


def test_a_model_that_fails_is_asked_again_by_the_next(served, monkeypatch):
    executor = served.owner.engine.target.executor
    monkeypatch.setattr(executor, "prefill", lambda *_: 1 / 0)
    refused(served, chat("another question"), 500, "ask again")
    monkeypatch.undo()
    assert sent(served, chat("another question"))[0] == 200


def test_what_a_drafter_does_wrong_is_not_the_client_s_fault():
    assert ApiError.of(DrafterError("view C needs a caption")).status == 500


def test_two_drafters_of_one_name_are_refused(served):
    names, settings = ["lookup:depth=3,as=lookup"], settings_from(model_name="x")
    with pytest.raises(DrafterError, match="two drafters are called 'lookup'; name one apart"):
        owner_of(served.owner.engine, names, settings)


def test_a_key_that_no_header_carries_is_told_without_showing_it(tmp_path, capsys):
    (tmp_path / "keys").write_text("schl\u00fcssel")
    assert main(["serve", "--api-key-file", str(tmp_path / "keys")]) == 2
    assert "of ASCII" in (told := capsys.readouterr().err)
    assert "schl" not in told


def test_an_answer_that_took_too_long_is_not_asked_for_again_by_itself():
    assert ApiError.late().response().headers["x-should-retry"] == "false"
