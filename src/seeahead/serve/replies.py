"""Bodies of replies and chunks of streams: the shapes of OpenAI's API, vLLM's figures of speculative decoding."""

from __future__ import annotations

import codecs
import math
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

from seeahead.metrics import Totals
from seeahead.records import Generation
from seeahead.serve.logprobs import Spelling, TokenLogprob
from seeahead.serve.schema import StreamOptions
from seeahead.serve.ticket import Event, Ticket

REASONS = {"end": "stop", "stop": "stop", "length": "length", "context": "length"}
"""Why an answer ended, as others name it: those are all that clients and dashboards know."""
Json = dict[str, Any]


@dataclass
class Choice:
    """One answer of a reply, and what it has said so far."""

    index: int
    ticket: Ticket
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    record: Generation | None = None
    offsets: list[int] = field(default_factory=list)
    """Where each token begins in the text; those of one character where it stands."""
    _bytes: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    _letters: int = 0

    num_tokens: int = 0

    def add(self, event: Event) -> None:
        self.text += event.text
        self.num_tokens += sum(len(piece.token_ids) for piece in event.pieces)
        self.logprobs += event.logprobs
        for one in event.logprobs:
            self.offsets.append(self._letters)
            data = one.said.data
            self._letters += len(one.said.text if data is None else self._bytes.decode(data))
        if event.reply is not None and event.reply.error is None:
            self.record = event.reply.record

    @property
    def finish_reason(self) -> str | None:
        return None if self.record is None else REASONS.get(self.record.finish_reason, "stop")


@dataclass
class Shape:
    """Of one reply: whether it is a chat's or a text's, and what stands in each of its bodies."""

    model: str
    is_chat: bool
    details: bool = False
    wants_logprobs: bool = False
    options: StreamOptions = field(default_factory=StreamOptions)
    made: int = field(default_factory=lambda: int(time()))
    name: str = field(default_factory=lambda: secrets.token_hex(12))

    def _head(self, *, is_chunk: bool) -> Json:
        kind = ("chat.completion.chunk" if is_chunk else "chat.completion") if self.is_chat else "text_completion"
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        of_all = {"created": self.made, "model": self.model, "system_fingerprint": None}
        return {"id": f"{prefix}-{self.name}", "object": kind, **of_all}

    def whole(self, choices: Sequence[Choice]) -> Json:
        return {
            **self._head(is_chunk=False),
            "choices": [self._choice(choice) for choice in choices],
            "usage": usage(choices),
            "metrics": figures(choices, details=self.details),
        }

    def _choice(self, choice: Choice) -> Json:
        logprobs = self._logprobs(choice.logprobs, choice.offsets)
        said: Json = {"text": choice.text}
        if self.is_chat:
            said = {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
        return {"index": choice.index, **said, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def first(self, choice: Choice) -> Json | None:
        """The chunk that opens an answer of a chat."""
        return self._chunk(choice, {"role": "assistant", "content": ""}) if self.is_chat else None

    def chunk(self, choice: Choice, event: Event) -> Json:
        """The chunk of what a step says."""
        logprobs = self._logprobs(event.logprobs, choice.offsets[len(choice.offsets) - len(event.logprobs) :])
        body = self._chunk(choice, {"content": event.text}, logprobs)
        if self.details:
            pieces = [piece for piece in event.pieces if piece.token_ids]
            runs = [{"text": one.text, "source": one.origin, "num_tokens": len(one.token_ids)} for one in pieces]
            body["seeahead"] = {"tokens": runs, "refused": list(event.refused), "step": event.step}
        return body

    def last(self, choice: Choice) -> Json:
        """The chunk that says why an answer ends."""
        return self._chunk(choice, {}, finish_reason=choice.finish_reason)

    def end(self, choices: Sequence[Choice]) -> Json:
        """The chunk with the figures of the whole reply."""
        told = {"usage": usage(choices), "metrics": figures(choices, details=self.details)}
        return {**self._head(is_chunk=True), "choices": [], **told}

    def _chunk(
        self, choice: Choice, delta: Json, logprobs: Json | None = None, finish_reason: str | None = None
    ) -> Json:
        said = {"delta": delta} if self.is_chat else {"text": delta.get("content", "")}
        told = {"index": choice.index, **said, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = {**self._head(is_chunk=True), "choices": [told]}
        if self.options.continuous_usage_stats:
            chunk["usage"] = counts(choice.ticket.request.inputs.length, choice.num_tokens)
        return chunk

    def _logprobs(self, said: Sequence[TokenLogprob], offsets: Sequence[int]) -> Json | None:
        if not self.wants_logprobs:
            return None
        if self.is_chat:
            return {"content": [_chat_logprob(one) for one in said], "refusal": None}
        return {
            "tokens": [one.said.text for one in said],
            "token_logprobs": [_finite(one.logprob) for one in said],
            # Of tokens with the same text the likelier one counts; the one that was said is always among them.
            "top_logprobs": [
                {other.text: _finite(value) for other, value in ((one.said, one.logprob), *reversed(one.top))}
                for one in said
            ],
            "text_offset": [*offsets],
        }


def _chat_logprob(said: TokenLogprob) -> Json:
    def of(token: Spelling, value: float) -> Json:
        data = None if token.data is None else list(token.data)
        return {"token": token.text, "logprob": _finite(value), "bytes": data}

    return {**of(said.said, said.logprob), "top_logprobs": [of(*one) for one in said.top]}


def _finite(value: float) -> float:
    """As JSON has it: minus infinity is OpenAI's -9999."""
    return value if math.isfinite(value) else -9999.0


def counts(prompt: int, said: int) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def usage(choices: Sequence[Choice]) -> Json:
    """Tokens of prompt and answers; of several answers the prompt counts once."""
    records = [choice.record for choice in choices if choice.record is not None]
    prompt = max((record.num_prompt_tokens for record in records), default=0)
    said = sum(len(record.token_ids) for record in records)
    steps = [step for record in records for step in record.steps]
    accepted, drafted = sum(step.num_accepted for step in steps), sum(step.num_drafted for step in steps)
    told = {"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": drafted - accepted}
    return {
        **counts(prompt, said),
        "prompt_tokens_details": {"cached_tokens": max((one.ticket.request.num_resumed for one in choices), default=0)},
        "completion_tokens_details": told,
    }


def figures(choices: Sequence[Choice], *, details: bool) -> Json:
    """How a single answer came about; of several answers nothing is said, since they share passes."""
    record = choices[0].record if len(choices) == 1 else None
    if record is None:
        return {}
    ticket, totals = choices[0].ticket, Totals.of(record)
    accepted = [step.num_accepted for step in record.steps]
    drafted = [step.num_drafted for step in record.steps]
    after_first = ticket.seconds - (ticket.seconds_to_first_token or ticket.seconds)
    told = {
        "mean_acceptance_length": totals.block_efficiency if math.isfinite(totals.block_efficiency) else None,
        "draft_acceptance_rate": sum(accepted) / sum(drafted) if sum(drafted) else None,
        "acceptance_histogram": dict(sorted(Counter(accepted).items())),
        "num_spec_steps": len(accepted),
        "num_accepted_draft_tokens": sum(accepted),
        "num_draft_tokens": sum(drafted),
        "num_spec_tokens": ticket.asked.num_nodes,
        **({"per_step_accepted": accepted, "per_step_drafted": drafted} if details else {}),
    }
    return {
        "speculative_decoding": told,
        "drafter": record.drafter,
        "time_to_first_token_seconds": ticket.seconds_to_first_token,
        "tokens_per_second": totals.tokens / after_first if after_first > 0 and totals.tokens else None,
        "seconds": ticket.seconds,
    }
