"""How a machine takes passes of many sizes: measured once, since it is the processor's and its library's own.

Products go by blocks of rows: on one machine four rows take as long as eight, on another two thirds of it. So sizes
that are worth a graph of their own lie that far apart. And 16 bits save memory's time, not always the processor's: one
that has no units of its own for them multiplies long prompts sooner in 32. Kept beside the converted model, so that it
runs the same way each time, once two loads have found the same: a machine is busy now and then.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import torch

from seeahead.checked import checked, flag, read_json, whole
from seeahead.errors import ModelError, SeeaheadError
from seeahead.provenance import write_json

STEPS = (4, 8, 16)
LONG = 96
"""Tokens of a prompt, more or less."""
LONGS = {24: 16, 40: 32, LONG: 64}
"""Sizes of passes that are tried in 32 bits, and over how many rows all are, where these and larger ones are quicker
so."""
_WORTH = 0.9
"""Of a larger pass, or of one in 16 bits: what takes less is worth a graph of its own."""
_ROUNDS = 4
"""Of measuring steps."""
_PAIRS = 7
"""Of long passes in 16 bits and in 32."""
Measure = Callable[[int, bool], float]
"""The seconds of a pass over so many rows; whether its products are of 32 bits."""


@dataclass(frozen=True)
class RowSteps:
    """`step`: how far apart sizes lie. `long_rows`: passes over more rows take less in 32 bits than in 16; 0: none."""

    step: Annotated[int, whole(STEPS[0], STEPS[-1])]
    long_rows: Annotated[int, whole(0, LONG)]


@dataclass(frozen=True)
class _Kept(RowSteps):
    """`is_sure`: whether two loads in a row have found it."""

    is_sure: Annotated[bool, flag()]

    @property
    def found(self) -> RowSteps:
        return RowSteps(self.step, self.long_rows)


def row_steps(
    folder: Path, measure: Measure, *, has_choice: bool, progress: Callable[[str, float], None] | None = None
) -> RowSteps:
    """What was measured on this machine before, or is now. `has_choice`: between 16 bits and 32. `folder` is the
    converted model's; where it takes no file the next load measures again."""
    path = folder / f"row-steps.{hashlib.sha256(_machine().encode()).hexdigest()[:12]}.json"
    known: _Kept | None = None
    with suppress(SeeaheadError):  # damaged, or there is none
        known = checked(_Kept, read_json(path, "it is measured again", ModelError), path.name, ModelError)
    is_known = known is not None and known.step in STEPS and known.long_rows in (0, *LONGS.values())
    if known is not None and is_known and known.is_sure and (has_choice or not known.long_rows):
        return known.found
    if progress is not None:
        progress("measuring what passes take here", 0.0)
    found = RowSteps(best_step(_of_steps(measure)), _long_rows(measure) if has_choice else 0)
    with suppress(SeeaheadError, OSError):
        write_json(path, {**asdict(found), "is_sure": known is not None and found == known.found})
    return found


def _of_steps(measure: Measure) -> dict[int, float]:
    """Of the quickest, each after one like it."""
    seconds = dict.fromkeys(STEPS, math.inf)
    for step in _ROUNDS * STEPS:
        measure(step, False)
        seconds[step] = min(seconds[step], measure(step, False))
    return seconds


def _long_rows(measure: Measure) -> int:
    found = 0
    for size in sorted(LONGS, reverse=True):
        if not _is_worth_32_bits(measure, size):
            break
        found = LONGS[size]
    return found


def _is_worth_32_bits(measure: Measure, size: int) -> bool:
    """In turns, so that each finds its weights where a prompt does: somewhere else than in the processor. What is
    compiled at first makes the first pair no measure."""
    pairs = [(measure(size, False), measure(size, True)) for _ in range(_PAIRS)]
    return median(in_32 / in_16 for in_16, in_32 in pairs[1:]) < _WORTH


def best_step(seconds: Mapping[int, float]) -> int:
    """The largest of `STEPS` of which no smaller one takes clearly less."""
    return max(step for step in STEPS if all(seconds[less] > _WORTH * seconds[step] for less in STEPS if less < step))


def _machine() -> str:
    import openvino

    name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return repr((name, openvino.__version__, torch.get_num_threads(), dict(torch.cpu.get_capabilities())))
