"""What k tokens in one forward cost on this machine: the table V(k) that bounds every draft."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter

import torch

from seeahead.bench.record import Costs
from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.session import Session
from seeahead.tree import ROOT

NUM_CACHED = 200
MEASURING = "cost of k tokens in one pass"
MEASURED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def measure_costs(family: Family, progress: Callable[[str, float], None], num_repeats: int = 15) -> Costs:
    """The table. One that something else disturbed is measured anew, twice at most; warnings say when it still is."""
    for _ in range(3):
        costs = _measure_once(family, progress, num_repeats)
        if not costs.is_disturbed:
            break
    return costs


def _measure_once(family: Family, progress: Callable[[str, float], None], num_repeats: int, seed: int = 0) -> Costs:
    """Sizes take turns in random order, so that a slow spell hits all of them."""
    limit = family.max_length or NUM_CACHED + MEASURED[-1]
    num_cached = min(NUM_CACHED, limit - MEASURED[-1])
    known = [token for token in range(family.vocab_size // 2, family.vocab_size) if token not in family.image_token_ids]
    words = list(islice(cycle(known), num_cached + MEASURED[-1]))
    session = Session(family.executor, num_cached + MEASURED[-1])
    session.prefill(ModelInputs(torch.tensor([words[:num_cached]], device=family.device)))
    taken: dict[int, list[float]] = {k: [] for k in MEASURED}
    shuffle = random.Random(seed)
    for number in range(num_repeats + 1):  # the first round is the warm-up of every shape
        for k in shuffle.sample(MEASURED, len(MEASURED)):
            seconds = _forward_seconds(session, words[:k])
            if number:
                taken[k].append(seconds)
        progress(MEASURING, number / num_repeats)
    return Costs(num_cached, {k: statistics.median(seconds) for k, seconds in taken.items()})


def _forward_seconds(session: Session, tokens: list[int]) -> float:
    started = perf_counter()
    logits = session.score(tokens, range(ROOT, len(tokens) - 1)).logits
    # The loop looks at the target's choice after every forward, which on a GPU is when the forward is over.
    logits[-1].argmax().item()
    seconds = perf_counter() - started
    session.commit(())
    return seconds
