"""What slots of ended answers hold, for the next turn of the same conversation; and memory that nothing holds.

While nobody asks, what the next turn begins with is read into them already.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from seeahead.executor import ModelInputs, runs_along
from seeahead.families.base import Family
from seeahead.prompt import Message, Prompt
from seeahead.request import Request
from seeahead.session import Kept

_FEWEST = 8  # tokens: fewer are read again sooner than looked for
_QUIET_SECONDS = 0.05  # whoever asks as soon as he is answered does not wait for what is read ahead
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
# Glibc keeps what large images leave behind, in a heap for each thread: it is to go back, and new threads share two.
give_back = partial(getattr(_libc, "malloc_trim", int), 0)
share_memory = partial(getattr(_libc, "mallopt", max), -8, 2)  # M_ARENA_MAX

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Entry:
    kept: Kept
    images: bytes
    seen: Any  # what the family's model was; another one reads everything anew
    expected: tuple[int, ...] = ()  # tokens of the next turn that are not read yet, behind the first `length`
    length: int = 0


class Leftovers:
    """Memory that images have left behind goes back soon. Looking for it takes some milliseconds of a core, in which
    answers are slower, so those who are done within a second share it."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds, self._is_due, self._lock = seconds, False, threading.Lock()

    def give_back_soon(self) -> None:
        with self._lock:
            is_due, self._is_due = self._is_due, True
        if not is_due:
            timer = threading.Timer(self._seconds, self._give_back)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # no further thread may start
                self._give_back()

    def _give_back(self) -> None:
        with self._lock:
            self._is_due = False
        give_back()


class Slots:
    """Kept slots, the one that was used last at the end. For one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: list[_Entry] = []
        self.turn: tuple[int, ...] = ()
        """Tokens that stand between an answer and the next question (`turn_between`)."""

    def lend(self, request: Request, images: bytes, family: Family) -> None:
        """Let a request begin in the slot that holds most of its prompt, with the same images; it is then its own, and
        what else it held is lost. So a text that only begins like a longer conversation leaves it alone."""
        if not request.keeps:
            return
        tokens = request.inputs.token_ids[0].tolist()
        able = [one for one in self._entries if one.images == images and one.seen == family.seen]
        able = [one for one in able if one.kept.serves(request.drafter.want)]
        lengths = [min(_num_common(one.kept.tokens, tokens), len(tokens) - 1) for one in able]
        if not request.has_image:
            lengths = [
                length if 2 * length >= len(one.kept.tokens) or self._goes_next(one) else 0
                for one, length in zip(able, lengths, strict=True)
            ]
        length = max(lengths, default=0)
        if length < max(_FEWEST, family.indivisible(request.inputs)):
            return
        entry = able[lengths.index(length)]
        self._entries = [one for one in self._entries if one is not entry]
        request.resume(entry.kept, length)

    def _goes_next(self, entry: _Entry) -> bool:
        """Whether it is dropped anyway once another slot is kept."""
        return len(self._entries) >= self._most and entry is self._entries[0]

    def keep(self, request: Request, images: bytes, family: Family, *, goes_on: bool) -> None:
        """Take the slot of an answer that has ended well; `goes_on`: of a conversation, which may have a next turn."""
        kept = request.kept
        if kept is not None:
            expected = self._next_turn(request) if goes_on else []
            length = _num_common(kept.tokens, expected)
            self._entries.append(_Entry(kept, images, family.seen, tuple(expected[length:]), length))
            self._drop_to(self._most)

    def _next_turn(self, request: Request) -> list[int]:
        """What a prompt begins with that goes on with this conversation, as far as that is known."""
        ended = request.answer[-1] in request.stop.end_tokens
        answer = request.answer[:-1] if ended else request.answer
        tokens = [*request.inputs.token_ids[0].tolist(), *answer, *self.turn]
        return tokens[: request.executor.limits.max_length]

    @property
    def quiet_seconds(self) -> float | None:
        """After so many without a request it is time to read ahead; None: there is nothing to be read."""
        return _QUIET_SECONDS if any(entry.expected for entry in self._entries) else None

    def read_ahead(self) -> None:
        """What the next turn of a conversation begins with, whatever it asks: its question is then a shorter prompt.

        Of the conversation that was answered last of those for which this was not done."""
        entry = next(one for one in reversed(self._entries) if one.expected)
        place = self._entries.index(entry)
        del self._entries[place]
        try:
            kept = entry.kept.followed_by(entry.expected, entry.length)
            self._entries.insert(place, replace(entry, kept=kept, expected=()))
        except Exception:  # nobody waits for it: the conversation is read anew, should it go on
            logger.exception("a conversation could not be read ahead")
            entry.kept.session.close()

    def shrink(self, num_tokens: int) -> None:
        """Drop those used longest ago until at most so many tokens are held."""
        while sum(len(one.kept.tokens) for one in self._entries) > num_tokens:
            self._drop_to(len(self._entries) - 1)

    def _drop_to(self, number: int) -> None:
        while len(self._entries) > number:
            self._entries.pop(0).kept.session.close()


def turn_between(family: Family) -> tuple[int, ...]:
    """Tokens that stand between any answer and the question after it; none where the template does not tell them."""

    def tokens(answer: str, question: str) -> list[int]:
        messages = (Message("user", ("Who?",)), Message("assistant", (answer,)), Message("user", (question,)))
        found: list[int] = family.encode(Prompt(messages)).token_ids[0].tolist()
        return found

    try:
        one, other_answer, other_question = tokens("Yes", "How"), tokens("No", "How"), tokens("Yes", "Who")
    except Exception:  # noqa: BLE001  (whoever asks is told what is wrong with the template; nobody has asked here)
        return ()
    first = len(one) - _num_common(one[::-1], other_answer[::-1])
    return tuple(one[first : _num_common(one, other_question)])


def images_of(inputs: ModelInputs) -> bytes:
    """What tells a prompt's images apart, as the model gets them."""
    digest = hashlib.blake2b(digest_size=32)
    for name, value in sorted(dict[str, Any](inputs.extras).items()):
        if runs_along(name, value, inputs.token_ids):  # which grows with the text
            continue
        if not isinstance(value, torch.Tensor):
            digest.update(f"{name} {value!r}".encode())
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _num_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens at the beginning that are the same."""
    return next((place for place, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
