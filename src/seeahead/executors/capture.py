"""A function of numbers of a fixed shape, run again without its launches: a CUDA graph, or on a CPU the function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Results = TypeVar("Results")


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, `device` is the current one. Triton launches there, whichever device its tensors lie on."""
    if device.type != "cuda" or device.index in (None, torch.cuda.current_device()):
        return nullcontext()
    return torch.cuda.device(device)


class Captured(Generic[Results]):
    """`function` of what is copied into one buffer. On a GPU its results lie in the same memory after every call."""

    def __init__(
        self, function: Callable[[Tensor], Results], given: Tensor, device: torch.device, pool: Any, stream: Any
    ) -> None:
        """`given`: the numbers of the first call, for passes before it that leave nothing but what it leaves.

        `pool`: memory that several graphs share (`torch.cuda.graph_pool_handle()`); None: nothing is captured.
        `stream`: of the graphs that share it, on `device`. Torch's own for captures lies on the device that captured
        first, and what libraries keep for it goes with any graph that does. Whatever cannot be captured is torch's
        RuntimeError."""
        self._function, self._given = function, given.to(device, copy=True)
        self._graph: torch.cuda.CUDAGraph | None = None
        if pool is None:
            return
        with torch.cuda.device(device):
            current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            try:
                stream.wait_stream(current)
                with torch.cuda.stream(stream):  # libraries set themselves up in a first pass, which no graph may hold
                    function(self._given)
                current.wait_stream(stream)
                # Other threads, which read images, may use the device meanwhile.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    self._results = function(self._given)
            except BaseException:
                torch.cuda.set_stream(current)  # where a capture breaks off torch may stay on the other one
                raise
        self._graph = graph

    def __call__(self, given: Tensor) -> Results:
        """`given`: on the host."""
        # Pinned, so that the device can fetch them while the host goes on.
        self._given.copy_(given.pin_memory() if self._given.is_cuda else given, non_blocking=True)
        if self._graph is None:
            return self._function(self._given)
        self._graph.replay()
        return self._results
