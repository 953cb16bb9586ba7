"""What a benchmark run leaves behind: the raw integers and seconds of every answer, as plain values and JSON.

No torch here. Every figure is derived from these, late: see `summary`. A record is one JSON file with a line per
question and per answer; steps are stored as columns, which is a tenth of the size of one object per step.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from seeahead.bench import schema
from seeahead.errors import InputError
from seeahead.metrics import Totals
from seeahead.provenance import write_text
from seeahead.records import STRICT, Count, Generation, Origin, Seconds, adapter, fault_of

SCHEMA = "seeahead-bench/1"
PLAIN = "none"
"""The method every other one is compared with: the same loop without drafts."""


class _Strict:
    """What is read from a file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class Asked(_Strict):
    """One question as it was put to every method; a follow-up carries the questions and answers before it."""

    id: str
    scenario: str
    question: str
    pictures: tuple[str, ...] = ()  # file names, for people
    earlier: tuple[tuple[str, str], ...] = ()
    max_new_tokens: Count = 128


_Rounded = Annotated[Seconds, PlainSerializer(lambda seconds: round(seconds, 6))]


@dataclass(frozen=True)
class Run(_Strict):
    """One method's answer to one question, once. Peers report no steps; one that failed says why in `error`."""

    asked: Count  # index into Record.asked
    method: str
    repeat: Count
    temperature: schema.Temperature
    token_ids: tuple[Count, ...] = ()
    text: str = ""
    seconds_first: _Rounded = 0.0  # from the call to the first token: prompt, images, the drafter's start
    seconds_total: _Rounded = 0.0  # from the call to the last token
    peak_bytes: Annotated[int, Field(ge=0, le=10**18)] = 0  # of the process, or the device
    generation: Annotated[
        Generation | None, BeforeValidator(schema.with_tokens), PlainSerializer(schema.without_tokens)
    ] = None
    error: str = ""
    pieces: tuple[tuple[str, Origin], ...] = ()  # the text as it arrived, and who proposed it
    num_first: Count = 1  # tokens that came at once with the first one
    arrivals: Annotated[tuple[float, ...], Field(exclude=True)] = ()  # of each piece, seconds after the first

    @property
    def key(self) -> tuple[int, str, int, float]:
        """Question, method, repeat, temperature."""
        return self.asked, self.method, self.repeat, self.temperature

    @property
    def totals(self) -> Totals:
        """Counts and seconds, of which every figure is made. All after the first token is decoding, whoever decodes:
        also what lies between steps, which an engine that reports none does not tell apart."""
        first, total, seconds = self.seconds_first, self.seconds_total, self.seconds_total - self.seconds_first
        if self.generation is None:
            num = len(self.token_ids)
            return Totals(max(0, num - self.num_first), seconds, num, total=total, first=first)
        return replace(Totals.of(self.generation), seconds=seconds, total=total, first=first)

    @property
    def as_stored(self) -> Run:
        """Repeats and sampled answers keep tokens and times; the words are for people, who read one answer each."""
        if self.repeat == 0 and self.temperature == 0:
            return self
        return replace(self, pieces=(), text=self.text if self.repeat == 0 else "")

    def to_json(self) -> dict[str, Any]:
        """What stands at its default is left out."""
        return cast(dict[str, Any], adapter(Run).dump_python(self, mode="json", exclude_defaults=True))

    @classmethod
    def read(cls, line: bytes) -> Run:
        """From the text of `to_json`. Raises a ValueError for anything else."""
        return cast(Run, adapter(Run).validate_json(line))


@dataclass(frozen=True)
class Gap(_Strict):
    """Where an answer leaves the plain one, and by how much the target preferred its own token there (logits).

    None where one answer merely ends earlier. In half precision a gap near zero is a tie that rounding broke.
    """

    asked: Count
    method: str
    repeat: Count
    position: Count
    logit_gap: float | None


_LEAST_RATIO = 0.93


@dataclass(frozen=True)
class Costs(_Strict):
    """V(k): median seconds of one forward of k tokens of the target after `num_cached` cached ones, on this machine."""

    num_cached: Count
    seconds: Mapping[Annotated[int, Field(ge=1, le=10**6)], Annotated[float, Field(gt=0, le=10**6)]]

    def ratio(self, num_tokens: float) -> float:
        """V(k) = time(k) / time(1), on straight lines between the measured k; NaN where nothing was measured."""
        known = sorted(self.seconds)
        if not known:
            return math.nan
        low = max((k for k in known if k <= num_tokens), default=known[0])
        high = min((k for k in known if k >= num_tokens), default=known[-1])
        share = 0.0 if low == high else (num_tokens - low) / (high - low)
        return (self.seconds[low] * (1 - share) + self.seconds[high] * share) / self.seconds[known[0]]

    @property
    def is_disturbed(self) -> bool:
        """More tokens cannot take clearly less time: something else ran on the machine meanwhile."""
        return any(self.ratio(k) < _LEAST_RATIO for k in self.seconds)


@dataclass(frozen=True)
class Record(_Strict):
    """A whole run. `settings` says what ran (suite, target, dtype, device, threads, repeats, temperatures, seed)."""

    # Kept as they are, as far as what is shown of them has its type.
    provenance: Annotated[
        Mapping[str, Any], AfterValidator(lambda found: schema.Origins.model_validate(found) and found)
    ]
    settings: Annotated[
        Mapping[str, Any], AfterValidator(lambda found: schema.Settings.model_validate(found) and found)
    ]
    num_parameters: Mapping[str, Count]  # "target" and every drafter that has any, by method
    costs: Costs
    methods: tuple[str, ...]  # plain first
    peers: tuple[str, ...]  # those of `methods` that are other engines
    asked: tuple[Asked, ...]
    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...] = ()

    @property
    def scenarios(self) -> Mapping[str, int]:
        """With their number of questions, in the order of their first one."""
        return Counter(entry.scenario for entry in self.asked)

    @property
    def dtype(self) -> str:
        """The target's, as numbers are called."""
        return str(self.settings.get("dtype", "")).removeprefix("torch.")

    def precision_of(self, method: str) -> str:
        """Of its weights."""
        return str(self._other(method).get("precision", self.dtype))

    def has_weights_of_target(self, method: str) -> bool:
        """Whether its greedy answers should be the plain ones."""
        return bool(self._other(method).get("has_weights_of_target", True))

    def _other(self, method: str) -> Mapping[str, Any]:
        """What is known of another engine; nothing of ours."""
        return (self.settings.get("others") or {}).get(method) or {}

    def first_answers(self) -> dict[int, dict[str, Run]]:
        """By question and method: the answers of the lowest temperature and the first repeat."""
        lowest = min((run.temperature for run in self.runs), default=0.0)
        first = {(run.asked, run.method): run for run in self.runs if (run.temperature, run.repeat) == (lowest, 0)}
        asked = sorted({place for place, _ in first})
        return {place: {name: first[place, name] for name in self.methods if (place, name) in first} for place in asked}

    @cached_property
    def clusters(self) -> tuple[int, ...]:
        """Of each question, the number of the cluster that intervals draw it in: its conversation, with all others that
        show the same images, since answers about one image are not independent. Images are known by their names."""
        known: dict[object, int] = {}
        found: list[int] = []
        for place, entry in enumerate(self.asked):
            if entry.earlier and found:
                found.append(found[-1])
            else:
                found.append(known.setdefault(tuple(sorted(entry.pictures)) or place, len(known)))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """What stands at its default is left out."""
        whole = replace(self, runs=tuple(run.as_stored for run in self.runs))
        return {"schema": SCHEMA, **adapter(Record).dump_python(whole, mode="json", exclude_defaults=True)}

    @classmethod
    def from_json(cls, value: object) -> Record:
        """Raises InputError for another schema, and for whatever a run cannot have left behind."""
        found = value.get("schema") if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping) or found != SCHEMA:
            raise InputError(f"this is no benchmark record of schema {SCHEMA} (it says {str(found)[:50]!r})")
        try:
            parts = {name: part for name, part in value.items() if name != "schema"}
            record: Record = adapter(Record).validate_json(json.dumps(parts))
        except ValidationError as error:
            raise InputError(f"this record is damaged: {fault_of(error)}; run seeahead bench again") from None
        if fault := next(schema.faults(record), None):
            raise InputError(f"this record does not add up: {fault}; run seeahead bench again")
        return record


def read_record(path: Path) -> Record:
    """Raises InputError for a file that is not there, not JSON, or no record that adds up."""
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except InputError as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = "it is no text; give a JSON file of seeahead bench"
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{getattr(error, 'strerror', None) or str(error)[:200]}; give a JSON file of seeahead bench"
    raise InputError(f"cannot read the record {path}: {reason}")


def write_record(path: Path, record: Record) -> None:
    parts = []
    for name, value in record.to_json().items():
        is_table = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        body = "[\n" + ",\n".join(map(_compact, value)) + "\n]" if is_table else _compact(value)
        parts.append(f"{_compact(name)}: {body}")
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
