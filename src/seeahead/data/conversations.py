"""Conversations to learn from: JSON lines of chat messages with images, all checked before anything is trained.

    {"messages": [{"role": "user", "content": "<image>\\nWhat is this?"},
                  {"role": "assistant", "content": "A cat."}], "images": ["cat.jpg"]}

Answers may be left out: the target writes its own. `<image>` says where an image stands; else images come first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator

from seeahead.checked import checked, exists, is_file, matching, one_of, rows, several
from seeahead.data.files import find_image, read_lines
from seeahead.data.own_data import load_own
from seeahead.data.public import TRAINING, Talk, read_public
from seeahead.errors import ImageError, InputError, shown
from seeahead.images import ImageSource, load_image
from seeahead.prompt import ROLES, Message, Prompt

MARKER = "<image>"
EXAMPLE = '{"messages": [{"role": "user", "content": "What is this?"}], "images": ["cat.jpg"]}'


@dataclass(frozen=True)
class Conversation:
    """Texts by (role, content), and the images that the first markers in them stand for, in order. Markers beyond
    these, and those of the assistant, are words that somebody wrote."""

    messages: tuple[tuple[str, str], ...]
    images: tuple[ImageSource, ...] = ()

    def exchanges(self) -> Iterator[tuple[Prompt, str | None]]:
        """(everything up to a user message, the answer to it or None), one after the other."""
        ends = [number for number, (role, _) in enumerate(self.messages, 1) if role == "user"]
        loaded = [load_image(path) for path in self.images]
        read = tuple(_message(role, content, loaded) for role, content in self.messages)
        for end in ends:
            following = self.messages[end : end + 1]
            is_answered = bool(following) and following[0][0] == "assistant"
            yield Prompt(read[:end]), following[0][1] if is_answered else None


def _message(role: str, content: str, images: list[Any]) -> Message:
    """Takes the images that it shows from the front of `images`."""
    parts: list[Any] = []
    while images and MARKER in content and role != "assistant":
        before, _, content = content.partition(MARKER)
        parts += [before.strip("\n"), images.pop(0)]
    return Message(role, tuple(part for part in (*parts, content.strip("\n")) if part != ""))


def conversations_from(source: Path | str, count: int) -> list[Conversation]:
    """At most `count` conversations, of what stands after --data: a public data set (`NAME` or `NAME=FOLDER`), a folder
    or a .jsonl file. Raises InputError when there is no such thing, or something in it is wrong."""
    name, equals, folder = str(source).partition("=")
    if not str(source).strip():
        raise InputError("--data is empty; name a .jsonl file, a folder, or a public data set")
    if name in TRAINING and equals and not folder:
        raise InputError(f"{shown(str(source))} names no folder; give {name}=FOLDER, or {name} alone")
    if exists(Path(source)) or not (equals or name in TRAINING or Path(source).suffix == ""):
        return read_conversations(Path(source), count)
    if name == "demo":
        raise InputError("the demo model's own questions are made in a clone: python -m recipes.demo_model drafter")
    if name not in TRAINING:
        raise InputError(
            f"unknown training data {shown(name)}; allowed: {', '.join(TRAINING)}, a folder, a .jsonl file"
        )
    found = islice(read_public(name, Path(folder) if equals else None), min(count, sys.maxsize))
    return [Conversation(_marked(talk, len(images)), images) for talk, images in found]


def _marked(talk: Talk, num_images: int) -> tuple[tuple[str, str], ...]:
    """As many markers as images, none of them the assistant's: those that are there, or else all of them before the
    user's first words."""
    talk = [(role, _unmarked(text) if role == "assistant" else text) for role, text in talk]
    if sum(text.count(MARKER) for _, text in talk) != num_images:
        talk = [(role, _unmarked(text)) for role, text in talk]
        first = next(place for place, (role, _) in enumerate(talk) if role == "user")
        talk[first] = ("user", MARKER * num_images + talk[first][1])
    return tuple(talk)


def _unmarked(text: str) -> str:
    return text.replace(MARKER, "").strip() if MARKER in text else text


def read_conversations(path: Path, count: int | None = None) -> list[Conversation]:
    """At most `count`, from a .jsonl file of messages, or from a folder or file as `seeahead bench --data` takes it.

    Raises InputError, with file and line, for whatever is wrong; every image is opened once to know."""
    is_lines = path.suffix.lower() == ".jsonl" and is_file(path)
    lines = [(f"{path} line {number}", row) for number, row in (read_lines(path) if is_lines else ())]
    if any("messages" in row for _, row in lines):
        read = [(where, _conversation(row, path, where)) for where, row in lines]
    else:
        suite = load_own(path, count=None, seed=0, max_new_tokens=1)
        read = [
            (f"{path} {item.id}", Conversation((("user", MARKER * len(item.images) + turn.text),), item.images))
            for item in suite.items
            for turn in item.turns
        ]
    _check_images(read[:count])
    return [conversation for _, conversation in read[:count]]


def _check_images(read: Sequence[tuple[str, Conversation]]) -> None:
    """Raises InputError, naming the first line that has it, for an image that cannot be opened."""
    wheres: dict[ImageSource, str] = {}
    for where, conversation in read:
        for image in conversation.images:
            wheres.setdefault(image, where)

    def refusal(image: ImageSource) -> str | None:
        try:
            load_image(image)
        except ImageError as error:
            return f"{wheres[image]}: {error}"
        return None

    with ThreadPoolExecutor() as pool:  # decoding leaves Python's lock alone
        for message in pool.map(refusal, wheres):
            if message is not None:
                pool.shutdown(cancel_futures=True)
                raise InputError(message)


@dataclass(frozen=True)
class _ChatMessage:
    """One message of a row."""

    role: Annotated[str, one_of(ROLES)]
    content: Annotated[str, matching(r"\S", "a text")]


@dataclass(frozen=True)
class _Row:
    """A line of a file of messages. `images` are file names."""

    messages: Annotated[
        tuple[_ChatMessage, ...],
        rows(lambda row, where: checked(_ChatMessage, row, where, is_open=True), "message"),
        several(f"a list of messages, such as {EXAMPLE}"),
    ]
    images: Annotated[tuple[Annotated[str, matching("", "")], ...], several("a list of file names", 0)] = ()

    @model_validator(mode="after")
    def _takes_turns(self) -> _Row:
        talk = [message.role for message in self.messages[self.messages[0].role == "system" :]]
        if not talk or talk != [("user", "assistant")[place % 2] for place in range(len(talk))]:
            raise InputError("after a system message, user and assistant take turns, the user first")
        if any(message.role == "assistant" and MARKER in message.content for message in self.messages):
            raise InputError("a message of the assistant shows an image; only the user's may")
        num_marked = sum(message.content.count(MARKER) for message in self.messages)
        if num_marked not in (0, len(self.images)):
            raise InputError(f'the text has {num_marked} {MARKER}, "images" has {len(self.images)}; give as many')
        return self


def _conversation(values: Mapping[str, Any], file: Path, where: str) -> Conversation:
    if values.get("image") and "images" not in values:
        raise InputError(f'{where}: unknown key "image"; did you mean "images", a list of file names?')
    row = checked(_Row, values, where, is_open=True)
    images = tuple(find_image(name, [file.parent, file.parent / "images"], file.parent, where) for name in row.images)
    return Conversation(_marked([(message.role, message.content) for message in row.messages], len(images)), images)
