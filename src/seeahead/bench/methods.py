"""What can be asked in a benchmark: our engine with a drafter, or a peer. Each answers one question and says how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch

from seeahead.api import Engine
from seeahead.records import Generation, Origin

Messages = Sequence[Mapping[str, Any]]
OnPiece = Callable[[str, Origin], None]
"""Called with every piece of an answer when it arrives: the text, and who proposed it."""


@dataclass(frozen=True)
class Response:
    """One answer and its seconds since the call; `pieces` are (text, who proposed it), each with its `arrivals`."""

    token_ids: tuple[int, ...]
    text: str
    seconds_first: float
    seconds_total: float
    generation: Generation | None = None
    pieces: tuple[tuple[str, Origin], ...] = ()
    arrivals: tuple[float, ...] = ()  # seconds after the first


class Method(Protocol):
    """Anything that answers. A peer is another engine on the same weights."""

    @property
    def is_peer(self) -> bool: ...

    @property
    def engine(self) -> Engine:
        """Ours: the model it runs; a peer's: whose model it runs."""
        ...

    def answer(
        self, messages: Messages, max_new_tokens: int, temperature: float, seed: int, on_piece: OnPiece | None = None
    ) -> Response:
        """The whole answer; at temperature above 0 from the model's full distribution, reproducible by `seed`.

        What `on_piece` takes is not counted."""
        ...


@dataclass(frozen=True)
class EngineMethod:
    """Our loop with the engine's drafter."""

    engine: Engine
    is_peer: bool = False

    def answer(
        self, messages: Messages, max_new_tokens: int, temperature: float, seed: int, on_piece: OnPiece | None = None
    ) -> Response:
        started = perf_counter()
        stream = self.engine.stream(
            [dict(message) for message in messages],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            seed=seed,
        )
        pieces: list[tuple[str, Origin]] = []
        arrivals: list[float] = []
        for piece in stream:
            if piece.reply is not None:
                reply = piece.reply
            elif piece.origins:
                arrivals.append(perf_counter() - started)
                pieces.append((piece.text, piece.origins[-1]))
                if on_piece is not None:
                    on_piece(*pieces[-1])
                    started = perf_counter() - arrivals[-1]
        total = perf_counter() - started
        first = arrivals[0] if arrivals else total
        later = tuple(seconds - first for seconds in arrivals)
        return Response(reply.token_ids, reply.text, first, total, reply.generation, tuple(pieces), later)


def parameters_read(engine: Engine) -> int | None:
    """Weights that the drafter reads per draft step; None for a drafter without any."""
    modules = getattr(engine.drafter, "modules", ())
    weights = {id(weight): weight.numel() for module in modules for weight in module.parameters()}
    return sum(weights.values()) if modules else None


def reset_peak() -> None:
    """Start counting peak memory anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """Highest memory since `reset_peak`: the device's on CUDA, else resident memory of this process; 0 if unknown."""
    if device.type == "cuda":
        peak = int(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
