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
        self._state: Any = None
        self._utils: Any = None
        if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
            try:
                from accelerate import PartialState, utils  # type: ignore[import-untyped]
            except ImportError:
                raise InputError("training in several processes needs accelerate; pip install accelerate") from None
            self._state, self._utils = PartialState(cpu=not torch.accelerator.is_available()), utils
            atexit.register(self._state.destroy_process_group)  # threads that still talk would abort the process
            self.number, self.index = self._state.num_processes, self._state.process_index

    @property
    def is_first(self) -> bool:
        """The one that writes files."""
        return self.index == 0

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

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        for parameter in parameters if self._state else ():
            if parameter.grad is not None:
                parameter.grad = self._utils.reduce(parameter.grad, "mean")
