"""Conversations from JSON lines: what is read, and one clear line, with its number, for whatever is wrong."""

import json
import shutil

import pytest

from seeahead.data.conversations import read_conversations
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.errors import InputError

USER = {"role": "user", "content": "What is this?"}
ANSWER = {"role": "assistant", "content": "A cat."}
TWICE = {"role": "user", "content": "<image> a <image>"}
SHOWN = {"role": "assistant", "content": "<image>"}


@pytest.fixture
def folder(tmp_path):
    for name in ("cow.jpg", "bus.jpg"):
        shutil.copy(PICTURES / name, tmp_path / name)
    return tmp_path


def written(folder, *rows):
    path = folder / "talk.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_every_question_is_an_exchange_with_what_came_before(folder):
    messages = [USER, ANSWER, {"role": "user", "content": "And now?"}]
    (found,) = read_conversations(written(folder, {"messages": messages, "images": ["cow.jpg"]}))
    (first, answer), (second, none) = found.exchanges()
    assert (answer, none) == ("A cat.", None)
    assert [len(prompt.messages) for prompt in (first, second)] == [1, 3]
    assert len(first.images) == len(second.images) == 1
    assert first.messages[0].text == "What is this?"


def test_markers_say_where_images_stand(folder):
    content = "<image>\nThis came first.\n<image>\nWhat changed?"
    row = {"messages": [{"role": "user", "content": content}], "images": ["cow.jpg", "bus.jpg"]}
    (found,) = read_conversations(written(folder, row))
    ((prompt, _),) = found.exchanges()
    kinds = [part if isinstance(part, str) else "picture" for part in prompt.messages[0].parts]
    assert kinds == ["picture", "This came first.", "picture", "What changed?"]


def test_a_folder_of_images_is_asked_the_default_question(folder):
    found = read_conversations(folder)
    assert len(found) == 2
    ((prompt, answer),) = found[0].exchanges()
    assert (len(prompt.images), answer) == (1, None)


@pytest.mark.parametrize(("image", "number"), [(None, 0), ("cow.jpg", 1), (["cow.jpg", "bus.jpg"], 2)])
def test_what_one_asks_about_the_marker_itself_stays_as_it_is_written(folder, image, number):
    asked = "What does the <image> tag do, and <image>?"
    (found,) = read_conversations(written(folder, {"turns": [asked], **({"image": image} if image else {})}))
    ((prompt, _),) = found.exchanges()
    *shown, text = prompt.messages[0].parts
    assert (len(shown), text) == (number, asked)
    assert not any(isinstance(one, str) for one in shown)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{no", r"line 2 is not JSON"),
        ({"messages": []}, r"line 2: messages is \[\]; allowed: a list of messages"),
        ({"messages": [USER], "images": "cow.jpg"}, "line 2: images is 'cow.jpg'; allowed: a list of file names"),
        ({"messages": [{"role": "bot", "content": "x"}]}, r"line 2: message 1: role is 'bot'; allowed: system"),
        ({"messages": [{"role": "user", "content": " "}]}, "line 2: message 1: content is ' '; allowed: a text"),
        ({"messages": [USER, USER]}, "line 2: after a system message, user and assistant take turns"),
        ({"messages": [ANSWER]}, "line 2: after a system message"),
        ({"messages": [TWICE], "images": ["cow.jpg"]}, "has 2 <image>.*has 1"),
        ({"messages": [USER], "images": ["none.jpg"]}, "line 2: no image 'none.jpg'"),
        ({"messages": [USER], "images": ["../cow.jpg"]}, "line 2: the image '../cow.jpg' leaves the folder"),
        ({"messages": [USER, SHOWN], "images": ["cow.jpg"]}, "of the assistant shows an image"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(folder, row, message):
    with pytest.raises(InputError, match=message):
        read_conversations(written(folder, {"messages": [USER]}, row))
