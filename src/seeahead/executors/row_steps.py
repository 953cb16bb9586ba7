"""How far apart the sizes of passes lie that are worth a graph of their own: measured once on each machine.

Products go by blocks of rows, whose number is the processor's and its library's: on one machine four rows take as long
as eight, on another two thirds of it. Kept beside the converted model, so that it runs the same way each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch

from seeahead.checked import checked, read_json, whole
from seeahead.errors import ModelError, SeeaheadError
from seeahead.provenance import write_json

STEPS = (4, 8, 16)
_WORTH = 0.9
"""Of a larger pass: a smaller one that takes less pays for a size of its own."""


@dataclass(frozen=True)
class _Measured:
    step: Annotated[int, whole(STEPS[0], STEPS[-1])]


def row_step(folder: Path, measure: Callable[[Sequence[int]], Mapping[int, float]]) -> int:
    """What was measured on this machine before, or is now, by the seconds of passes over `STEPS` rows. `folder` is the
    converted model's; where it takes no file the next load measures again."""
    path = folder / f"row-step.{hashlib.sha256(_machine().encode()).hexdigest()[:12]}.json"
    with suppress(SeeaheadError):  # damaged, or there is none
        known = checked(_Measured, read_json(path, "it is measured again", ModelError), path.name, ModelError)
        if known.step in STEPS:
            return known.step
    found = _Measured(best_step(measure(STEPS)))
    with suppress(SeeaheadError, OSError):
        write_json(path, asdict(found))
    return found.step


def best_step(seconds: Mapping[int, float]) -> int:
    """The largest of `STEPS` of which no smaller one takes clearly less."""
    return max(step for step in STEPS if all(seconds[less] > _WORTH * seconds[step] for less in STEPS if less < step))


def _machine() -> str:
    import openvino

    name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return repr((name, torch.get_num_threads(), dict(torch.cpu.get_capabilities())))
