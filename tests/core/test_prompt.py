"""Prompts from texts and chat messages; what is wrong with one is said in one line."""

import pytest
from PIL import Image

from seeahead.errors import InputError
from seeahead.prompt import make_prompt

RED, BLUE = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")


def test_a_text_with_pictures_puts_them_first() -> None:
    prompt = make_prompt("What is this?", [RED, BLUE])
    assert [part if isinstance(part, str) else part.getpixel((0, 0)) for part in prompt.messages[0].parts] == [
        (255, 0, 0),
        (0, 0, 255),
        "What is this?",
    ]


def test_bare_image_parts_take_the_given_pictures_in_order() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "image"}]},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": [{"type": "image", "image": BLUE}, {"type": "text", "text": "And this?"}]},
    ]
    prompt = make_prompt(turns, [RED])
    assert [image.getpixel((0, 0)) for image in prompt.images] == [(255, 0, 0), (0, 0, 255)]
    assert prompt.as_chat()[0]["content"] == [{"type": "text", "text": "A"}, {"type": "image"}]


def test_unclaimed_pictures_go_to_the_first_question() -> None:
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
        ([{"role": "user", "content": [{"type": "image"}]}], "one picture more"),
    ],
)
def test_a_wrong_prompt_is_refused(messages: object, what: str) -> None:
    with pytest.raises(InputError, match=what):
        make_prompt(messages)
