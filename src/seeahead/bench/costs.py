"""What k tokens in one forward cost on this machine: the table V(k) that bounds every draft."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from seeahead.bench.record import Costs
from seeahead.drafters.costs import prompted, time_passes
from seeahead.families.base import Family

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


def _measure_once(family: Family, progress: Callable[[str, float], None], num_repeats: int) -> Costs:
    words = set(range(family.vocab_size // 2, family.vocab_size)) - family.image_token_ids
    session, inputs, sizes = prompted(family.executor, sorted(words), NUM_CACHED, MEASURED)
    rounds = []
    for number, seconds in enumerate(time_passes(session, inputs, sizes, num_repeats + 1)):
        progress(MEASURING, number / num_repeats)
        rounds.append(seconds)
    # The first round is the warm-up of every shape.
    return Costs(inputs.length, {k: statistics.median(seconds[k] for seconds in rounds[1:]) for k in sizes})
