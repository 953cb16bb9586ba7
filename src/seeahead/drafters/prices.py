"""What passes of the target and levels of a drafter cost on this machine, so that trees can be cut to what pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch

from seeahead.drafters.growth import Prices
from seeahead.drafting import Assignment, Drafter
from seeahead.executor import Executor, ModelInputs
from seeahead.sampling import SamplingParams
from seeahead.session import Session
from seeahead.tree import ROOT

_PROMPT, _REPEATS = 64, 4
_MEASURED = (1, 2, 4, 8, 12, 16, 24, 32)


def with_prices(drafter: Drafter, target: Executor) -> Drafter:
    """`drafter`, bound to `target`, with prices where its limits ask for these."""
    settings: Any = drafter
    limits = getattr(settings, "limits", None)
    if limits is None or not limits.tuned or limits.prices is not None:
        return drafter
    priced: Drafter = replace(settings, limits=replace(limits, prices=measure(settings, target)))
    return priced


def measure(drafter: Any, target: Executor) -> Prices:
    """Takes about a second for a target of a hundred million parameters on a CPU."""
    device = target.device
    tokens = torch.arange(_PROMPT, device=device)[None] % min(target.vocab_size, 1000)
    session = Session(target, _PROMPT + 2 * max(_MEASURED))
    session.prefill(ModelInputs(tokens))

    def seconds(run: Callable[[], object], forget: Callable[[], object]) -> float:
        best = float("inf")
        for _ in range(_REPEATS):
            started = perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, perf_counter() - started)
            forget()
        return best

    def chain(length: int) -> Callable[[], object]:
        return lambda: session.score([1] * length, range(ROOT, length - 1))

    known = {length: seconds(chain(length), lambda: session.commit(())) for length in _MEASURED}
    made = torch.zeros(_PROMPT, target.width, device=device, dtype=getattr(target, "dtype", torch.float32))
    assignment = Assignment(
        ModelInputs(tokens),
        frozenset(),
        target.vocab_size,
        SamplingParams(),
        2 * _PROMPT,
        features=made,
        embeddings=made,
    )
    voice = drafter.voice(assignment)
    voice.read([1])
    width = drafter.limits.width
    level = seconds(lambda: voice.score([0] * width, [ROOT] * width), lambda: None)
    return Prices(_between(known), level)


def _between(known: dict[int, float]) -> tuple[float, ...]:
    """Straight lines between what was measured; a longer pass never costs less than a shorter one."""
    places = sorted(known)
    found = [known[places[0]]]
    for low, high in pairwise(places):
        for length in range(low + 1, high + 1):
            share = (length - low) / (high - low)
            found.append(max(found[-1], known[low] + share * (known[high] - known[low])))
    return tuple(found)
