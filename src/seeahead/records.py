"""What happened, token by token: the raw integers and seconds from which every figure is derived. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from seeahead.errors import InputError

TARGET = "target"
Origin = str
"""Of a token: the drafter that proposed it first, by its name; TARGET where nobody did. Records before 2026-11-30 say
"drafted" of any drafter."""

FinishReason = Literal["end", "length", "stop", "context", "error"]
"""Why an answer ended: end token, max_new_tokens, stop string, the context was full, or an error (in a batch)."""

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Of values that come back from a file: "3" is no number, true is not 1, and nobody has keys that we do not know."""
adapter = cache(TypeAdapter[Any])
"""Reads and writes values of a class; made when first needed, for that takes a while."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Step:
    """One propose-score-verify-commit round. Tokens after the end of the answer are not in it.

    `num_drafted` counts the tree's nodes, `depth` its levels, `num_accepted` the accepted nodes (also those that the
    answer's end cut off). `host` time is `seconds` minus the two forward shares. `expected`: of every node after a path
    that was accepted, how likely it was to be accepted too, by its drafter, and whether it was.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    emitted: tuple[Count, ...]
    origins: tuple[Origin, ...]
    num_drafted: Count
    depth: Count
    num_accepted: Count
    seconds_draft: Seconds
    seconds_target: Seconds
    seconds: Seconds
    expected: tuple[tuple[Share, bool], ...] = ()

    def faults(self) -> Iterator[str]:
        """What cannot be, of a step that was read from a file."""
        if len(self.origins) != len(self.emitted):
            yield f"its tokens ({len(self.emitted)}) and their origins ({len(self.origins)}) differ in number"
        if len(self.emitted) > self.num_accepted + 1:
            yield f"it emits more tokens ({len(self.emitted)}) than it accepted ({self.num_accepted}) and one"
        if max(self.num_accepted, self.depth) > self.num_drafted:
            more = f"accepted nodes ({self.num_accepted}) or levels ({self.depth})"
            yield f"it has more {more} than nodes ({self.num_drafted})"


@dataclass(frozen=True)
class Generation:
    """One answer: the prefill token first, then the tokens of every step."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    num_prompt_tokens: Count
    first_token: Count
    steps: tuple[Step, ...] = ()
    finish_reason: FinishReason = "length"
    seconds_prefill: Seconds = 0.0
    seconds_drafter_start: Seconds = 0.0
    drafter: str = "none"
    notes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Stored records have it; nothing writes into it."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        return (self.first_token, *(token for step in self.steps for token in step.emitted))

    @property
    def num_by_drafter(self) -> dict[Origin, int]:
        """Tokens that drafters proposed first, of whom most are first."""
        counts = Counter(origin for origin in self.origins if origin != TARGET)
        return dict(counts.most_common())

    @property
    def origins(self) -> tuple[Origin, ...]:
        return (TARGET, *(origin for step in self.steps for origin in step.origins))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return asdict(self)

    def faults(self) -> Iterator[str]:
        """What cannot be, of an answer that was read from a file."""
        for number, step in enumerate(self.steps):
            yield from (f"steps.{number}: {fault}" for fault in step.faults())

    @classmethod
    def from_json(cls, value: object) -> Generation:
        """Raises InputError for what `to_json` cannot have made."""
        try:
            generation: Generation = adapter(Generation).validate_json(json.dumps(value))
        except (TypeError, ValueError, RecursionError) as error:
            wrong = fault_of(error) if isinstance(error, ValidationError) else "it is not made of JSON values"
            raise InputError(f"this is no record of an answer: {wrong}") from None
        if fault := next(generation.faults(), None):
            raise InputError(f"this record of an answer does not add up: {fault}")
        return generation


def fault_of(error: ValidationError) -> str:
    """The first thing that is wrong, in one line that shows no value."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, fault["loc"]))[:200]
    if fault["type"] == "missing":
        return f"it lacks {place}"
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"it has an unknown {ascii(place)[1:-1]}"
    words = fault["msg"].removeprefix("Value error, ")
    return ascii(f"{place}: {words}" if place else words)[1:-1][:300]
