"""What a client of the server has of an answer under way, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch

from seeahead.errors import SeeaheadError
from seeahead.records import Step
from seeahead.reply import Answer, Reply
from seeahead.request import Request
from seeahead.sampling import log_probabilities


class BusyError(SeeaheadError):
    """The server takes no further request now; it may be asked again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float, *, is_closing: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.is_closing = retry_after, is_closing


class GoneError(SeeaheadError):
    """The client has gone away, or its time is over."""


@dataclass(frozen=True)
class Asked:
    """What one answer is asked for.

    `settings` are those of `Engine.stream_batch`. `drafter` is a served name; "" and "auto" are the default one.
    `num_nodes`: most drafted tokens of a step. `num_logprobs`: how many tokens beside the chosen one are told with
    their log-probabilities; None: not even the chosen one's. `details`: what was refused is told.
    """

    settings: Mapping[str, Any]
    drafter: str = ""
    num_nodes: int | None = None
    num_logprobs: int | None = None
    details: bool = False


@dataclass(frozen=True)
class Run:
    """Text that one source said first."""

    text: str
    source: str
    num_tokens: int


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its log-probability by the target's own logits, and the likeliest ones as (text, bytes, value)."""

    token_id: int
    text: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...]


@dataclass(frozen=True)
class Event:
    """What a step says; the last one carries the reply. `step` 0 is the first token's."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    runs: tuple[Run, ...] = ()
    refused: tuple[str, ...] = ()
    step: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    reply: Reply | None = None


@dataclass(eq=False)
class Ticket:
    """One answer under way, and what it has said so far that nobody has read."""

    answer: Answer
    asked: Asked
    images: bytes
    loop: asyncio.AbstractEventLoop
    wake: Callable[[], None]
    started: float = field(default_factory=monotonic)
    is_cancelled: bool = False
    seconds_to_first_token: float | None = None
    seconds: float = 0.0
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def request(self) -> Request:
        return self.answer.request

    @property
    def num_cached(self) -> int:
        """Tokens of the prompt that a slot held already."""
        return self.request.num_resumed

    @property
    def num_tokens(self) -> int:
        """Most tokens of prompt and answer."""
        return self.request.inputs.length + self.request.stop.limit

    def cancel(self) -> None:
        """The answer is dropped at the next step."""
        self.is_cancelled = True
        self.wake()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._events.get()
            yield event
            if event.reply is not None:
                return

    def tell(self, step: Step | None) -> None:
        """Of a step, or of the first token; called by the owner's thread."""
        pieces = list(self.answer.pieces(step))
        self.seconds = monotonic() - self.started
        if self.seconds_to_first_token is None and self.request.answer:
            self.seconds_to_first_token = self.seconds
        refused: tuple[str, ...] = ()
        if step is not None and self.asked.details:
            refused = tuple(self.answer.detokenizer.to_text([token]) for token in self.request.refused)
        logprobs, self._logprobs = tuple(self._logprobs), []
        event = Event(
            text="".join(piece.text for piece in pieces),
            token_ids=tuple(token for piece in pieces for token in piece.token_ids),
            runs=tuple(Run(piece.text, piece.source, len(piece.token_ids)) for piece in pieces if piece.token_ids),
            refused=refused,
            step=len(self.request.records),
            logprobs=logprobs,
            reply=next((piece.reply for piece in pieces if piece.reply is not None), None),
        )
        self._send(event)

    def abandon(self, error: SeeaheadError) -> None:
        """End with an error and nothing else."""
        self._send(Event(reply=Reply("", None, error=error)))

    def _send(self, event: Event) -> None:
        if event.reply is not None:
            self.request.watch = None  # it knows this ticket, which would hold images and slots in a cycle
        try:
            self.loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.is_cancelled = True

    def watch(self, tokens: Sequence[int], logits: torch.Tensor) -> None:
        """Keeps the log-probabilities of the newest tokens."""
        number, to_text = self.asked.num_logprobs or 0, self.answer.detokenizer.to_text
        logs = log_probabilities(logits[: len(tokens)])
        values, ids = logs.topk(number)
        for row, token in enumerate(tokens):
            said = [to_text([int(one)]) for one in ids[row]]
            top = tuple((text, text.encode(), float(value)) for text, value in zip(said, values[row]))
            text = to_text([token])
            self._logprobs.append(TokenLogprob(token, text, text.encode(), float(logs[row, token]), top))
