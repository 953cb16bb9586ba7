"""What passes of the target and levels of a drafter cost on this machine, so that trees can be cut to what pays."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice, pairwise
from time import perf_counter

import torch

from seeahead.drafters.base import ModelDrafter
from seeahead.drafters.tree_growth import CostModel
from seeahead.drafting import DraftContext, run_alone
from seeahead.executor import Executor, ModelInputs, Widths
from seeahead.sampling import SamplingParams
from seeahead.session import Session
from seeahead.target import Target
from seeahead.tree import ROOT

_PROMPT, _REPEATS = 64, 4
_MEASURED = (1, 2, 4, 8, 12, 16, 24, 32)
_LEVELS = 4
"""Drafted at a stretch after a pass of the target, as in a step: the first finds none of its weights in the cache."""


@torch.inference_mode()
def with_costs(drafter: ModelDrafter, target: Target) -> ModelDrafter:
    """`drafter`, bound to `target`, with the costs of both measured: the best of a few passes each. About a second for
    a target of a hundred million parameters on a CPU."""
    session, inputs, sizes = prompted(target.executor, range(1000), _PROMPT, apart(target.executor, _MEASURED))
    rounds = list(time_passes(session, inputs, sizes, _REPEATS))
    passes = {size: min(seconds[size] for seconds in rounds) for size in sizes}
    limits, width, levels = target.executor.limits, drafter.limits.width, list[float]()
    made = torch.zeros(inputs.length, limits.width, device=limits.device, dtype=limits.dtype)
    features, params = dict.fromkeys(drafter.want.layers, made), SamplingParams()
    context = DraftContext(inputs, 1, frozenset(), limits.vocab_size, params, 2 * _PROMPT, features, made)
    model = drafter.model(context)
    run_alone(model.read())
    for _ in range(_REPEATS):
        started = perf_counter()
        for _ in range(_LEVELS):
            run_alone(model.expand([0] * width, [ROOT] * width))
        if limits.device.type == "cuda":
            torch.cuda.current_stream(limits.device).synchronize()
        levels.append(perf_counter() - started)
        _pass_seconds(session, [1])
    costs = CostModel(passes_between(passes, target.executor), min(levels) / _LEVELS)
    return replace(drafter, limits=replace(drafter.limits, costs=costs))


def prompted(
    executor: Executor, words: Iterable[int], length: int, sizes: Sequence[int]
) -> tuple[Session, ModelInputs, list[int]]:
    """A session that has read a prompt of `length` tokens, the prompt, and the `sizes` of passes that fit after it.

    `words` the model knows, over and over; fewer where its context holds less than prompt and largest pass."""
    limits = executor.limits
    longest = limits.max_length or length + max(sizes, default=0)
    sizes = [size for size in sizes if size < longest]
    length = min(length, longest - max(sizes, default=0))
    known = cycle([word for word in words if word < limits.vocab_size])
    inputs = ModelInputs(torch.tensor([list(islice(known, length))], device=limits.device))
    session = Session(executor, length + max(sizes, default=0))
    session.prefill(inputs)
    return session, inputs, sizes


def time_passes(
    session: Session, inputs: ModelInputs, sizes: Sequence[int], num_rounds: int
) -> Iterator[dict[int, float]]:
    """Seconds of a pass over each number of tokens, round by round. Sizes take turns in random order, so that a slow
    spell hits all of them."""
    words, shuffle = cycle(inputs.token_ids[0].tolist()), random.Random(0)
    tokens, more = list(islice(words, max(sizes, default=0))), 1 + Widths.PATIENCE if len(sizes) > 1 else 1
    for _ in range(num_rounds):
        yield {size: settled_seconds(session, tokens[:size], more)[1] for size in shuffle.sample(sizes, len(sizes))}


def settled_seconds(session: Session, tokens: Sequence[int], more: int = 1 + Widths.PATIENCE) -> tuple[float, float]:
    """Of a pass over `tokens`; and, where executors fill passes up, of the last of so many `more` like it, which is
    filled up to no larger one before it, else the same again."""
    number = 1 + more if session.executor.limits.row_step > 1 else 1
    found = [_pass_seconds(session, tokens) for _ in range(number)]
    return found[0], found[-1]


def _pass_seconds(session: Session, tokens: Sequence[int]) -> float:
    """Of one pass over a chain of `tokens`, which is then dropped."""
    started = perf_counter()
    logits = session.score(tokens, range(ROOT, len(tokens) - 1)).logits
    # The loop looks at the target's choice after every pass, which on a GPU is when the pass is over.
    logits[-1].argmax().item()
    seconds = perf_counter() - started
    session.commit(())
    return seconds


def apart(executor: Executor, sizes: Sequence[int]) -> list[int]:
    """The largest of the sizes of passes that take the executor as long as one another."""
    return list({executor.limits.filled(size): size for size in sizes}.values())


def passes_between(known: dict[int, float], executor: Executor) -> tuple[float, ...]:
    """Straight lines between what was measured, in the steps of the executor. A shorter pass never costs more than a
    longer one: its measuring was disturbed. `known` has the first and the last size."""
    places = sorted(known)
    known = {place: min(known[size] for size in places if size >= place) for place in places}
    found = [known[places[0]]]
    for low, high in pairwise(places):
        for length in range(low + 1, high + 1):
            share = (min(executor.limits.filled(length), high) - low) / (high - low)
            found.append(max(found[-1], known[low] + share * (known[high] - known[low])))
    return tuple(found)
