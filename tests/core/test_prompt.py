"""Prompts from texts and chat messages; what is wrong with one is said in one line."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seeahead.errors import ImageError, InputError
from seeahead.prompt import Message, Prompt, make_prompt

RED, BLUE = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
ASK = {"role": "user", "content": "Hi"}


@dataclass
class Turn:
    """A message as an object."""

    role: Any
    content: Any


class Role(Enum):
    """A role as some clients have it."""

    USER = "user"


class OnlyDumps:
    """What says its fields only as a dictionary."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self._fields


class Iterated(SimpleNamespace):
    """An object that could be iterated, as pydantic's can."""

    def __iter__(self) -> Any:
        return iter(vars(self).items())


def refusal(prompt: Any, images: Any = None, captions: Any = None) -> str:
    with pytest.raises(InputError) as caught:
        make_prompt(prompt, images, captions)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def colors(prompt: Prompt) -> list[Any]:
    return [image.getpixel((0, 0)) for image in prompt.images]


def test_a_text_with_images_puts_them_first() -> None:
    prompt = make_prompt("What is this?", [RED, BLUE])
    assert [part if isinstance(part, str) else part.getpixel((0, 0)) for part in prompt.messages[0].parts] == [
        (255, 0, 0),
        (0, 0, 255),
        "What is this?",
    ]


def test_bare_image_parts_take_the_given_images_in_order() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "image"}]},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": [{"type": "image", "image": BLUE}, {"type": "text", "text": "And this?"}]},
    ]
    prompt = make_prompt(turns, [RED])
    assert [image.getpixel((0, 0)) for image in prompt.images] == [(255, 0, 0), (0, 0, 255)]
    assert [isinstance(part, str) for part in prompt.messages[0].parts] == [True, False]


def test_unclaimed_images_go_to_the_first_question() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "What is it?"},
    ]
    prompt = make_prompt(turns, [RED])
    assert len(prompt.messages[1].parts) == 2
    assert prompt.messages[3].parts == ("What is it?",)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ([], "user message"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "user message"),
        ([{"role": "robot", "content": "Hi"}], "robot"),
        ([{"role": "user", "content": None}], "no content"),
        ([{"role": "user", "content": [{"type": "video"}]}], "video"),
        ([{"role": "user", "content": [{"type": "image"}]}], "one image more"),
        (None, "the prompt is None; give a text, or a list of messages such as"),
        (b"Hi", "the prompt is of type bytes"),
        (bytearray(b"Hi"), "the prompt is of type bytearray"),
        (3, "the prompt is of type int"),
        (2.5, "the prompt is of type float"),
        (True, "the prompt is of type bool"),
        (object(), "the prompt is of type object"),
        (np.array(3), "the prompt is of type ndarray"),
        ({}, "message 1 has no role"),
        ({"messages": [ASK]}, "message 1 has no role"),
        ([None], "message 1 is None; give one such as"),
        (["Hi"], "message 1 is of type str"),
        ([ASK, 3], "message 2 is of type int"),
        ([[ASK]], "message 1 is of type list"),
        ([{"role": ["user"], "content": "Hi"}], "message 1 has a role of type list"),
        ([{"role": np.zeros(2), "content": "Hi"}], "message 1 has a role of type ndarray"),
        ([{"role": 3, "content": "Hi"}], "message 1 has a role of type int"),
        ([{"role": "\ud800", "content": "Hi"}], r"has role '\\ud800'"),
        ([{"role": "x" * 9000, "content": "Hi"}], "has role 'xxx"),
        (
            [{"role": "developer", "content": "Be brief."}, ASK],
            "'developer'; allowed are system.*instructions as system",
        ),
        ([{"role": "tool", "content": "4"}, ASK], "'tool'; allowed are system, user.*what a tool says as user"),
        ([{"role": "user", "content": b"Hi"}], "no content"),
        ([{"role": "user", "content": 3}], "no content"),
        ([{"role": "user"}], "no content"),
        ([{"role": "assistant", "content": None, "tool_calls": []}, ASK], "message 1 has no content"),
        ([{"role": "user", "content": []}], "empty"),
        ([{"role": "user", "content": {}}], "a part with no type"),
        ([{"role": "user", "content": [None]}], "a part that is None"),
        ([{"role": "user", "content": [3]}], "a part that is of type int"),
        ([{"role": "user", "content": [b"Hi"]}], "a part that is of type bytes"),
        ([{"role": "user", "content": [["Hi"]]}], "a part that is of type list"),
        ([{"role": "user", "content": [{"type": ["text"]}]}], "a part with a type of type list"),
        ([{"role": "user", "content": [{"type": "text"}]}], 'a text part whose "text" is None'),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}], 'a text part whose "text" is of type int'),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], 'an image part without "url"'),
        ([{"role": "user", "content": [{"type": "image", "image": 3}]}], "an image was given as int"),
        ([{"role": "user", "content": [{"type": "image", "image": []}]}], "an image was given as list"),
    ],
)
def test_a_wrong_prompt_is_refused(messages: object, what: str) -> None:
    assert re.search(what, refusal(messages))


@pytest.mark.parametrize("make", [dict, SimpleNamespace, Turn, OnlyDumps, Iterated])
def test_messages_and_parts_may_be_objects(make: Callable[..., Any]) -> None:
    fields = SimpleNamespace if make is Turn else make
    parts = [
        fields(type="text", text="Which?"),
        fields(type="image"),
        fields(type="image_url", image_url=fields(url=as_data_url(BLUE))),
    ]
    messages = [make(role="assistant", content="Look."), make(role="user", content=parts)]
    prompt = make_prompt(messages, [RED])
    assert [message.role for message in prompt.messages] == ["assistant", "user"]
    assert [message.text for message in prompt.messages] == ["Look.", "Which?"]
    assert colors(prompt) == [(255, 0, 0), (0, 0, 255)]


def as_data_url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def test_a_role_may_be_a_member_of_an_enumeration() -> None:
    assert type(make_prompt([Turn(Role.USER, "Hi")]).messages[0].role) is str
    assert make_prompt([{"role": Role.USER, "content": "Hi"}]).messages[0].role == "user"


@pytest.mark.parametrize("one", [ASK, Turn("user", "Hi"), Iterated(**ASK), Message("user", ("Hi",)), OnlyDumps(**ASK)])
def test_one_message_is_a_conversation_of_one(one: Any) -> None:
    for given in (one, [one], (one,), iter([one]), {1: one}.values()):
        prompt = make_prompt(given, RED)
        assert (prompt.messages[0].role, prompt.messages[0].text) == ("user", "Hi")
        assert colors(prompt) == [(255, 0, 0)]


def test_parts_may_be_bare_texts_and_images() -> None:
    prompt = make_prompt([{"role": "user", "content": ["What", " is ", BLUE, {"type": "image"}, "?"]}], [RED])
    assert prompt.messages[0].text == "What is ?"
    assert colors(prompt) == [(0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize("content", [{"type": "text", "text": "Hi"}, ("Hi",), iter(["Hi"]), ["H", "i"]])
def test_content_may_be_one_part_or_anything_that_lists_parts(content: Any) -> None:
    assert make_prompt([{"role": "user", "content": content}]).messages[0].text == "Hi"


def test_one_image_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    RED.save(path)
    for one in (
        RED,
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        as_data_url(RED),
        np.asarray(RED),
    ):
        assert colors(make_prompt("What?", one)) == [(255, 0, 0)]
    with path.open("rb") as file:
        assert colors(make_prompt("What?", file)) == [(255, 0, 0)]
    assert colors(make_prompt("What?", (image for image in (RED, BLUE)))) == [(255, 0, 0), (0, 0, 255)]


def test_a_path_is_never_read_letter_by_letter() -> None:
    for name in ("cat.jpg", Path("cat.jpg")):
        with pytest.raises(ImageError, match=r"^'cat.jpg' does not exist"):
            make_prompt("What?", name)


def test_no_images_and_no_captions() -> None:
    for none in (None, (), [], iter(())):
        assert make_prompt("What?", none, none) == make_prompt("What?")
    assert make_prompt(make_prompt("What?"), None, None).messages[0].text == "What?"


def test_images_and_captions_of_a_wrong_kind() -> None:
    for wrong in (3, True, {"a": RED}, object()):
        assert "images were given as" in refusal("What?", wrong)
    assert "an image was given as NoneType" in refusal("What?", [None])
    assert "an image was given as list" in refusal("What?", [[RED]])
    assert "a caption is of type int" in refusal("What?", RED, 3)
    assert "a caption is of type bytes" in refusal("What?", RED, b"red")
    assert "a caption is None" in refusal("What?", RED, [None])
    assert "given: 2 captions for 1 image;" in refusal("What?", RED, ["a", "b"])
    assert "together with images or captions" in refusal(make_prompt("What?"), RED)


def test_one_caption_may_stand_for_a_list_of_one() -> None:
    assert make_prompt("What?", RED, "all red").captions == ("all red",)


@pytest.mark.parametrize("number", [0xD800, 0xDCE9, 0xDFFF])
def test_lone_surrogates_are_named_with_their_place(number: int) -> None:
    text = f"caf{chr(number)} au lait"
    said = f"is not valid text: letter 4 is '\\u{number:x}', half a character"
    assert f"the prompt {said}" in refusal(text)
    assert f"message 1 {said}" in refusal([{"role": "system", "content": [text]}, ASK])
    assert f"message 2 {said}" in refusal([ASK, {"role": "user", "content": [{"type": "text", "text": text}]}])
    assert f"the prompt {said}" in refusal(Prompt((Message("user", (text,)),)))
    assert f"caption 1 {said}" in refusal("What?", RED, text)
    assert make_prompt("\U0001f408").messages[0].text == "\U0001f408"


@pytest.mark.parametrize("messages", [(), (Message("assistant", ("Hi",)),), (Message("user", (" ",)),)])
def test_a_prompt_made_by_hand_is_checked_too(messages: tuple[Message, ...]) -> None:
    assert refusal(Prompt(messages))
