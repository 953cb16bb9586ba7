"""Prompts as plain values: chat messages with text and images. Nothing is tokenised here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Protocol, TypeAlias

from PIL.Image import Image

from seeahead.checked import check_letters
from seeahead.errors import InputError, counted, shown
from seeahead.images import ImageSources, as_sources, load_image
from seeahead.images.sources import is_list

ROLES = ("system", "user", "assistant")
_EXAMPLE = '{"role": "user", "content": "What is this?"}'


@dataclass(frozen=True)
class Message:
    """One turn. `parts` are texts and images in reading order."""

    role: str
    parts: tuple[str | Image, ...]

    @property
    def content(self) -> tuple[str | Image, ...]:
        return self.parts

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Prompt:
    """A conversation whose last message is the user's. `captions`: none, or one per image, for drafters alone."""

    messages: tuple[Message, ...]
    captions: tuple[str, ...] = ()

    @property
    def images(self) -> list[Image]:
        return [part for message in self.messages for part in message.parts if not isinstance(part, str)]


class MessageLike(Protocol):
    """A message as an object, such as clients of chat servers return."""

    @property
    def role(self) -> Any: ...

    @property
    def content(self) -> Any: ...


_AnyMessage: TypeAlias = Mapping[str, Any] | MessageLike
PromptLike: TypeAlias = str | Prompt | _AnyMessage | Iterable[_AnyMessage]
"""A text, a prompt that is made already, one message, or the messages of a conversation."""


def make_prompt(
    prompt: PromptLike,
    images: ImageSources = None,
    captions: str | Iterable[str] | None = None,
    *,
    allow_urls: bool = False,
) -> Prompt:
    """A prompt from a text, or from chat messages as transformers' chat templates take them.

    A message is a mapping or an object with `role` and `content`. Its content is a text or a list of parts:
    `{"type": "text", "text": …}` or just a text, `{"type": "image", "image": …}` (or `url`/`path`), or a bare
    `{"type": "image"}`, which takes the next of `images`. Images that no part claims come first in the first user
    message. Raises InputError (ImageError for an image that cannot be used).
    """
    sources, texts = as_sources(images), _captions(captions)
    if isinstance(prompt, Prompt):
        if sources or texts:
            raise InputError("a Prompt was given together with images or captions; put them into the Prompt")
        return _checked(prompt)
    listed = _listed(prompt)
    waiting = [load_image(source, allow_urls=allow_urls) for source in sources]
    messages = [_message(number, message, waiting, allow_urls) for number, message in enumerate(listed, 1)]
    first = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    if waiting and first is not None:
        messages[first] = Message("user", (*waiting, *messages[first].parts))
    return _checked(Prompt(tuple(messages), texts))


def _listed(prompt: Any) -> list[Any]:
    """The messages of whatever may be a prompt."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if _fields(prompt, "role") is not None:
        return [prompt]
    if not is_list(prompt):
        raise InputError(f"the prompt is {_kind(prompt)}; give a text, or a list of messages such as {_EXAMPLE}")
    return list(prompt)


def _captions(captions: Any) -> tuple[str, ...]:
    if captions is None:
        return ()
    listed = list(captions) if is_list(captions) else [captions]
    for caption in listed:
        if not isinstance(caption, str):
            raise InputError(f"a caption is {_kind(caption)}; give a text for each image, in order")
    return tuple(listed)


def _checked(prompt: Prompt) -> Prompt:
    messages, captions, num_images = prompt.messages, prompt.captions, len(prompt.images)
    if not messages or messages[-1].role != "user":
        raise InputError("the conversation does not end with a user message; add the question as the last message")
    if not messages[-1].text.strip() and all(isinstance(part, str) for part in messages[-1].parts):
        raise InputError("the prompt is empty; give a question or an image")
    if captions and len(captions) != num_images:
        given = f"{counted(len(captions), 'caption')} for {counted(num_images, 'image')}"
        raise InputError(f"given: {given}; give one per image, in order")
    for number, message in enumerate(messages, 1):
        check_letters(message.text, "the prompt" if len(messages) == 1 else f"message {number}")
    for number, caption in enumerate(captions, 1):
        check_letters(caption, f"caption {number}")
    return prompt


def _message(number: int, message: Any, waiting: list[Image], allow_urls: bool) -> Message:
    fields = _fields(message, "role", "content")
    if fields is None:
        raise InputError(f"message {number} is {_kind(message)}; give one such as {_EXAMPLE}")
    role, content = fields
    if not isinstance(role, str) or role not in ROLES:
        raise InputError(
            f"message {number} has {_named('role', role)}; allowed are {', '.join(ROLES)}: "
            "give instructions as system, and what a tool says as user"
        )
    if isinstance(content, str | Image) or _fields(content, "type") is not None:
        content = (content,)
    if not is_list(content):
        raise InputError(f"message {number} has no content; give a text or a list of text and image parts")
    return Message(role, tuple(_part(number, part, waiting, allow_urls) for part in content))


def _part(number: int, part: Any, waiting: list[Image], allow_urls: bool) -> str | Image:
    if isinstance(part, str):
        return part
    if isinstance(part, Image):
        return load_image(part)
    fields = _fields(part, "type", "text", "image", "path", "url", "image_url")
    if fields is None:
        raise InputError(f"message {number} has a part that is {_kind(part)}; allowed are text and image parts")
    kind, text, *sources = fields
    if not isinstance(kind, str) or kind not in ("text", "image", "image_url"):
        raise InputError(f"message {number} has a part with {_named('type', kind)}; allowed are text and image")
    if kind != "text":
        source = next((source for source in sources if source is not None), None)
        return _image(number, source, waiting, allow_urls)
    if not isinstance(text, str):
        raise InputError(f'message {number} has a text part whose "text" is {_kind(text)}; give a text')
    return text


def _image(number: int, source: Any, waiting: list[Image], allow_urls: bool) -> Image:
    if source is None:
        if not waiting:
            raise InputError(f"message {number} asks for one image more than were given; add it to `images`")
        return waiting.pop(0)
    within = _fields(source, "url")
    if within is not None:
        source = within[0]
        if source is None:
            raise InputError(f'message {number} has an image part without "url"; give the address of the image')
    return load_image(source, allow_urls=allow_urls)


def _fields(value: Any, *names: str) -> list[Any] | None:
    """The fields of a mapping, or of an object that has the first or pydantic's way of becoming a mapping.

    A missing field is None; all of it is None where `value` is neither."""
    if not isinstance(value, Mapping) and not hasattr(value, names[0]):
        if not callable(getattr(value, "model_dump", None)):
            return None
        value = value.model_dump()
    get = value.get if isinstance(value, Mapping) else partial(getattr, value)
    fields = [get(name, None) for name in names]
    return [field.value if isinstance(field, Enum) else field for field in fields]


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _named(what: str, value: object) -> str:
    if value is None:
        return f"no {what}"
    return f"{what} {shown(value)}" if isinstance(value, str) else f"a {what} {_kind(value)}"
