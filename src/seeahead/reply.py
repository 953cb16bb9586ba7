"""What a caller gets: pieces of an answer under way, and the whole reply with its record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seeahead.detokenize import Detokenizer
from seeahead.errors import SeeaheadError
from seeahead.metrics import Totals
from seeahead.records import TARGET, Generation, Origin, Step
from seeahead.request import Request


@dataclass(frozen=True)
class Reply:
    """One answer: its text, and the record of how it came about."""

    text: str
    record: Generation | None
    """None where the request failed before its first token."""
    seed: int = 0
    """The seed that was given, or drawn where none was: with it the same answer can be had again."""
    error: SeeaheadError | None = None
    """Why the answer ends where it does, of a request of a batch that failed."""

    @property
    def generation(self) -> Generation:
        """The record. Raises the error of a request that failed before its first token."""
        if self.record is None:
            assert self.error is not None
            raise self.error
        return self.record

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The answer's tokens, the end token included where there was one."""
        return () if self.record is None else self.record.token_ids

    @property
    def steps(self) -> tuple[Step, ...]:
        return () if self.record is None else self.record.steps

    @property
    def metrics(self) -> dict[str, float]:
        """Block efficiency (tokens per target forward, bonus included), token rate (per second, prefill excluded), …"""
        totals = Totals.of(self.generation)
        names = ("block_efficiency", "token_rate", "draft_share", "host_share")
        figures = {name: float(getattr(totals, name)) for name in names}
        return {**figures, "seconds_prefill": self.generation.seconds_prefill}


@dataclass(frozen=True)
class Piece:
    """New text of an answer under way, with who said each of its tokens first. The last piece carries the reply."""

    text: str
    token_ids: tuple[int, ...] = ()
    origins: tuple[Origin, ...] = ()
    reply: Reply | None = None

    @property
    def origin(self) -> Origin:
        """Of its last token, which completes the text."""
        return self.origins[-1] if self.origins else TARGET


@dataclass(frozen=True)
class Answer:
    """A request with what its text is made of."""

    request: Request
    detokenizer: Detokenizer

    def pieces(self, step: Step | None) -> Iterator[Piece]:
        """What a step says, or the first token; the last piece carries the reply."""
        request, is_last = self.request, self.request.finish_reason is not None
        if request.error is None:
            tokens, origins = (tuple(request.answer), (TARGET,)) if step is None else (step.emitted, step.origins)
            for text, token_ids, said in self.detokenizer.add(tokens, origins, is_last):
                yield Piece(text, token_ids, said)
        if is_last:
            seed = request.sampler.params.seed
            record = request.generation() if request.answer else None
            yield Piece("", reply=Reply(self.detokenizer.text, record, seed, request.error))
