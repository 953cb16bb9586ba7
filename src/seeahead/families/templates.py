"""How a conversation is written down: the chat template that counts, and the form of messages that it takes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2 import TemplateError
from PIL.Image import Image

from seeahead.errors import InputError, SeeaheadError, escaped
from seeahead.hidden_warnings import hidden
from seeahead.prompt import Message

PLAIN = "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{{ message['content'] }}{% endfor %}"
"""For checkpoints without a template, such as base models: the texts alone, and every message a string."""

Render = Callable[[list[dict[str, Any]]], str]

_PROBE = "quince"
_ERRORS = (
    *(ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RuntimeError, TemplateError),
    *(ImportError, OSError, AssertionError, MemoryError),
)
"""What templates and processors raise for prompts and settings that they are not made for."""


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raises InputError, in one line, for whatever a template or a processor raises inside.

    Their warnings of what numpy will once refuse are nobody's business here.
    """
    try:
        with hidden(DeprecationWarning):
            yield
    except SeeaheadError:
        raise
    except _ERRORS as error:
        reason = escaped(str(error).strip().partition("\n")[0], 300)
        if not isinstance(error, ValueError | TemplateError):
            # A KeyError says no more than the key.
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(f"the model's processor refuses this prompt: {reason}") from error


def has_template(processor: Any, tokenizer: Any) -> bool:
    return any(getattr(one, "chat_template", None) is not None for one in (processor, tokenizer))


def template_of(processor: Any, tokenizer: Any, given: str | None) -> str:
    """The template given, or the processor's, or its tokenizer's, or the plain one."""
    theirs = (getattr(one, "chat_template", None) for one in (processor, tokenizer))
    first = next((template for template in (given, *theirs) if template is not None), PLAIN)
    if not isinstance(first, dict):
        return str(first)
    if "default" not in first:
        raise InputError(
            f"of the chat templates {escaped(', '.join(sorted(first)))} none is named 'default'; pass chat_template"
        )
    return str(first["default"])


def roles_in_parts(render: Render, placeholder: str | None, *, is_usual: bool) -> frozenset[str]:
    """The roles whose messages are to be lists of parts, which templates of VLMs want; those of the others are to be
    strings, which templates of text models and older VLMs want. Tried out for each role, since some templates loop over
    a user's parts alone: a form is right if a text arrives as it is, and so does an image's `placeholder`. What
    `is_usual` is tried first, and also what is used where neither arrives; of other roles than the user that is the
    user's form.

    Raises InputError for a template that is rendered, but writes no question in either form.
    """
    written = [_written(render, [{"role": "user", "content": content}]) for content in _forms(_PROBE, placeholder)]
    known = [one for one in written if one is not None]
    if known and not any(_PROBE in one.lower() for one in known):
        raise InputError(
            "the chat template writes no question; give another as chat_template, its text and not the name of its file"
        )
    user_takes_parts = _takes_parts(written, placeholder, is_usual=is_usual)
    asked = {"role": "user", "content": _forms("x", None)[0 if user_takes_parts else 1]}
    found = {"user"} if user_takes_parts else set()
    for role, before, after in (("assistant", [asked], []), ("system", [], [asked])):
        tried = ([*before, {"role": role, "content": content}, *after] for content in _forms(_PROBE, None))
        if _takes_parts([_written(render, messages) for messages in tried], None, is_usual=user_takes_parts):
            found.add(role)
    return frozenset(found)


def _forms(text: str, placeholder: str | None) -> tuple[list[dict[str, str]], str]:
    """A message's content as parts and as a string."""
    part = {"type": "text", "text": text}
    return ([part] if placeholder is None else [{"type": "image"}, part]), (placeholder or "") + text


def _takes_parts(written: Sequence[str | None], placeholder: str | None, *, is_usual: bool) -> bool:
    """By what was written of parts and of a string."""
    usual, other = written if is_usual else written[::-1]
    return is_usual != (not _arrives(usual, placeholder) and _arrives(other, placeholder))


def _written(render: Render, messages: list[dict[str, Any]]) -> str | None:
    """None: the template does not take this."""
    try:
        return render(messages)
    except _ERRORS:
        return None


def _arrives(written: str | None, placeholder: str | None) -> bool:
    # A list that is printed, or dumped as JSON, arrives too.
    if written is None or any(key in written for key in ("'type'", '"type"')):
        return False
    return _PROBE in written.lower() and (placeholder or "") in written


def written_for(
    roles: Container[str], messages: Sequence[Message], placeholder: str, after: str
) -> list[dict[str, Any]]:
    """Messages as a template takes them: those of `roles` as lists of parts, with the images in them, the others as
    strings: a placeholder where an image stands, and `after` between it and a text."""
    contents = (
        _in_parts(message.parts) if message.role in roles else _joined(message.parts, placeholder, after)
        for message in messages
    )
    return [{"role": message.role, "content": content} for message, content in zip(messages, contents, strict=True)]


def _in_parts(parts: Sequence[str | Image]) -> list[dict[str, Any]]:
    kinds = ["text" if isinstance(part, str) else "image" for part in parts]
    return [{"type": kind, kind: part} for kind, part in zip(kinds, parts, strict=True)]


def _joined(parts: Sequence[str | Image], placeholder: str, after: str) -> str:
    pieces = [part if isinstance(part, str) else placeholder + after for part in parts]
    if parts and not isinstance(parts[-1], str):
        pieces[-1] = placeholder
    return "".join(pieces)
