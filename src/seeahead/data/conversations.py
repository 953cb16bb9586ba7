"""Conversations to learn from: JSON lines of chat messages with images, all checked before anything is trained.

    {"messages": [{"role": "user", "content": "<image>\\nWhat is this?"},
                  {"role": "assistant", "content": "A cat."}], "images": ["cat.jpg"]}

Answers may be left out: the target writes its own. `<image>` says where an image stands; else images come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seeahead.checked import exists
from seeahead.data.files import find_image, read_lines
from seeahead.data.own_data import load_own
from seeahead.errors import ImageError, InputError, shown
from seeahead.images import ImageSource, load_image
from seeahead.prompt import ROLES, Message, Prompt

MARKER = "<image>"
EXAMPLE = '{"messages": [{"role": "user", "content": "What is this?"}], "images": ["cat.jpg"]}'


@dataclass(frozen=True)
class Conversation:
    """Texts by (role, content), and the images that their markers stand for, in order."""

    messages: tuple[tuple[str, str], ...]
    images: tuple[ImageSource, ...] = ()

    def exchanges(self) -> Iterator[tuple[Prompt, str | None]]:
        """(everything up to a user message, the answer to it or None), one after the other."""
        ends = [number for number, (role, _) in enumerate(self.messages, 1) if role == "user"]
        loaded = iter([load_image(path) for path in self.images])
        read = tuple(_message(role, content, loaded) for role, content in self.messages)
        for end in ends:
            following = self.messages[end : end + 1]
            yield Prompt(read[:end]), following[0][1] if following else None


def _message(role: str, content: str, images: Iterator[Any]) -> Message:
    parts: list[Any] = []
    for part in re.split(f"({MARKER})", content):
        if part == MARKER:
            parts.append(next(images))
        elif text := part.strip("\n"):
            parts.append(text)
    return Message(role, tuple(parts))


def read_conversations(path: Path, count: int | None = None) -> list[Conversation]:
    """At most `count`, from a .jsonl file of messages, or from a folder or file as `seeahead bench --data` takes it.

    Raises InputError, with file and line, for whatever is wrong; every image is opened once to know."""
    is_lines = path.suffix.lower() == ".jsonl" and exists(path) and path.is_file()
    told = [(f"{path} line {number}", row) for number, row in (read_lines(path) if is_lines else ())]
    if any("messages" in row for _, row in told):
        read = [(where, _conversation(row, path, where)) for where, row in told]
    else:
        suite = load_own(path, count=None, seed=0, max_new_tokens=1)
        read = [
            (f"{path} {item.id}", Conversation((("user", MARKER * len(item.pictures) + turn.text),), item.pictures))
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


def _conversation(row: Mapping[str, Any], file: Path, where: str) -> Conversation:
    messages, names = row.get("messages"), row.get("images", [])
    if not isinstance(messages, list) or not messages:
        raise InputError(f'{where}: no "messages"; allowed: one object a line, such as {EXAMPLE}')
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{where}: "images" is not a list of file names')
    read = [_checked(message, number, where) for number, message in enumerate(messages, 1)]
    talk = [role for role, _ in read if role != "system"]
    if talk != [("user", "assistant")[place % 2] for place in range(len(talk))] or not talk:
        raise InputError(f"{where}: after a system message, user and assistant take turns, the user first")
    num_marked = sum(content.count(MARKER) for _, content in read)
    if num_marked == 0:
        first = next(place for place, (role, _) in enumerate(read) if role == "user")
        read[first] = ("user", MARKER * len(names) + read[first][1])
    elif num_marked != len(names):
        raise InputError(f'{where}: the text has {num_marked} {MARKER}, "images" has {len(names)}; give as many')
    images = tuple(find_image(name, [file.parent, file.parent / "images"], file.parent, where) for name in names)
    return Conversation(tuple(read), images)


def _checked(message: Any, number: int, where: str) -> tuple[str, str]:
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if role not in ROLES:
        raise InputError(f"{where}: message {number} has the role {shown(str(role))}; allowed: {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise InputError(f'{where}: message {number} has no text in "content"')
    if role == "assistant" and MARKER in content:
        raise InputError(f"{where}: message {number} is the assistant's and shows an image; only the user's may")
    return role, content
