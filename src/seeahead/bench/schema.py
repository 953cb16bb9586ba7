"""What the parts of a stored run must look like: types, ranges, and columns that add up. Plain values; no torch."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from seeahead.records import STRICT, TARGET, Count, Generation, Step

if TYPE_CHECKING:
    from seeahead.bench.record import Record

_MICROS, _PARTS = 1_000_000, 1000
_LETTERS = "d" + string.ascii_uppercase
"""Of drafters, in the order of their names; "t" is the target."""
_COUNTS = ("num_drafted", "depth", "num_accepted")
_SECONDS = {"micros_draft": "seconds_draft", "micros_target": "seconds_target", "micros": "seconds"}
"""Column -> field of a step."""

Seed = Annotated[int, Field(ge=0, lt=2**64)]
Nodes = Annotated[int, Field(ge=0, le=10_000)]
Micros = Annotated[int, Field(ge=0, le=10**15)]
Temperature = Annotated[float, Field(ge=0, le=10**6)]


class Columns(BaseModel):
    """The steps of an answer, a list per field. Tokens stand in the run itself, so a count per step is enough."""

    model_config = STRICT

    emitted: list[Nodes]
    origins: Annotated[str, Field(pattern="^[dtA-Z]*$")]
    drafters: Annotated[list[str], Field(max_length=len(_LETTERS))] = ["drafted"]  # what older records call each
    num_drafted: list[Nodes]
    depth: list[Nodes]
    num_accepted: list[Nodes]
    micros_draft: list[Micros]
    micros_target: list[Micros]
    micros: list[Micros]
    expected: list[list[Annotated[int, Field(ge=0, le=2 * _PARTS + 1)]]] | None = None
    """Of each node its probability in thousandths, doubled, and one more where it was accepted."""

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        columns = [column for name, column in self if name not in ("origins", "drafters") and column is not None]
        if len(set(map(len, columns))) > 1:
            raise ValueError("its columns differ in length")
        if sum(self.emitted) != len(self.origins):
            raise ValueError("its tokens and their origins differ in number")
        if not set(self.origins) <= {"t", *_LETTERS[: len(self.drafters)]}:
            raise ValueError("an origin has no name")
        return self

    def steps(self, token_ids: Sequence[int]) -> Iterator[Step]:
        """`token_ids` are those after the first, which came with the prompt."""
        names = {"t": TARGET, **dict(zip(_LETTERS, self.drafters))}
        tokens, letters, told = iter(token_ids), iter(self.origins), self.expected or [[]] * len(self.emitted)
        for number, num_emitted in enumerate(self.emitted):
            origins = tuple(names[letter] for letter in islice(letters, num_emitted))
            counts = {name: getattr(self, name)[number] for name in _COUNTS}
            seconds = {name: getattr(self, column)[number] / _MICROS for column, name in _SECONDS.items()}
            expected = tuple((value // 2 / _PARTS, value % 2 == 1) for value in told[number])
            yield Step(tuple(islice(tokens, num_emitted)), origins, **counts, **seconds, expected=expected)


def with_tokens(stored: object, info: ValidationInfo) -> object:
    """What a `Generation` is made of, with the tokens of the run that it is a field of."""
    if not isinstance(stored, dict):
        return stored
    columns, token_ids = Columns.model_validate(stored.get("steps")), info.data.get("token_ids", ())
    if len(token_ids) != 1 + len(columns.origins) or "first_token" in stored:
        raise ValueError("its tokens are not those of its steps")
    return {**stored, "first_token": token_ids[0], "steps": tuple(columns.steps(token_ids[1:]))}


def without_tokens(generation: Generation | None) -> dict[str, Any] | None:
    """The inverse of `with_tokens`."""
    if generation is None:
        return None
    steps, names = generation.steps, [*generation.num_by_drafter][: len(_LETTERS)]
    letters = {TARGET: "t", **dict(zip(names, _LETTERS))}
    columns: dict[str, Any] = {
        "emitted": [len(step.emitted) for step in steps],
        "origins": "".join(letters.get(origin, _LETTERS[-1]) for step in steps for origin in step.origins),
        **({} if names in ([], ["drafted"]) else {"drafters": names}),
        **{name: [getattr(step, name) for step in steps] for name in _COUNTS},
        **{column: [round(getattr(step, name) * _MICROS) for step in steps] for column, name in _SECONDS.items()},
    }
    if any(step.expected for step in steps):
        columns["expected"] = [[2 * round(_PARTS * share) + was for share, was in step.expected] for step in steps]
    whole = {name: value for name, value in vars(generation).items() if name not in ("steps", "first_token")}
    whole |= {name: round(value, 6) for name, value in whole.items() if isinstance(value, float)}
    return {**whole, "steps": columns}


class Shown(BaseModel):
    """Values of which only some are shown or counted with; the others may be anything."""

    model_config = ConfigDict(**{**STRICT, "extra": "allow"})


class Hardware(Shown):
    """Of a machine."""

    system: str | None = None
    cpu: str | None = None
    gpu: str | None = None


class Origins(Shown):
    """Where a record comes from."""

    command: list[str] | None = None
    commit: str | None = None
    has_local_changes: bool | None = None
    date: str | None = None
    seed: Seed | None = None
    versions: dict[str, str | None] | None = None
    hardware: Hardware | None = None


class Other(Shown):
    """Another engine."""

    precision: str
    has_weights_of_target: bool
    versions: dict[str, str | None] = {}


class Passes(Shown):
    """How an executor runs passes, as it chose at load (`executor.Limits`)."""

    row_step: Annotated[int, Field(ge=1, le=10_000)]
    fixed_rows: list[Nodes] = []
    long_rows: Count = 0


class Settings(Shown):
    """What ran."""

    suite: str = ""
    about: str = ""
    model: str | None = None
    model_type: str | None = None
    num_parameters: Count | None = None
    dtype: str = ""
    executor: str = "transformers"
    device: str = ""
    num_threads: Count | None = None
    passes: Passes | None = None
    num_questions: Count | None = None
    num_repeats: Annotated[int, Field(ge=1)] = 1
    temperatures: list[Temperature] | None = None
    seed: Seed | None = None
    harness_share: Annotated[float, Field(ge=-1, le=1)] | None = None
    drafters: dict[str, str] | None = None
    left_out: list[str] | None = None
    reads_text_only: bool = False
    others: dict[str, Other] | None = None  # by method


def faults(record: Record) -> Iterator[str]:
    """What does not fit together between the tables of a record, the first thing first."""
    yield from (words for words, is_there in _of_whole(record).items() if is_there)
    known, greedy = set(), {}
    for number, run in enumerate(record.runs):
        if run.asked >= len(record.asked):
            yield f"runs.{number} answers question {run.asked} of {len(record.asked)}"
        if run.method not in record.methods:
            yield f"runs.{number} is of a method that is not listed"
        if (key := (run.asked, run.method, run.repeat, run.temperature)) in known:
            yield f"runs.{number} is there twice"
        if run.error and (run.token_ids or run.generation):
            yield f"runs.{number}.error: it failed and has an answer"
        if run.seconds_first > run.seconds_total or run.num_first > max(len(run.token_ids), 1):
            yield f"runs.{number} ends before its first token"
        if run.generation is not None:
            yield from (f"runs.{number}.{fault}" for fault in run.generation.faults())
        known.add(key)
        if run.temperature == 0:
            greedy[key[:3]] = len(run.token_ids)
    for number, gap in enumerate(record.gaps):
        num_tokens = greedy.get((gap.asked, gap.method, gap.repeat))
        if num_tokens is None:
            yield f"gaps.{number} is of an answer that is not there"
        elif gap.position > num_tokens:
            yield f"gaps.{number} lies beyond its answer"


def _of_whole(record: Record) -> dict[str, bool]:
    methods, peers, runs, given = record.methods, record.peers, record.runs, record.settings
    repeats, temperatures = given.get("num_repeats"), given.get("temperatures")
    return {
        "its methods do not begin with none, or name one twice": methods[:1] != ("none",)
        or len(set(methods)) < len(methods),
        "its peers are not among its methods": not set(peers) <= set(methods) or len(set(peers)) < len(peers),
        "its plain loop is named as a peer": "none" in peers,
        "its first question follows another one": not record.asked or bool(record.asked[0].earlier),
        "its sizes lack that of the target": "target" not in record.num_parameters,
        "its costs lack those of one token": bool(record.costs.seconds) and 1 not in record.costs.seconds,
        "it holds no answers": not runs,
        "its number of questions is not that of its settings": given.get("num_questions", len(record.asked))
        != len(record.asked),
        "a repeat is beyond those of its settings": any(run.repeat >= repeats for run in runs) if repeats else False,
        "a temperature is not among those of its settings": any(run.temperature not in temperatures for run in runs)
        if temperatures
        else False,
    }
