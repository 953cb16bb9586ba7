"""What the parts of a stored run must look like: types, ranges, and columns that add up. Plain values; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from seeahead.records import STRICT, Count, FinishReason, Generation, Origin, Seconds, Step

if TYPE_CHECKING:
    from seeahead.bench.record import Record

MICROS = 1_000_000
SECONDS = {"seconds_draft": "micros_draft", "seconds_target": "micros_target", "seconds": "micros"}
"""Field of a step -> its column."""
_ORIGINS: Mapping[str, Origin] = {"d": "drafted", "t": "target"}
COUNTS = ("num_drafted", "depth", "num_accepted")

Nodes = Annotated[int, Field(ge=0, le=10_000)]
Micros = Annotated[int, Field(ge=0, le=10**15)]
Temperature = Annotated[float, Field(ge=0, le=10**6)]


class Part(BaseModel):
    """Anything read from a record."""

    model_config = ConfigDict(**STRICT, frozen=True)


class Columns(Part):
    """The steps of an answer, a list per field. Tokens stand in the run itself, so a count per step is enough."""

    emitted: list[Nodes]
    origins: Annotated[str, Field(pattern="^[dt]*$")]
    num_drafted: list[Nodes]
    depth: list[Nodes]
    num_accepted: list[Nodes]
    micros_draft: list[Micros]
    micros_target: list[Micros]
    micros: list[Micros]

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        if len({len(getattr(self, name)) for name in ("emitted", *COUNTS, *SECONDS.values())}) > 1:
            raise ValueError("its columns differ in length")
        if sum(self.emitted) != len(self.origins):
            raise ValueError("its tokens and their origins differ in number")
        return self

    def steps(self, token_ids: Sequence[int]) -> Iterator[Step]:
        """`token_ids` are the whole answer's; the first of them came with the prompt."""
        start = 1
        for number, num_emitted in enumerate(self.emitted):
            end = start + num_emitted
            origins = (_ORIGINS[letter] for letter in self.origins[start - 1 : end - 1])
            counts = {name: getattr(self, name)[number] for name in COUNTS}
            seconds = {name: getattr(self, column)[number] / MICROS for name, column in SECONDS.items()}
            yield Step(tuple(token_ids[start:end]), tuple(origins), **counts, **seconds)
            start = end


class StoredGeneration(Part):
    """A `Generation` whose tokens stand in its run."""

    num_prompt_tokens: Count
    steps: Columns
    finish_reason: FinishReason
    seconds_prefill: Seconds
    seconds_drafter_start: Seconds
    drafter: str
    notes: tuple[str, ...]


def with_tokens(stored: StoredGeneration | None, info: ValidationInfo) -> Generation | None:
    """The `Generation`, with the tokens of the run that it is a field of."""
    if stored is None:
        return None
    token_ids = info.data.get("token_ids", ())
    if len(token_ids) != 1 + len(stored.steps.origins):
        raise ValueError("its tokens are not those of its steps")
    values = {name: value for name, value in stored if name != "steps"}
    return Generation(first_token=token_ids[0], steps=tuple(stored.steps.steps(token_ids)), **values)


def without_tokens(generation: Generation | None) -> dict[str, Any] | None:
    """The inverse of `with_tokens`."""
    if generation is None:
        return None
    steps = generation.steps
    columns: dict[str, Any] = {
        "emitted": [len(step.emitted) for step in steps],
        "origins": "".join(origin[0] for step in steps for origin in step.origins),
        **{name: [getattr(step, name) for step in steps] for name in COUNTS},
        **{short: [round(getattr(step, name) * MICROS) for step in steps] for name, short in SECONDS.items()},
    }
    whole = {name: value for name, value in vars(generation).items() if name not in ("steps", "first_token")}
    whole |= {name: round(value, 6) for name, value in whole.items() if isinstance(value, float)}
    return {**whole, "steps": columns}


def without_answer(error: str, info: ValidationInfo) -> str:
    """What a failed run says, which has nothing else to say."""
    if error and (info.data.get("token_ids") or info.data.get("generation")):
        raise ValueError("it failed and has an answer")
    return error


def is_like(model: type[Part]) -> AfterValidator:
    """Values are kept as they are, so far as what is shown of them is like the model."""

    def check(value: Mapping[str, Any]) -> Mapping[str, Any]:
        model.model_validate(value)
        return value

    return AfterValidator(check)


class Shown(Part):
    """Values of which only some are shown; the others may be anything."""

    model_config = ConfigDict(extra="allow")


class Hardware(Shown):
    """What of a machine is shown."""

    system: str | None = None
    cpu: str | None = None
    gpu: str | None = None


class Origins(Shown):
    """Where a record comes from: what of it is shown."""

    command: list[str] | None = None
    commit: str | None = None
    has_local_changes: bool | None = None
    date: str | None = None
    seed: int | None = None
    versions: dict[str, str | None] | None = None
    hardware: Hardware | None = None


class Settings(Shown):
    """What ran: what of it is shown or counted with."""

    suite: str = ""
    about: str = ""
    model: str | None = None
    model_type: str | None = None
    num_parameters: Count | None = None
    dtype: str = ""
    device: str = ""
    num_threads: Count | None = None
    num_questions: Count | None = None
    num_repeats: Annotated[int, Field(ge=1)] = 1
    temperatures: list[Temperature] | None = None
    seed: Count | None = None
    harness_share: Annotated[float, Field(ge=-1, le=1)] | None = None
    drafters: dict[str, str] | None = None
    left_out: list[str] | None = None


def faults(record: Record) -> Iterator[str]:
    """What does not fit together between the tables of a record, the first thing first."""
    yield from _of_names(record)
    known, greedy = set(), {}
    for number, run in enumerate(record.runs):
        if run.asked >= len(record.asked):
            yield f"runs.{number} answers question {run.asked} of {len(record.asked)}"
        if run.method not in record.methods:
            yield f"runs.{number} is of a method that is not listed"
        if (key := (run.asked, run.method, run.repeat, run.temperature)) in known:
            yield f"runs.{number} is there twice"
        if run.generation is not None:
            yield from (f"runs.{number}.{fault}" for fault in run.generation.faults())
        known.add(key)
        if run.temperature == 0:
            greedy[key[:3]] = len(run.token_ids)
    if not known:
        yield "it holds no answers"
    for number, gap in enumerate(record.gaps):
        num_tokens = greedy.get((gap.asked, gap.method, gap.repeat))
        if num_tokens is None:
            yield f"gaps.{number} is of an answer that is not there"
        elif gap.position > num_tokens:
            yield f"gaps.{number} lies beyond its answer"
    yield from _of_settings(record, record.settings)


def _of_names(record: Record) -> Iterator[str]:
    if record.methods[:1] != ("none",) or len(set(record.methods)) < len(record.methods):
        yield "its methods do not begin with none, or name one twice"
    if not set(record.peers) <= set(record.methods) or len(set(record.peers)) < len(record.peers):
        yield "its peers are not among its methods"
    if "none" in record.peers:
        yield "its plain loop is named as a peer"
    if not record.asked or record.asked[0].earlier:
        yield "its first question follows another one"
    if "target" not in record.num_parameters:
        yield "its sizes lack that of the target"
    if 1 not in record.costs.seconds:
        yield "its costs lack those of one token"


def _of_settings(record: Record, settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("num_questions", len(record.asked)) != len(record.asked):
        yield "its number of questions is not that of its settings"
    if any(run.repeat >= settings["num_repeats"] for run in record.runs if "num_repeats" in settings):
        yield "a repeat is beyond those of its settings"
    if any(run.temperature not in settings["temperatures"] for run in record.runs if settings.get("temperatures")):
        yield "a temperature is not among those of its settings"
