"""One training loop for every stage: AdamW and Muon, rates, accumulation, averaging, a stop at a bad loss.

A stage that ends at its steps gives, interrupted or not, the same weights: the checkpoint holds the optimizers' state
too, and a stage draws its data by step. One that ends at its minutes depends on the clock. It may be run by several
processes, on as many GPUs or machines, that `accelerate launch` starts.
"""

from __future__ import annotations

import atexit
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from seeahead.errors import InputError, SeeaheadError, counted
from seeahead.train.stage import Limits, Report, Stage, load_tensors

Loss = tuple[Tensor, dict[str, float]]
"""What is minimised, and values beside it that are averaged in reports; "tokens" is summed."""
LossOf = Callable[[int], Loss]
"""By a batch's number."""
CHECKPOINT_SECONDS = 120.0
REPORT_SECONDS = 15.0


class TrainingStoppedError(SeeaheadError):
    """The loss was no longer a number, or memory ran out; the message names the way to go on."""


@contextmanager
def room_for(told: str) -> Iterator[None]:
    """Raises TrainingStoppedError, with what is `told`, where memory runs out inside."""
    try:
        yield
    except RuntimeError as error:  # on a CPU one like any other
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingStoppedError(told) from None
        raise


class Processes:
    """This process among all: each draws other batches, and gradients are averaged over them."""

    def __init__(self) -> None:
        """Raises InputError when several processes were started and accelerate is not installed."""
        self.number, self.index = 1, 0
        self._state: Any = None
        self._utils: Any = None
        if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
            try:
                from accelerate import PartialState, utils  # type: ignore[import-untyped]
            except ImportError:
                raise InputError("training in several processes needs accelerate; pip install accelerate") from None
            # The others wait while the first one has the target write answers, which may take days.
            given: dict[str, Any] = {"cpu": not torch.accelerator.is_available(), "timeout": timedelta(days=100)}
            self._state, self._utils = PartialState(**given), utils
            atexit.register(self._state.destroy_process_group)  # threads that still talk would abort the process
            self.number, self.index = self._state.num_processes, self._state.process_index
        self.is_first = self.index == 0  # it writes the files

    def once(self, report: Report) -> Report:
        """Tells what every process has to tell once: the first does."""
        return report if self.is_first else lambda line: None

    def device(self, wanted: str) -> str:
        """ "auto" is this process's own GPU where there are several."""
        return str(self._state.device) if self._state and wanted == "auto" else wanted

    def first_goes_first(self) -> AbstractContextManager[None]:
        """Inside, the other processes wait until the first is through; they then find what it wrote."""
        return self._state.main_process_first() if self._state else nullcontext()

    def agreed(self, share: float) -> float:
        """The first process's value: all must stop at the same step."""
        if not self._state:
            return share
        return float(self._utils.broadcast(torch.tensor([share], device=self._state.device))[0])

    def average_gradients(self, parameters: Mapping[str, Tensor]) -> None:
        if not self._state:
            return
        # One that no batch of this process has asked, such as what reads images, others may have; or nobody has.
        has = torch.tensor([float(one.grad is not None) for one in parameters.values()], device=self._state.device)
        for parameter, count in zip(parameters.values(), self._utils.reduce(has, "sum").tolist(), strict=True):
            if count:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._utils.reduce(own, "mean")


# ---- how weights move


def rate_at(share: float, limits: Limits) -> float:
    """Linear warm-up, then a cosine down to 3 percent."""
    if share < limits.warm_up:
        return limits.learning_rate * max(share, 1e-3) / limits.warm_up
    rest = (share - limits.warm_up) / (1 - limits.warm_up)
    return limits.learning_rate * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0))))


class Optimizers:
    """The optimizers of a stage's parameters, and the average of these where the limits ask for one."""

    def __init__(self, parameters: Mapping[str, Tensor], limits: Limits, scale_of: Callable[[str], float]) -> None:
        self._parameters, self._limits = parameters, limits
        self._all = optimizers_of(parameters, limits, scale_of)
        kept = parameters.items() if limits.average else ()
        self._averages = {name: value.detach().clone() for name, value in kept}

    def descend(self, step: int, share: float) -> None:
        """Step number `step` down the clipped gradient, at the rate for this share of the budget. Raises
        TrainingStoppedError, weights as they were, for one that is no number."""
        if not torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0).isfinite():
            raise TrainingStoppedError(f"the gradient is no number at step {step}; lower learning_rate")
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(share, self._limits) * group["scale"]
            optimizer.step()
        for name, average in self._averages.items():
            # Early on, the average is that of all steps.
            decay = min(self._limits.average, (step + 1) / (step + 10))
            average.lerp_(self._parameters[name].detach(), 1 - decay)

    @torch.no_grad()
    def use_averages(self) -> None:
        """The averages in the place of the weights, where there are any."""
        for name, average in self._averages.items():
            self._parameters[name].copy_(average)

    def memory(self, step: int) -> dict[str, Tensor]:
        """Everything beside the weights that step `step` depends on."""
        held = {"step": torch.tensor(step), **{f"average {name}": value for name, value in self._averages.items()}}
        for number, optimizer in enumerate(self._all):
            for index, values in optimizer.state_dict()["state"].items():
                held |= {f"{number} {index} {name}": torch.as_tensor(value) for name, value in values.items()}
        return held

    def remember(self, step: int, held: Mapping[str, Tensor]) -> None:
        """Takes over what `memory` gave; with that of another step, all starts anew."""
        if int(held.get("step", -1)) != step:
            return
        for name, average in self._averages.items():
            average.copy_(held[f"average {name}"])
        states: defaultdict[tuple[int, int], dict[str, Tensor]] = defaultdict(dict)
        for first, index, name in (key.split(" ", 2) for key in held if key[0].isdigit()):
            states[int(first), int(index)][name] = held[f"{first} {index} {name}"]
        for number, optimizer in enumerate(self._all):
            own = {index: values for (of, index), values in states.items() if of == number}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": own})


def optimizers_of(
    parameters: Mapping[str, Tensor], limits: Limits, scale_of: Callable[[str], float]
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the layers where the limits ask for it; biases and norms do not decay.

    Each group keeps its share of the learning rate as `scale`."""
    groups: defaultdict[tuple[float, float], list[Tensor]] = defaultdict(list)
    matrices: defaultdict[float, list[Tensor]] = defaultdict(list)
    for name, value in parameters.items():
        if limits.matrix_rate and value.ndim == 2 and "layers." in name:
            matrices[scale_of(name) * limits.matrix_rate / limits.learning_rate].append(value)
        else:
            groups[scale_of(name), 0.02 if value.ndim > 1 else 0.0].append(value)
    listed = [{"params": values, "scale": scale, "weight_decay": decay} for (scale, decay), values in groups.items()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(listed, betas=(0.9, 0.98), fused=True)]
    if matrices:
        muon = [{"params": values, "scale": scale} for scale, values in matrices.items()]
        optimizers.append(torch.optim.Muon(muon, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    return optimizers


# ---- the steps of a stage


class Logger:
    """Means of losses since the last report, as one line and, where it `writes`, as a line of the stage's file."""

    def __init__(self, stage: Stage, *, writes: bool) -> None:
        self.stage, self._writes = stage, writes
        self._begin()

    def _begin(self) -> None:
        self._reported, self._sums, self._num_steps = time.monotonic(), defaultdict[str, float](float), 0

    def add(self, step: int, share: float, values: Mapping[str, float]) -> None:
        self._num_steps += 1
        for name, value in values.items():
            self._sums[name] += value
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
        if self._writes:
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
    """Minimises `loss_of` within the stage's limits; `watch` returns a line about held-out data at times.

    `scale_of(name)` is the share of the learning rate a parameter gets."""
    processes = Processes()
    stage = replace(stage, report=processes.once(stage.report))
    record, limits = stage.load(parameters), stage.limits
    if record.done:
        stage.report(f"{stage.name}: done before, {counted(record.step, 'step')}")
        return
    stage.folder.mkdir(parents=True, exist_ok=True)
    logger, optimizers = Logger(stage, writes=processes.is_first), Optimizers(parameters, limits, scale_of)
    step, start = record.step, time.monotonic() - record.seconds
    with suppress(SeeaheadError):  # without it, or with a damaged one, they start anew
        optimizers.remember(step, load_tensors(stage.memory))
    saved = watched = time.monotonic()
    while (share := processes.agreed(max((time.monotonic() - start) / (60 * limits.minutes), step / limits.steps))) < 1:
        values = gradient(stage, step, parameters, loss_of, processes)
        optimizers.descend(step, share)
        step += 1
        logger.add(step, share, values)
        if time.monotonic() - saved > CHECKPOINT_SECONDS and processes.is_first:
            stage.save(parameters, step, time.monotonic() - start, optimizers.memory(step))
            saved = time.monotonic()
        if watch and time.monotonic() - watched > 60 * watch_minutes:
            stage.report(f"{stage.name}: held out: {watch()}")
            watched = time.monotonic()
    logger.log(step, 1.0)
    optimizers.use_averages()
    if processes.is_first:
        stage.save(parameters, step, time.monotonic() - start)
        stage.memory.unlink(missing_ok=True)
    stage.report(f"{stage.name}: finished after {counted(step, 'step')}")


def gradient(
    stage: Stage, step: int, parameters: Mapping[str, Tensor], loss_of: LossOf, processes: Processes
) -> dict[str, float]:
    """Leaves the mean gradient of the step's batches in the parameters; means of their values, sums of their tokens."""
    for parameter in parameters.values():
        parameter.grad = None
    count, sums = stage.limits.accumulate, defaultdict[str, float](float)
    for part in range(count):
        with room_for(
            f"{stage.name}: out of memory at step {step}; lower batch_size (now {stage.limits.batch_size}) and raise "
            f"accumulate (now {count}) as much; then start again, it goes on from the last checkpoint"
        ):
            loss, values = loss_of(((step * count) + part) * processes.number + processes.index)
            if not math.isfinite(value := float(loss.detach())):
                last = stage.weights if stage.weights.is_file() else "none yet"
                raise TrainingStoppedError(
                    f"{stage.name}: the loss is {value} at step {step}; last good checkpoint: {last}; lower "
                    "learning_rate"
                )
            (loss / count).backward()
        for name, part_of in {"loss": value, **values}.items():
            sums[name] += part_of
    processes.average_gradients(parameters)
    return {name: value / (1 if name == "tokens" else count) for name, value in sums.items()}
