"""What an answer's tokens are told with: their text and bytes as they stand in the answer, and log-probabilities."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from seeahead.compat import bytes_to_unicode
from seeahead.sampling import log_probabilities

_HALF = "\ufffd"
"""What tokenizers write for bytes that are no whole character."""
_REMEMBERED = 1000
"""Tokens whose text is known: those beside one another have the same one before them, and many come again."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
"""Bytes by the letters that byte-level vocabularies write them with."""


@dataclass(frozen=True)
class Spelling:
    """A token's text in its place, and its bytes; None where the tokenizer does not say these of half a character."""

    text: str
    data: bytes | None


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its log-probability by the target's own logits, and the likeliest ones."""

    said: Spelling
    logprob: float
    top: tuple[tuple[Spelling, float], ...]


def spelled(tokenizer: Any, to_text: Callable[[Sequence[int]], str], token: int, before: int | None) -> Spelling:
    """`before`: the token that it follows in the answer. Alone, many tokenizers leave out a leading blank."""
    text = to_text([token])
    if not text and _is_special(tokenizer, token):  # hidden in answers: it has a name, and no bytes of these
        return Spelling(str(tokenizer.convert_ids_to_tokens(token)), b"")
    if _HALF in text:
        return Spelling(text, _bytes_of_half(str(tokenizer.convert_ids_to_tokens(token)), text))
    if before is not None:
        start, both = to_text([before]), to_text([before, token])
        text = both[len(start) :] if both.startswith(start) else text
    return Spelling(text, text.encode())


def _is_special(tokenizer: Any, token: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(token)  # more of them than the tokenizer has names for, such as reserved
    return added is not None and bool(added.special)


def _bytes_of_half(name: str, text: str) -> bytes | None:
    if found := _BYTE.fullmatch(name):
        return bytes([int(found[1], 16)])
    data = bytes(_BYTES[letter] for letter in name if letter in _BYTES)
    # No vocabulary says of what kind it is: what its letters mean must come to the text that the token has.
    return data if len(data) == len(name) and data.decode(errors="replace") == text else None


class Watcher:
    """Keeps the log-probabilities of an answer's newest tokens until they are taken."""

    def __init__(self, tokenizer: Any, to_text: Callable[[Sequence[int]], str], number: int) -> None:
        """`number`: of the likeliest tokens that are told beside each."""
        self._tokenizer, self._number = tokenizer, number
        alone = lru_cache(_REMEMBERED)(lambda token: to_text([token]))
        self._to_text: Callable[[Sequence[int]], str]
        self._to_text = lambda tokens: to_text(tokens) if len(tokens) > 1 else alone(tokens[0])
        self._before: int | None = None
        self._kept: list[TokenLogprob] = []

    def watch(self, tokens: Sequence[int], logits: torch.Tensor) -> None:
        """The newest `tokens`, and the target's logits [tokens, vocabulary] that each follows from."""
        logs = log_probabilities(logits[: len(tokens)])
        values, ids = logs.topk(self._number)
        for row, token in enumerate(tokens):
            likeliest = zip(ids[row].tolist(), values[row].tolist(), strict=True)
            top = tuple((self._spelled(one), value) for one, value in likeliest)
            self._kept.append(TokenLogprob(self._spelled(token), float(logs[row, token]), top))
            self._before = token

    def take(self) -> tuple[TokenLogprob, ...]:
        kept, self._kept = tuple(self._kept), []
        return kept

    def _spelled(self, token: int) -> Spelling:
        return spelled(self._tokenizer, self._to_text, token, self._before)
