"""One training loop for every stage: rates, accumulation, averaging, checkpoints, a stop at a bad loss.

A stage that ends at its steps gives, interrupted or not, the same weights: the checkpoint holds the optimizers' state
too, and a stage draws its data by step. One that ends at its minutes depends on the clock.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seeahead.checked import checked, read_json, real, several, whole
from seeahead.errors import SeeaheadError
from seeahead.provenance import write_text
from seeahead.train.distributed import Processes
from seeahead.train.optimizers import Limits, Optimizers
from seeahead.train.origins import LIMITS, Origin, differences

Report = Callable[[str], None]
LossOf = Callable[[int], tuple[Tensor, dict[str, float]]]
CHECKPOINT_SECONDS = 120.0
REPORT_SECONDS = 15.0


class TrainingStoppedError(SeeaheadError):
    """The loss was no longer a number, or memory ran out; the message names the way to go on."""


@contextmanager
def room_for(told: str) -> Iterator[None]:
    """Raises TrainingStoppedError, with what is `told`, where memory runs out inside; on a CPU, that is an error like
    any other."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingStoppedError(told) from None
        raise


@dataclass(frozen=True)
class StageRecord:
    """What is kept of a stage: how far it came, and what it came from."""

    step: Annotated[int, whole(0, 10**12)] = 0
    seconds: Annotated[float, real(0, 1e12)] = 0.0
    done: Annotated[int, whole(0, 1)] = 0
    origin: Annotated[dict[str, str], several("texts by name", 0)] = field(default_factory=dict)


@dataclass
class Stage:
    """A stage's name, limits and folder; knows whether it is done and how far it came.

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

    @property
    def done(self) -> bool:
        return bool(self.record().done)

    def record(self) -> StageRecord:
        """Of the last checkpoint; an empty one where there is none. Raises SeeaheadError for one of another origin."""
        if not (self.weights.is_file() and self.state.is_file()):
            return StageRecord()
        anew = f"delete {self.state} to train this stage anew"
        record = checked(StageRecord, read_json(self.state, anew, SeeaheadError), str(self.state), SeeaheadError)
        may_differ = frozenset() if record.done else LIMITS
        kept, wanted = (
            {name: value for name, value in origin.items() if name not in may_differ}
            for origin in (record.origin, self.origin)
        )
        if kept and wanted and (told := differences(kept, wanted)):
            raise SeeaheadError(
                f"{self.name} was {'finished' if record.done else 'begun'} in {self.folder} otherwise: {told}; choose "
                f"another --out, or {anew}"
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
                f"{self.weights} holds other tensors than this recipe trains; delete it or use another --out"
            )
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(saved[name])
        return record

    def save(self, parameters: Mapping[str, Tensor], step: int, seconds: float, done: bool) -> None:
        """Each file is written beside and renamed; the state, written last, is what counts."""
        save_tensors(parameters, self.weights)
        record = {"step": step, "seconds": round(seconds, 1), "done": int(done), "origin": dict(self.origin)}
        write_text(self.state, json.dumps(record))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Of a checkpoint. Raises SeeaheadError for a file that is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        raise SeeaheadError(f"{path} is damaged; delete it to train this stage anew") from None


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Written beside and renamed. Raises SeeaheadError where there is no room."""
    partial = path.with_suffix(".partial")
    try:
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise SeeaheadError(f"cannot write {path.name}: {reason}; free space there and start again") from None


class Logger:
    """Means of losses since the last report, as one line and as a line of the stage's file."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._begin()

    def _begin(self) -> None:
        self._reported, self._sums, self._num_steps = time.monotonic(), Counter[str](), 0

    def add(self, step: int, share: float, values: Mapping[str, float]) -> None:
        self._num_steps += 1
        self._sums.update(values)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self.log(step, share)

    def log(self, step: int, share: float) -> None:
        """Nothing, if no step was taken since the last time."""
        if not self._num_steps:
            return
        stage, elapsed = self.stage, max(time.monotonic() - self._reported, 1e-6)
        num_tokens = self._sums.pop("tokens", 0.0)
        means = {name: round(value / self._num_steps, 4) for name, value in self._sums.items()}
        shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        samples = self._num_steps * stage.limits.batch_size * stage.limits.accumulate
        pace = f"{num_tokens / elapsed:.0f} tokens/s" if num_tokens else f"{samples / elapsed:.1f} samples/s"
        stage.report(f"{stage.name}: {share:4.0%} step {step} {shown} {pace}")
        with stage.losses.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **means}) + "\n")
        self._begin()


def fit(
    stage: Stage,
    parameters: Mapping[str, Tensor],
    loss_of: LossOf,
    watch: Callable[[], str] | None = None,
    watch_minutes: float = 10.0,
    scale_of: Callable[[str], float] = lambda name: 1.0,
) -> None:
    """Minimises loss_of(batch number) within the stage's limits; `watch` returns a line about held-out data at times.

    `scale_of(name)` is the share of the learning rate a parameter gets. The values that come with a loss are averaged
    in reports; "tokens" is summed."""
    record = stage.load(parameters)
    if record.done:
        stage.report(f"{stage.name}: done before, {record.step} steps")
        return
    stage.folder.mkdir(parents=True, exist_ok=True)
    limits, logger, processes = stage.limits, Logger(stage), Processes()
    step, start = record.step, time.monotonic() - record.seconds
    optimizers = Optimizers(parameters, limits, scale_of)
    with suppress(SeeaheadError):  # without it, or with a damaged one, they start anew
        optimizers.remember(step, load_tensors(stage.memory))
    saved = watched = time.monotonic()
    while (share := processes.agreed(max((time.monotonic() - start) / (60 * limits.minutes), step / limits.steps))) < 1:
        values = gradient(stage, step, list(parameters.values()), loss_of, processes)
        optimizers.descend(step, share)
        step += 1
        logger.add(step, share, values)
        if time.monotonic() - saved > CHECKPOINT_SECONDS and processes.is_first:
            save_tensors(optimizers.memory(step), stage.memory)
            stage.save(parameters, step, time.monotonic() - start, False)
            saved = time.monotonic()
        if watch and time.monotonic() - watched > 60 * watch_minutes:
            stage.report(f"{stage.name}: held out: {watch()}")
            watched = time.monotonic()
    logger.log(step, 1.0)
    optimizers.use_averages()
    if processes.is_first:
        stage.save(parameters, step, time.monotonic() - start, True)
        stage.memory.unlink(missing_ok=True)
    stage.report(f"{stage.name}: finished after {step} steps")


def gradient(
    stage: Stage, step: int, parameters: list[Tensor], loss_of: LossOf, processes: Processes
) -> dict[str, float]:
    """Leaves the mean gradient of the step's batches in the parameters; means of their values, sums of their tokens."""
    for parameter in parameters:
        parameter.grad = None
    count, means = stage.limits.accumulate, dict[str, float]()
    for part in range(count):
        with room_for(
            f"{stage.name}: out of memory at step {step}; lower batch_size (now {stage.limits.batch_size}) and raise "
            f"accumulate (now {count}) as much; then start again, it goes on from the last checkpoint"
        ):
            loss, values = loss_of(((step * count) + part) * processes.number + processes.index)
            check_loss(float(loss.detach()), stage, step)
            (loss / count).backward()
        for name, value in {"loss": float(loss.detach()), **values}.items():
            means[name] = means.get(name, 0.0) + value / (1 if name == "tokens" else count)
    processes.average_gradients(parameters)
    return means


def check_loss(value: float, stage: Stage, step: int) -> None:
    if not math.isfinite(value):
        last = stage.weights if stage.weights.is_file() else "none yet"
        raise TrainingStoppedError(
            f"{stage.name}: the loss is {value} at step {step}; last good checkpoint: {last}; lower learning_rate"
        )
