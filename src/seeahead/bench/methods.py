"""What can be asked in a benchmark: our engine with a drafter, or a peer. Each answers one question and says how."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import torch

from seeahead.api import Engine
from seeahead.bench.record import Run
from seeahead.data.suite import Question
from seeahead.records import Origin

OnPiece = Callable[[str, Origin], None]
"""Called with every piece of an answer when it arrives: the text, and who proposed it."""
_NUM_LETTERS = 16


@dataclass(frozen=True)
class Method:
    """Our loop with the engine's drafter. A peer, another loop on the engine's model, derives from it."""

    is_peer: ClassVar[bool] = False

    engine: Engine

    @property
    def weights(self) -> list[torch.Tensor]:
        """Those that the drafter reads per draft step, each once."""
        modules: Iterable[Any] = getattr(self.engine.drafter, "modules", ())
        return list({id(weight): weight for module in modules for weight in module.parameters()}.values())

    def answer(self, place: Run, question: Question, seed: int, on_piece: OnPiece | None = None) -> Run:
        """`place` with the whole answer in it; at its temperature above 0 from the model's full distribution,
        reproducible by `seed`. What `on_piece` takes is not counted."""
        pieces: list[tuple[str, Origin]] = []
        arrivals: list[float] = []
        started = perf_counter()
        whole: dict[str, Any] = {"temperature": place.temperature, "top_k": 0, "top_p": 1.0}
        stream = self.engine.stream(question.messages(), max_new_tokens=question.max_new_tokens, seed=seed, **whole)
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
        return replace(
            place,
            token_ids=reply.token_ids,
            text=reply.text,
            seconds_first=first,
            seconds_total=total,
            generation=reply.generation,
            pieces=tuple(pieces),
            arrivals=tuple(seconds - first for seconds in arrivals),
        )


def digest(weights: Iterable[torch.Tensor]) -> str:
    """Equal only for equal weights of one type."""
    whole = hashlib.sha256()
    for weight in weights:
        whole.update(f"{weight.dtype} {tuple(weight.shape)}".encode())
        whole.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:_NUM_LETTERS]


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
