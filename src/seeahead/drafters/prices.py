"""What passes of the target and levels of a drafter cost on this machine, so that trees can be cut to what pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
_LEVELS = 4
"""Drafted at a stretch after a pass of the target, as in a step: the first finds none of its weights in the cache."""


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
    tokens = torch.arange(_PROMPT, device=target.device)[None] % min(target.vocab_size, 1000)
    session = Session(target, _PROMPT + 2 * max(_MEASURED))
    session.prefill(ModelInputs(tokens))

    def score(length: int) -> None:
        session.score([1] * length, range(ROOT, length - 1))

    def forget() -> None:
        session.commit(())

    def score_again() -> None:
        score(1)
        forget()

    passes = {length: _seconds(partial(score, length), forget, target) for length in _MEASURED}
    levels = _seconds(_levels(drafter, target, tokens), score_again, target)
    return Prices(_between(passes), levels / _LEVELS)


def _seconds(run: Callable[[], object], between: Callable[[], object], target: Executor) -> float:
    """The best of some runs, with something done between them."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = perf_counter()
        run()
        if target.device.type == "cuda":
            torch.cuda.synchronize(target.device)
        best = min(best, perf_counter() - started)
        between()
    return best


def _levels(drafter: Any, target: Executor, tokens: torch.Tensor) -> Callable[[], None]:
    """Drafts some levels after the prompt `tokens`."""
    made = torch.zeros(_PROMPT, target.width, device=target.device, dtype=getattr(target, "dtype", torch.float32))
    inputs, params = ModelInputs(tokens), SamplingParams()
    assignment = Assignment(inputs, frozenset(), target.vocab_size, params, 2 * _PROMPT, made, made)
    voice, width = drafter.voice(assignment), drafter.limits.width
    voice.read([1])

    def draft() -> None:
        for _ in range(_LEVELS):
            voice.score([0] * width, [ROOT] * width)

    return draft


def _between(known: dict[int, float]) -> tuple[float, ...]:
    """Straight lines between what was measured; a longer pass never costs less than a shorter one."""
    places = sorted(known)
    found = [known[places[0]]]
    for low, high in pairwise(places):
        for length in range(low + 1, high + 1):
            share = (length - low) / (high - low)
            found.append(max(found[-1], known[low] + share * (known[high] - known[low])))
    return tuple(found)
