"""What a benchmark run leaves behind: the raw integers and seconds of every answer, as plain values and JSON.

No torch here. Every figure is derived from these, late: see `summary`. A record is one JSON file with a line per
question and per answer; steps are stored as columns, which is a tenth of the size of one object per step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from seeahead.errors import InputError
from seeahead.provenance import write_text
from seeahead.records import Generation, Origin, Step

SCHEMA = "seeahead-bench/1"
PLAIN = "none"
"""The method every other one is compared with: the same loop without drafts."""

_SECONDS = {"seconds_draft": "micros_draft", "seconds_target": "micros_target", "seconds": "micros"}
_MICROS = 1_000_000
_COUNTS = ("num_drafted", "depth", "num_accepted")


@dataclass(frozen=True)
class Asked:
    """One question as it was put to every method; a follow-up carries what was said before."""

    id: str
    scenario: str
    question: str
    pictures: tuple[str, ...] = ()  # file names, for people
    earlier: tuple[tuple[str, str], ...] = ()
    max_new_tokens: int = 128


@dataclass(frozen=True)
class Run:
    """One method's answer to one question, once. Peers report no steps; one that failed says why in `error`."""

    asked: int  # index into Record.asked
    method: str
    repeat: int
    temperature: float
    token_ids: tuple[int, ...] = ()
    text: str = ""
    seconds_first: float = 0.0  # from the call to the first token: prompt, pictures, the drafter's start
    seconds_total: float = 0.0  # from the call to the last token
    peak_bytes: int = 0  # resident memory of the process at its highest, or the device's
    generation: Generation | None = None
    error: str = ""
    pieces: tuple[tuple[str, str], ...] = ()  # the text as it arrived: (text, who said it first: an Origin)

    @property
    def seconds_decode(self) -> float:
        """Our own steps where there are any, else everything after the first token."""
        if self.generation is not None:
            return sum(step.seconds for step in self.generation.steps)
        return self.seconds_total - self.seconds_first

    @property
    def num_decoded(self) -> int:
        """Tokens after the first, which comes with reading the prompt."""
        return max(0, len(self.token_ids) - 1)


_DEFAULTS = {entry.name: entry.default for entry in fields(Run)}


@dataclass(frozen=True)
class Gap:
    """Where an answer leaves the plain one, and by how much the target preferred its own token there (logits).

    None where one answer merely ends earlier. In half precision a gap near zero is a tie that rounding broke.
    """

    asked: int
    method: str
    repeat: int
    position: int
    logit_gap: float | None


_LEAST_RATIO = 0.93


@dataclass(frozen=True)
class Costs:
    """V(k): median seconds of one forward of k tokens of the target after `num_cached` cached ones, on this machine."""

    num_cached: int
    seconds: Mapping[int, float]

    def ratio(self, num_tokens: int) -> float:
        """V(k) = time(k) / time(1), interpolated between measured k."""
        known = sorted(self.seconds)
        below = max((k for k in known if k <= num_tokens), default=known[0])
        above = min((k for k in known if k >= num_tokens), default=known[-1])
        share = 0.0 if above == below else (num_tokens - below) / (above - below)
        return (self.seconds[below] * (1 - share) + self.seconds[above] * share) / self.seconds[known[0]]

    @property
    def is_disturbed(self) -> bool:
        """More tokens cannot take clearly less time: something else ran on the machine meanwhile."""
        return any(self.ratio(k) < _LEAST_RATIO for k in self.seconds)


@dataclass(frozen=True)
class Record:
    """A whole run. `settings` says what ran (suite, target, dtype, device, threads, repeats, temperatures, seed)."""

    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    num_parameters: Mapping[str, int]  # "target" and every drafter that has any, by method
    costs: Costs
    methods: tuple[str, ...]  # plain first
    peers: tuple[str, ...]  # those of `methods` that are other engines
    asked: tuple[Asked, ...]
    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in ("provenance", "settings", "num_parameters", "methods", "peers")},
            "costs": asdict(self.costs),
            "asked": [asdict(entry) for entry in self.asked],
            "gaps": [asdict(entry) for entry in self.gaps],
            "runs": [run_to_json(without_words(run)) for run in self.runs],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """Raises InputError for another schema."""
        if value.get("schema") != SCHEMA:
            raise InputError(f"this is no benchmark record of schema {SCHEMA} (it says {value.get('schema')!r})")
        seconds = {int(k): float(taken) for k, taken in value["costs"]["seconds"].items()}
        return cls(
            value["provenance"],
            value["settings"],
            value["num_parameters"],
            Costs(value["costs"]["num_cached"], seconds),
            tuple(value["methods"]),
            tuple(value["peers"]),
            tuple(_asked(entry) for entry in value["asked"]),
            tuple(run_from_json(entry) for entry in value["runs"]),
            tuple(Gap(**entry) for entry in value["gaps"]),
        )


def read_record(path: Path) -> Record:
    """Raises InputError for a file that is not there, not JSON, or no record."""
    try:
        return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the record {path}: {error}; give a JSON file of seeahead bench") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"the record {path} lacks or misnames {error}; run seeahead bench again") from None


def write_record(path: Path, record: Record) -> None:
    parts = []
    for name, value in record.to_json().items():
        is_table = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        body = "[\n" + ",\n".join(map(_compact, value)) + "\n]" if is_table else _compact(value)
        parts.append(f"{_compact(name)}: {body}")
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def without_words(run: Run) -> Run:
    """Repeats and sampled answers keep tokens and times; the words are for people, who read one answer each."""
    if run.repeat == 0 and run.temperature == 0:
        return run
    return replace(run, pieces=(), text=run.text if run.repeat == 0 else "")


def run_to_json(run: Run) -> dict[str, Any]:
    """What stands at its default is left out."""
    values = {name: value for name, value in vars(run).items() if name != "generation" and value != _DEFAULTS[name]}
    values |= {name: round(values[name], 6) for name in ("seconds_first", "seconds_total") if name in values}
    return {**values, "generation": _columns(run.generation)} if run.generation is not None else values


def run_from_json(value: Mapping[str, Any]) -> Run:
    tokens = tuple(value.get("token_ids", ()))
    pieces = tuple((text, origin) for text, origin in value.get("pieces", ()))
    given = {**value, "token_ids": tokens, "pieces": pieces}
    return Run(**{**given, "generation": _generation(value["generation"], tokens) if "generation" in value else None})


def _asked(value: Mapping[str, Any]) -> Asked:
    earlier = tuple((question, answer) for question, answer in value["earlier"])
    return Asked(**{**value, "pictures": tuple(value["pictures"]), "earlier": earlier})


def _columns(generation: Generation) -> dict[str, Any]:
    """Tokens are not repeated here: the run has them, so a count per step is enough."""
    steps = generation.steps
    columns: dict[str, Any] = {
        "emitted": [len(step.emitted) for step in steps],
        "origins": "".join(origin[0] for step in steps for origin in step.origins),
        **{name: [getattr(step, name) for step in steps] for name in _COUNTS},
        **{short: [round(getattr(step, name) * _MICROS) for step in steps] for name, short in _SECONDS.items()},
    }
    whole = {name: value for name, value in vars(generation).items() if name not in ("steps", "first_token")}
    whole |= {name: round(value, 6) for name, value in whole.items() if isinstance(value, float)}
    return {**whole, "steps": columns}


def _generation(value: Mapping[str, Any], token_ids: Sequence[int]) -> Generation:
    columns, steps, start = value["steps"], [], 1
    names = ("emitted", *_COUNTS, *_SECONDS.values())
    for row in zip(*(columns[name] for name in names), strict=True):
        entry = dict(zip(names, row, strict=True))
        end = start + entry.pop("emitted")
        seconds = {name: entry.pop(short) / _MICROS for name, short in _SECONDS.items()}
        origins = columns["origins"][start - 1 : end - 1]
        named: tuple[Origin, ...] = tuple("drafted" if letter == "d" else "target" for letter in origins)
        steps.append(Step(tuple(token_ids[start:end]), named, **entry, **seconds))
        start = end
    whole = {**value, "first_token": token_ids[0], "steps": tuple(steps), "notes": tuple(value["notes"])}
    return Generation(**whole)
