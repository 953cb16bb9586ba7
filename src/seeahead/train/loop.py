"""One training loop for every stage: rate by share of the budget, checkpoints, resume, a stop at a bad loss."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seeahead.errors import SeeaheadError

Report = Callable[[str], None]
CHECKPOINT_SECONDS = 120.0
REPORT_SECONDS = 15.0


class TrainingStoppedError(SeeaheadError):
    """The loss was no longer a number; the message names the checkpoint to go on from."""


@dataclass(frozen=True)
class Limits:
    """What a stage may use. The learning rates follow the larger share of minutes and steps used.

    `matrix_rate`: the rate of Muon (Jordan et al. 2024) for the matrices of the layers; 0 leaves them to AdamW."""

    minutes: float
    steps: int
    batch_size: int
    learning_rate: float
    matrix_rate: float = 0.0
    warm_up: float = 0.04


def rate_at(share: float, limits: Limits) -> float:
    """Linear warm-up, then a cosine down to 3 percent."""
    if share < limits.warm_up:
        return limits.learning_rate * max(share, 1e-3) / limits.warm_up
    rest = (share - limits.warm_up) / (1 - limits.warm_up)
    return limits.learning_rate * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0))))


@dataclass
class Stage:
    """A stage's name, limits and folder; knows whether it is done and how far it came."""

    name: str
    folder: Path
    limits: Limits
    report: Report

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def state(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def done(self) -> bool:
        return self.state.is_file() and bool(json.loads(self.state.read_text())["done"])

    def load(self, parameters: Mapping[str, Tensor]) -> dict[str, float]:
        """Copies the last checkpoint into the parameters; an empty record when there is none."""
        if not (self.weights.is_file() and self.state.is_file()):
            return {"step": 0, "seconds": 0.0, "done": 0}
        saved = load_file(self.weights)
        if saved.keys() != parameters.keys():
            raise SeeaheadError(
                f"{self.weights} holds other tensors than this recipe trains; delete it or use another --out"
            )
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(saved[name])
        record: dict[str, float] = json.loads(self.state.read_text())
        return record

    def save(self, parameters: Mapping[str, Tensor], step: int, seconds: float, done: bool) -> None:
        partial = self.weights.with_suffix(".partial")
        save_file({name: value.detach().contiguous() for name, value in parameters.items()}, partial)
        partial.replace(self.weights)
        self.state.write_text(json.dumps({"step": step, "seconds": round(seconds, 1), "done": int(done)}))


class Meter:
    """Means of losses since the last report, as one line."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.reported = time.monotonic()
        self.sums: dict[str, float] = {}
        self.num_steps = 0

    def add(self, step: int, share: float, values: Mapping[str, float]) -> None:
        self.num_steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        elapsed = time.monotonic() - self.reported
        if elapsed > REPORT_SECONDS:
            means = " ".join(f"{name} {value / self.num_steps:.3f}" for name, value in self.sums.items())
            rate = self.num_steps * self.stage.limits.batch_size / elapsed
            self.stage.report(f"{self.stage.name}: {share:4.0%} step {step} {means} {rate:.1f} samples/s")
            self.reported, self.sums, self.num_steps = time.monotonic(), {}, 0


def optimizers_of(
    parameters: Mapping[str, Tensor], limits: Limits, scale_of: Callable[[str], float]
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the layers where the limits ask for it; biases and norms do not decay.

    Each group keeps its share of the learning rate as `scale`."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    matrices: dict[float, list[Tensor]] = {}
    for name, value in parameters.items():
        if limits.matrix_rate and value.ndim == 2 and "layers." in name:
            matrices.setdefault(scale_of(name) * limits.matrix_rate / limits.learning_rate, []).append(value)
        else:
            groups.setdefault((scale_of(name), 0.02 if value.ndim > 1 else 0.0), []).append(value)
    listed = [{"params": values, "scale": scale, "weight_decay": decay} for (scale, decay), values in groups.items()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(listed, betas=(0.9, 0.98), fused=True)]
    if matrices:
        muon = [{"params": values, "scale": scale} for scale, values in matrices.items()]
        optimizers.append(torch.optim.Muon(muon, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def fit(
    stage: Stage,
    parameters: Mapping[str, Tensor],
    loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
    watch: Callable[[], str] | None = None,
    watch_minutes: float = 10.0,
    scale_of: Callable[[str], float] = lambda name: 1.0,
) -> None:
    """Minimises loss_of(step) within the stage's limits; `watch` returns one line about held-out data now and then.

    `scale_of(name)` is the share of the learning rate a parameter gets."""
    record = stage.load(parameters)
    if record["done"]:
        stage.report(f"{stage.name}: done before, {int(record['step'])} steps")
        return
    stage.folder.mkdir(parents=True, exist_ok=True)
    limits, meter = stage.limits, Meter(stage)
    optimizers = optimizers_of(parameters, limits, scale_of)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    step, start = int(record["step"]), time.monotonic() - record["seconds"]
    saved = watched = time.monotonic()
    while (share := max((time.monotonic() - start) / (60 * limits.minutes), step / limits.steps)) < 1:
        for group in groups:
            group["lr"] = rate_at(share, limits) * group["scale"]
        loss, parts = loss_of(step)
        value = float(loss.detach())
        check_loss(value, stage, step)
        descend(loss, list(parameters.values()), optimizers)
        step += 1
        meter.add(step, share, {"loss": value, **parts})
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            stage.save(parameters, step, time.monotonic() - start, False)
            saved = time.monotonic()
        if watch and time.monotonic() - watched > 60 * watch_minutes:
            stage.report(f"{stage.name}: held out: {watch()}")
            watched = time.monotonic()
    stage.save(parameters, step, time.monotonic() - start, True)
    stage.report(f"{stage.name}: finished after {step} steps")


def descend(loss: Tensor, parameters: list[Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
    """One step down the clipped gradient."""
    for parameter in parameters:
        parameter.grad = None
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        optimizer.step()


def check_loss(value: float, stage: Stage, step: int) -> None:
    if not math.isfinite(value):
        last = stage.weights if stage.weights.is_file() else "none yet"
        raise TrainingStoppedError(
            f"{stage.name}: the loss is {value} at step {step}; last good checkpoint: {last}; lower learning_rate"
        )
