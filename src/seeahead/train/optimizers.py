"""How weights move: AdamW and Muon, their rates, a running average, and all of that kept over an interruption."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from seeahead.checked import real, whole


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
        """Step number `step` down the clipped gradient, at the rate for this share of the budget."""
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(share, self._limits) * group["scale"]
            optimizer.step()
        for name, average in self._averages.items():
            # Early on, the average is that of all steps.
            decay = min(self._limits.average, (step + 1) / (step + 10))
            average.lerp_(self._parameters[name].detach(), 1 - decay)

    def use_averages(self) -> None:
        """The averages in the place of the weights, where there are any."""
        with torch.no_grad():
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
        states: defaultdict[int, dict[int, dict[str, Tensor]]] = defaultdict(dict)
        for key, value in held.items():
            first, _, rest = key.partition(" ")
            if first == "average":
                self._averages[rest].copy_(value)
            elif rest:
                index, _, name = rest.partition(" ")
                states[int(first)].setdefault(int(index), {})[name] = value
        for number, optimizer in enumerate(self._all):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states[number]})


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
