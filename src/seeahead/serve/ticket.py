"""What a client of the server has of an answer under way, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from seeahead.errors import SeeaheadError
from seeahead.records import Step
from seeahead.reply import Answer, Piece, Reply
from seeahead.request import Request
from seeahead.serve.logprobs import TokenLogprob, Watcher
from seeahead.serve.recent import bytes_of


class BusyError(SeeaheadError):
    """The server takes no further request now; it may be asked again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float, *, is_closing: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.is_closing = retry_after, is_closing

    @classmethod
    def closing(cls) -> BusyError:
        return cls("the server is shutting down; ask another one", 5.0, is_closing=True)


class GoneError(SeeaheadError):
    """The client has gone away, or its time is over."""


@dataclass(frozen=True)
class Asked:
    """What one answer is asked for.

    `settings` are those of `Engine.stream_batch`. `drafter` is a served name; None: the default one, as is "auto" where
    no drafter of that name is served.
    `num_nodes`: most drafted tokens of a step. `num_logprobs`: how many tokens beside the chosen one are told with
    their log-probabilities; None: not even the chosen one's. `details`: what was refused is told.
    """

    settings: Mapping[str, Any]
    drafter: str | None = None
    num_nodes: int | None = None
    num_logprobs: int | None = None
    details: bool = False


@dataclass(frozen=True)
class Event:
    """What a step says; the last one carries the reply. `step` 0 is the first token's.

    Tokens come with the text that they complete, which may be a later step's; log-probabilities and what was refused
    come with their own step.
    """

    pieces: tuple[Piece, ...]
    refused: tuple[str, ...] = ()
    step: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    taken: Step | None = None
    is_first: bool = False
    """Whether it is of the first token, which no step takes."""
    seconds: float = 0.0
    """Since the event before it; of the first one since the request."""

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def reply(self) -> Reply | None:
        return next((piece.reply for piece in self.pieces if piece.reply is not None), None)

    @property
    def says_something(self) -> bool:
        return any(piece.text or piece.token_ids for piece in self.pieces) or bool(self.logprobs or self.refused)


@dataclass(eq=False)
class Ticket:
    """One answer under way, and what it has said so far that nobody has read."""

    answer: Answer
    asked: Asked
    loop: asyncio.AbstractEventLoop
    wake: Callable[[], None]
    watcher: Watcher | None = None
    images: bytes = b""
    is_chat: bool = False
    started: float = field(default_factory=monotonic)
    is_cancelled: bool = False
    why: SeeaheadError = field(default_factory=lambda: GoneError("the client has gone away"))
    seconds_queued: float = 0.0
    seconds_to_first_token: float | None = None
    seconds: float = 0.0
    number: int = 0
    events: asyncio.Queue[tuple[int, Event]] = field(default_factory=asyncio.Queue)
    """Which the answers of one request share, each under its number."""

    @property
    def request(self) -> Request:
        return self.answer.request

    @property
    def num_tokens(self) -> int:
        """Most tokens of prompt and answer."""
        return self.request.inputs.length + self.request.stop.limit

    @property
    def num_bytes(self) -> int:
        """Of its images, as they were given and as the model gets them."""
        prompt = self.request.prompt
        given = 0 if prompt is None else sum(map(bytes_of, prompt.images))
        return given + sum(getattr(value, "nbytes", 0) for value in self.request.inputs.extras.values())

    def cancel(self, why: SeeaheadError | None = None) -> None:
        """The answer is dropped at the next step; its client is told `why`, if it is still there."""
        self.why = why or self.why
        self.is_cancelled = True
        self.wake()

    def tell(self, step: Step | None) -> None:
        """Of a step, or of the first token; called by the owner's thread."""
        pieces = tuple(self.answer.pieces(step))
        seconds = monotonic() - self.started
        since, self.seconds = seconds - self.seconds, seconds
        is_first = self.seconds_to_first_token is None and bool(self.request.answer)
        if is_first:
            self.seconds_to_first_token = seconds
        refused: tuple[str, ...] = ()
        if step is not None and self.asked.details:
            refused = tuple(self.answer.detokenizer.to_text([token]) for token in self.request.refused)
        logprobs = () if self.watcher is None else self.watcher.take()
        self._send(Event(pieces, refused, len(self.request.records), logprobs, step, is_first, since))

    def abandon(self, error: SeeaheadError) -> None:
        """End with an error and nothing else."""
        self._send(Event((Piece("", reply=Reply("", None, error=error)),)))

    def _send(self, event: Event) -> None:
        try:
            self.loop.call_soon_threadsafe(self.events.put_nowait, (self.number, event))
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.is_cancelled = True
