"""When an answer ends: end tokens, stop strings, the token limit, the model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch

from seeahead.checked import check_letters, shown_value
from seeahead.errors import InputError, ModelError, shown
from seeahead.records import FinishReason


def end_tokens_of(config: Any) -> tuple[int, ...]:
    """Tokens that end an answer, by a transformers generation config; it names none, one or several. One below 0 is
    none: no answer has it. Raises ModelError for what names no tokens."""
    ends = config.eos_token_id
    try:
        named = [] if ends is None else [int(end) for end in torch.as_tensor(ends).flatten()]
    except (TypeError, ValueError, RuntimeError):
        told = f"eos_token_id of the model's generation config is {shown_value(ends)}; give ids of tokens, or none"
        raise ModelError(told) from None
    return tuple(end for end in named if end >= 0)


def check_stop_texts(stop: Any) -> tuple[str, ...]:
    """`stop` as a tuple of texts: None, one text, or several. Raises InputError for anything else."""
    texts = () if stop is None else (stop,) if isinstance(stop, str) else stop
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"stop is given as {type(stop).__name__}; give one text or a list of texts")
    if "" in texts:
        raise InputError("a stop string is empty; give at least one character")
    for text in texts:
        check_letters(text, f"the stop string {shown(text)}")
    return tuple(texts)


def check_is_shown(stop: Sequence[str], hidden: Sequence[str], ends: Sequence[str] = ()) -> None:
    """Raises InputError for stop texts that hold one of the `hidden` tokens and more: no text of an answer does. Those
    that begin with one of `ends` are let through: an answer is over before they could come."""
    for text in stop:
        if text.startswith(tuple(ends)):
            continue
        if found := next((token for token in hidden if token in text and token != text), None):
            raise InputError(
                f"the stop string {shown(text)} holds the special token {shown(found)}, which no text shows; give the "
                "token alone"
            )


IsOver = Callable[[Sequence[int], Sequence[int]], bool]
"""(the answer so far, its newest tokens) -> whether the last of these ends it."""


@dataclass(frozen=True)
class StopRule:
    """Checked after every token, so that nothing after the end is ever emitted or counted.

    `room`: what the model's context has left for the answer; None without limit. `is_over`: rules asked after each
    token.
    """

    max_new_tokens: int
    end_tokens: frozenset[int] = frozenset()
    room: int | None = None
    is_over: tuple[IsOver, ...] = ()

    def __post_init__(self) -> None:
        limit: Any = self.max_new_tokens
        if isinstance(limit, bool) or not isinstance(limit, Integral) or int(limit) < 1:
            raise InputError(f"max_new_tokens is {shown_value(limit)}; it must be a whole number of at least 1")

    @property
    def limit(self) -> int:
        """Most tokens the answer may have."""
        # A prompt that fills the context still gets the one token that its prefill yields.
        return self.max_new_tokens if self.room is None else min(self.max_new_tokens, max(1, self.room))

    def cut(self, answer: Sequence[int], new: Sequence[int]) -> tuple[int, FinishReason | None]:
        """How many of the `new` tokens after `answer` belong to it, and why it ends there (None: it goes on)."""
        for number, token in enumerate(new, 1):
            if token in self.end_tokens:
                return number, "end"
            if any(is_over(answer, new[:number]) for is_over in self.is_over):
                return number, "stop"
            if len(answer) + number >= self.limit:
                return number, "length" if self.limit == self.max_new_tokens else "context"
        return len(new), None


_FURTHEST = 1024
"""Tokens before the newest one in which a stop text is looked for, where the text itself is shorter."""


def holds_text(texts: Sequence[str], to_text: Callable[[Sequence[int]], str]) -> IsOver:
    """A rule that ends an answer with the token that completes one of `texts`."""
    # A letter is at least one byte; what lies further back than the longest text cannot be part of it.
    reach = max(len(text.encode()) for text in texts)

    def is_over(answer: Sequence[int], new: Sequence[int]) -> bool:
        number = reach
        # Hidden tokens have no letters; where they are all that comes, looking further back finds nothing.
        while number < min(len(answer), _FURTHEST) and len(to_text(answer[-number:])) < reach:
            number *= 2
        tail = to_text([*answer[-number:], *new])
        return any(text in tail for text in texts)

    return is_over
