"""Prompts as plain values: chat messages with text and pictures. Nothing is tokenised here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from seeahead.errors import InputError
from seeahead.pictures import PictureSource, load_picture

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn. `parts` are texts and pictures in reading order."""

    role: str
    parts: tuple[str | Image, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Prompt:
    """A conversation whose last message is the user's. `captions`: none, or one per picture, for drafters alone."""

    messages: tuple[Message, ...]
    captions: tuple[str, ...] = ()

    @property
    def images(self) -> list[Image]:
        return [part for message in self.messages for part in message.parts if not isinstance(part, str)]

    def as_chat(self) -> list[dict[str, Any]]:
        """The form chat templates take; pictures appear as bare `{"type": "image"}` parts."""
        return [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in self.messages
        ]


def make_prompt(
    prompt: str | Prompt | Sequence[Mapping[str, Any]],
    images: Iterable[PictureSource] = (),
    captions: Sequence[str] = (),
    *,
    allow_urls: bool = False,
) -> Prompt:
    """A prompt from a text, or from chat messages as transformers' chat templates take them.

    A message's content is a text or a list of parts: `{"type": "text", "text": …}`, `{"type": "image", "image": …}`
    (or `url`/`path`), or a bare `{"type": "image"}`, which takes the next of `images`. Images that no part claims come
    first in the first user message. Raises InputError (ImageError for a picture that cannot be used).
    """
    if isinstance(prompt, Prompt):
        if tuple(images) or captions:
            raise InputError("a Prompt was given together with images or captions; put them into the Prompt")
        return prompt
    waiting = [load_picture(image, allow_urls=allow_urls) for image in images]
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    messages = [_message(number, message, waiting, allow_urls) for number, message in enumerate(prompt, 1)]
    if not messages or messages[-1].role != "user":
        raise InputError("the conversation does not end with a user message; add the question as the last message")
    if waiting:
        first = next(index for index, message in enumerate(messages) if message.role == "user")
        messages[first] = Message("user", (*waiting, *messages[first].parts))
    if not messages[-1].text.strip() and not any(not isinstance(part, str) for part in messages[-1].parts):
        raise InputError("the prompt is empty; give a question or a picture")
    made = Prompt(tuple(messages), tuple(captions))
    if captions and len(captions) != len(made.images):
        raise InputError(
            f"{len(captions)} captions were given for {len(made.images)} pictures; give one per picture, in order"
        )
    return made


def _message(number: int, message: Mapping[str, Any], waiting: list[Image], allow_urls: bool) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise InputError(f"message {number} has role {role!r}; allowed are {', '.join(ROLES)}")
    if isinstance(content, str):
        return Message(role, (content,))
    if not isinstance(content, Sequence):
        raise InputError(f"message {number} has no content; give a text or a list of text and image parts")
    return Message(role, tuple(_part(number, part, waiting, allow_urls) for part in content))


def _part(number: int, part: Mapping[str, Any], waiting: list[Image], allow_urls: bool) -> str | Image:
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in ("image", "image_url"):
        source = next((part[key] for key in ("image", "path", "url", "image_url") if part.get(key) is not None), None)
        if isinstance(source, Mapping):
            source = source.get("url")
        if source is not None:
            return load_picture(source, allow_urls=allow_urls)
        if not waiting:
            raise InputError(f"message {number} asks for one picture more than were given; add it to `images`")
        return waiting.pop(0)
    raise InputError(f"message {number} has a part of type {kind!r}; allowed are text and image")
