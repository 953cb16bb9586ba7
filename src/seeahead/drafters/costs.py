"""What passes of the target and levels of a drafter cost on this machine, so that trees can be cut to what pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any, TypeVar

import torch

from seeahead.drafters.tree_growth import CostModel
from seeahead.drafting import DraftContext, run_alone
from seeahead.executor import ModelInputs
from seeahead.sampling import SamplingParams
from seeahead.session import Session
from seeahead.target import Target
from seeahead.tree import ROOT

_PROMPT, _REPEATS = 64, 4
_MEASURED = (1, 2, 4, 8, 12, 16, 24, 32)
_LEVELS = 4
"""Drafted at a stretch after a pass of the target, as in a step: the first finds none of its weights in the cache."""

AnyDrafter = TypeVar("AnyDrafter", bound=Any)


def with_costs(drafter: AnyDrafter, target: Target) -> AnyDrafter:
    """`drafter`, bound to `target`, with the costs of both measured. About a second for a target of a hundred million
    parameters on a CPU."""
    costed: AnyDrafter = replace(drafter, limits=replace(drafter.limits, costs=measured(drafter, target)))
    return costed


def measured(drafter: Any, target: Target) -> CostModel:
    """Best of a few passes each."""
    limits = target.executor.limits
    inputs = ModelInputs(torch.arange(_PROMPT, device=limits.device)[None] % min(limits.vocab_size, 1000))
    session = Session(target.executor, _PROMPT + 2 * max(_MEASURED))
    session.prefill(inputs)

    def score(length: int) -> None:
        session.score([1] * length, range(ROOT, length - 1))

    def forget() -> None:
        session.commit(())

    def score_again() -> None:
        score(1)
        forget()

    passes = {length: _seconds(partial(score, length), forget, limits.device) for length in _MEASURED}
    levels = _seconds(_levels(drafter, inputs, target), score_again, limits.device)
    return CostModel(_between(passes), levels / _LEVELS)


def _seconds(run: Callable[[], object], between: Callable[[], object], device: torch.device) -> float:
    """The best of some runs, with something done between them."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        best = min(best, perf_counter() - started)
        between()
    return best


def _levels(drafter: Any, inputs: ModelInputs, target: Target) -> Callable[[], None]:
    """Drafts some levels after a made-up prompt."""
    limits, want = target.executor.limits, drafter.want
    made = torch.zeros(_PROMPT, limits.width, device=limits.device, dtype=limits.dtype)
    features = dict.fromkeys(want.layers, made)
    params = SamplingParams()
    context = DraftContext(inputs, 1, frozenset(), limits.vocab_size, params, 2 * _PROMPT, features, made)
    model, width = drafter.model(context), drafter.limits.width
    with torch.inference_mode():
        run_alone(model.read())

    def draft() -> None:
        with torch.inference_mode():
            for _ in range(_LEVELS):
                run_alone(model.expand([0] * width, [ROOT] * width))

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
