"""When an answer ends: end tokens, stop strings, the token limit, the model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch

from seeahead.checked import shown_value
from seeahead.errors import InputError, shown
from seeahead.records import FinishReason


def end_tokens_of(config: Any) -> tuple[int, ...]:
    """Tokens that end an answer, by a transformers generation config; it names none, one or several."""
    ends = config.eos_token_id
    return () if ends is None else tuple(int(end) for end in torch.as_tensor(ends).flatten())


def check_stop_texts(stop: Any) -> tuple[str, ...]:
    """`stop` as a tuple of texts: None, one text, or several. Raises InputError for anything else."""
    texts = () if stop is None else (stop,) if isinstance(stop, str) else stop
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"stop is given as {type(stop).__name__}; give one text or a list of texts")
    if "" in texts:
        raise InputError("a stop string is empty; give at least one character")
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"the stop string {shown(text)} holds half a character; give UTF-8 text")
    return tuple(texts)


@dataclass(frozen=True)
class StopRule:
    """Checked after every token, so that nothing after the end is ever emitted or counted.

    A stop string ends the answer with the token that completes it. `max_length` limits prompt and answer together.
    `is_over` is a caller's own rule, asked after each token: (the answer so far, its newest tokens) -> whether it ends.
    """

    max_new_tokens: int
    end_tokens: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    to_text: Callable[[Sequence[int]], str] | None = None
    num_prompt_tokens: int = 0
    max_length: int | None = None
    is_over: Callable[[Sequence[int], Sequence[int]], bool] | None = None

    def __post_init__(self) -> None:
        limit: Any = self.max_new_tokens
        if isinstance(limit, bool) or not isinstance(limit, Integral) or int(limit) < 1:
            raise InputError(f"max_new_tokens is {shown_value(limit)}; it must be a whole number of at least 1")
        check_stop_texts(self.stop_strings)
        assert not self.stop_strings or self.to_text is not None

    @property
    def limit(self) -> int:
        """Most tokens the answer may have."""
        if self.max_length is None:
            return self.max_new_tokens
        # A prompt that fills the context still gets the one token that its prefill yields.
        return min(self.max_new_tokens, max(1, self.max_length - self.num_prompt_tokens))

    def cut(self, answer: Sequence[int], new: Sequence[int]) -> tuple[int, FinishReason | None]:
        """How many of the `new` tokens after `answer` belong to it, and why it ends there (None: it goes on)."""
        first_stop = self._first_stop(answer, new)
        for index, token in enumerate(new):
            if token in self.end_tokens:
                return index + 1, "end"
            if index == first_stop or (self.is_over is not None and self.is_over(answer, new[: index + 1])):
                return index + 1, "stop"
            if len(answer) + index + 1 >= self.limit:
                return index + 1, "length" if self.limit == self.max_new_tokens else "context"
        return len(new), None

    def _first_stop(self, answer: Sequence[int], new: Sequence[int]) -> int | None:
        """Index of the first new token with which the answer contains a stop string."""
        if not self.stop_strings or self.to_text is None:
            return None
        # A token is at least one byte; what lies further back than the longest stop string cannot be part of it.
        reach = max(len(text.encode()) for text in self.stop_strings)
        tail, to_text = list(answer[-reach:]), self.to_text

        def has_stop(num_new: int) -> bool:
            text = to_text([*tail, *new[:num_new]])
            return any(stop in text for stop in self.stop_strings)

        return next((i for i in range(len(new)) if has_stop(i + 1)), None) if has_stop(len(new)) else None
