"""One training process, or several on as many GPUs or machines, started by `accelerate launch`."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from seeahead.errors import InputError


class Processes:
    """This process among all: each draws other batches, and gradients are averaged over them."""

    def __init__(self) -> None:
        """Raises InputError when several processes were started and accelerate is not installed."""
        self.number, self.index = 1, 0
        self._accelerate: Any = None
        if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
            try:
                import accelerate  # type: ignore[import-untyped]
            except ImportError:
                raise InputError("training in several processes needs accelerate; pip install accelerate") from None
            state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
            atexit.register(state.destroy_process_group)  # threads that still talk would abort the process
            self.number, self.index, self._accelerate = state.num_processes, state.process_index, accelerate

    @property
    def is_first(self) -> bool:
        """The one that writes files."""
        return self.index == 0

    def device(self, wanted: str) -> str:
        """ "auto" is this process's own GPU where there are several."""
        return str(self._accelerate.PartialState().device) if self._accelerate and wanted == "auto" else wanted

    def first_goes_first(self) -> AbstractContextManager[None]:
        """Inside, the other processes wait until the first is through; they then find what it wrote."""
        return self._accelerate.PartialState().main_process_first() if self._accelerate else nullcontext()

    def agreed(self, share: float) -> float:
        """The first process's value: all must stop at the same step."""
        if self._accelerate is None:
            return share
        value = torch.tensor([share], device=self._accelerate.PartialState().device)
        return float(self._accelerate.utils.broadcast(value)[0])

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        if self._accelerate is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = self._accelerate.utils.reduce(parameter.grad, "mean")
