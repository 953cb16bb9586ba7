"""A stage of training as it is kept in a folder: its weights, how far it came, and what it was trained by and from.

What is there of another target, other data or another recipe is not used again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from seeahead.checked import checked, read_json, real, several, whole
from seeahead.errors import SeeaheadError, escaped
from seeahead.executors.tensor_files import write_tensors
from seeahead.provenance import file_digest, write_text

Report = Callable[[str], None]
Origin = Mapping[str, str]
"""What something came from, by name."""
_DIGEST = 16
"""Letters of a digest in an origin."""


@dataclass(frozen=True)
class Limits:
    """What a stage may use. The learning rates follow the larger share of minutes and steps used.

    `matrix_rate`: the rate of Muon (Jordan et al. 2024) for the matrices of the layers; 0 leaves them to AdamW.
    `accumulate`: batches per step. `average`: decay of the average of the weights that is kept in their place; 0: none.
    """

    steps: Annotated[int, whole(1, 10**9)]
    batch_size: Annotated[int, whole(1, 1_000_000)]
    learning_rate: Annotated[float, real(0, 100, above=True)]
    minutes: Annotated[float, real(0.001, 1e7)] = math.inf
    matrix_rate: Annotated[float, real(0, 100)] = 0.0
    warm_up: Annotated[float, real(0, 0.99)] = 0.04
    accumulate: Annotated[int, whole(1, 1_000_000)] = 1
    average: Annotated[float, real(0, 0.999999)] = 0.0

    @property
    def origin(self) -> dict[str, str]:
        """What a stage's optimizers keep in mind depends on which there are."""
        told = {name: str(value) for name, value in asdict(self).items()}
        return {**told, "has matrix_rate": str(self.matrix_rate > 0), "has average": str(self.average > 0)}


LIMITS = frozenset(one.name for one in fields(Limits))
"""Of a stage's origin, what may change while it is under way."""


@dataclass(frozen=True)
class StageRecord:
    """What is kept of a stage: how far it came, and what it came from."""

    step: Annotated[int, whole(0, 10**12)] = 0
    seconds: Annotated[float, real(0, 1e12)] = 0.0
    done: Annotated[int, whole(0, 1)] = 0
    origin: Annotated[dict[str, str], several("texts by name", 0)] = field(default_factory=dict)


@dataclass
class Stage:
    """A stage's name, limits and folder; knows how far it came.

    `origin`: what it is trained by and from. What is there of another is not gone on with, and not taken for done; but
    limits may be others while a stage is under way, since that is how a stage that stopped is helped on.

    Its files: the `weights`, the `state`, while it is under way the `memory` of the optimizers, and the `losses`, one
    JSON line per report: step, means."""

    name: str
    folder: Path
    limits: Limits
    report: Report
    origin: Origin = field(default_factory=dict)

    def __post_init__(self) -> None:
        endings = ("safetensors", "json", "optimizer.safetensors", "losses.jsonl")
        self.weights, self.state, self.memory, self.losses = (self.folder / f"{self.name}.{end}" for end in endings)

    def record(self) -> StageRecord:
        """Of the last checkpoint; an empty one where there is none. Raises SeeaheadError for one of another origin."""
        if not (self.weights.is_file() and self.state.is_file()):
            return StageRecord()
        anew = f"delete {self.state} to train this stage anew"
        record = checked(StageRecord, read_json(self.state, anew, SeeaheadError), str(self.state), SeeaheadError)
        may_differ = frozenset() if record.done else LIMITS
        if record.origin and self.origin and (told := differences(record.origin, self.origin, may_differ)):
            raise SeeaheadError(
                f"{self.name} was {'finished' if record.done else 'begun'} in {self.folder} otherwise: {told}; choose "
                f"another --output, or {anew}"
            )
        return record

    def load(self, parameters: Mapping[str, Tensor]) -> StageRecord:
        """Copies the last checkpoint into the parameters; an empty record when there is none."""
        record = self.record()
        if record == StageRecord():
            return record
        saved = load_tensors(self.weights)
        if {name: value.shape for name, value in saved.items()} != {n: v.shape for n, v in parameters.items()}:
            raise SeeaheadError(
                f"{self.weights} holds other tensors than this recipe trains; delete it or use another --output"
            )
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(saved[name])
        step = step_of(self.weights)
        # Of what was cut off between the two the state is the older one, and the stage is not finished.
        return record if step in (None, record.step) else replace(record, step=step, done=0)

    def save(
        self, parameters: Mapping[str, Tensor], step: int, seconds: float, memory: Mapping[str, Tensor] | None = None
    ) -> None:
        """`memory`: the optimizers', without which the stage is finished. Files are written beside, then renamed one
        after the other; weights know their step, so none are taken for those of another one."""
        parts = {self.weights: dict(parameters)} | ({} if memory is None else {self.memory: dict(memory)})
        write_tensors(parts, {"step": str(step)})
        record = StageRecord(step, round(seconds, 1), int(memory is None), dict(self.origin))
        write_text(self.state, json.dumps(asdict(record)))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Of a checkpoint. Raises SeeaheadError for a file that is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        raise SeeaheadError(f"{path} is damaged; delete it to train this stage anew") from None


def step_of(path: Path) -> int | None:
    """The step that a file of weights was saved at, if it says so."""
    with safe_open(path, "pt") as opened:
        told = (opened.metadata() or {}).get("step", "")
    return int(told) if told.isdecimal() else None


def differences(found: Mapping[str, Any], wanted: Origin, may_differ: frozenset[str] = frozenset()) -> str:
    """In words, what is not the same; nothing where all is."""
    told = []
    for name in dict.fromkeys([*wanted, *found]):
        before, now = (str(origin.get(name, "not there")) for origin in (found, wanted))
        if before != now and name not in may_differ:
            is_digest = len(now) == len(before) == _DIGEST
            told.append(f"another {name}" if is_digest else f"{name} was {escaped(before, 60)}, is {escaped(now, 60)}")
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


def digest(value: object) -> str:
    """Of JSON values, or of bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:_DIGEST]


def digest_of_file(path: Path) -> str:
    """Of what is in a file; the same for all that are not there."""
    return file_digest(path)[:_DIGEST] if path.is_file() else "none"
