"""What a benchmark run leaves behind: the raw integers and seconds of every answer, as plain values and JSON.

No torch here. Every figure is derived from these, late: see `summary`. A record is one JSON file; steps are stored as
columns, which is a tenth of the size of one object per step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seeahead.errors import InputError
from seeahead.provenance import write_json
from seeahead.records import Generation, Step

SCHEMA = "seeahead-bench/1"
PLAIN = "none"
"""The method every other one is compared with: the same loop without drafts."""

_SECONDS = ("seconds_draft", "seconds_target", "seconds")
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
            "runs": [run_to_json(run) for run in self.runs],
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
    write_json(path, record.to_json())


def run_to_json(run: Run) -> dict[str, Any]:
    values = {name: value for name, value in vars(run).items() if name != "generation"}
    return {**values, "generation": _columns(run.generation)}


def run_from_json(value: Mapping[str, Any]) -> Run:
    tokens, generation = tuple(value["token_ids"]), _generation(value["generation"])
    pieces = tuple((text, origin) for text, origin in value.get("pieces", ()))
    return Run(**{**value, "token_ids": tokens, "generation": generation, "pieces": pieces})


def _asked(value: Mapping[str, Any]) -> Asked:
    earlier = tuple((question, answer) for question, answer in value["earlier"])
    return Asked(**{**value, "pictures": tuple(value["pictures"]), "earlier": earlier})


def _columns(generation: Generation | None) -> dict[str, Any] | None:
    if generation is None:
        return None
    steps = generation.steps
    columns: dict[str, Any] = {
        "emitted": [list(step.emitted) for step in steps],
        "origins": ["".join(origin[0] for origin in step.origins) for step in steps],
        **{name: [getattr(step, name) for step in steps] for name in _COUNTS},
        **{name: [round(getattr(step, name), 6) for step in steps] for name in _SECONDS},
    }
    return {**{name: value for name, value in vars(generation).items() if name != "steps"}, "steps": columns}


def _generation(value: Mapping[str, Any] | None) -> Generation | None:
    if value is None:
        return None
    columns = value["steps"]
    names = ("emitted", "origins", *_COUNTS, *_SECONDS)
    steps = []
    for row in zip(*(columns[name] for name in names), strict=True):
        entry = dict(zip(names, row, strict=True))
        entry["emitted"] = tuple(entry["emitted"])
        entry["origins"] = tuple("drafted" if letter == "d" else "target" for letter in entry["origins"])
        steps.append(Step(**entry))
    return Generation(**{**value, "steps": tuple(steps), "notes": tuple(value["notes"])})
