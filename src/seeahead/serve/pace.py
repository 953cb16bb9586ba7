"""How many tokens each request may draft: fewer as more are under way, by what passes cost on this machine.

A step of `n` requests with `b` nodes each costs V(n (1 + b)) and a drafter's time, and yields `n` (1 + accepted). What
is accepted grows with the logarithm of the nodes; how much, each drafter's own steps say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import torch

from seeahead.drafters.costs import passes_between, prompted, time_passes
from seeahead.executor import Executor
from seeahead.request import Request

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_REPEATS = 3
_NODES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_MEMORY = 0.9
"""Share of what was known that stays after a step."""
_LOOK = 64
"""Steps without drafts after which a few are drafted again, to see whether they pay by now."""


class Pace:
    """Gains and seconds of drafters, learned from their steps; seconds of the target's passes, measured once."""

    def __init__(self, executor: Executor) -> None:
        self._seconds = _measured(executor)
        self._gains: dict[str, float] = {}
        self._draft_seconds: dict[str, float] = {}
        self._numbers = count(1)

    def set(self, requests: Sequence[Request]) -> None:
        """Give each of the requests that answer its share for the next step."""
        looks = next(self._numbers) % _LOOK == 0
        shares: dict[str, int | None] = {}
        for request in requests:
            name = request.drafter.name
            if name not in shares:
                shares[name] = self._most_nodes(name, len(requests), looks=looks)
            request.most_nodes = shares[name]

    def learn(self, request: Request) -> None:
        """From the newest step of a request."""
        name, step = request.drafter.name, request.records[-1]
        if step.num_drafted:
            self._mix(self._gains, name, step.num_accepted / math.log2(1 + step.num_drafted))
            self._mix(self._draft_seconds, name, step.seconds_draft)

    def _most_nodes(self, name: str, num_requests: int, *, looks: bool) -> int | None:
        gain, seconds = self._gains.get(name), self._draft_seconds.get(name, 0.0)
        if gain is None:
            return None  # nothing is known of it yet

        def rate(nodes: int) -> float:
            took = self._pass(num_requests * (1 + nodes)) + (seconds if nodes else 0.0)
            return (1 + gain * math.log2(1 + nodes)) / took

        best = max(_NODES, key=rate)
        return 4 if best == 0 and looks else best if best < _NODES[-1] else None

    def _pass(self, rows: int) -> float:
        known = self._seconds
        beyond = max(0, rows - len(known))
        return known[min(rows, len(known)) - 1] + beyond * known[-1] / len(known)

    @staticmethod
    def _mix(known: dict[str, float], name: str, new: float) -> None:
        known[name] = new if name not in known else _MEMORY * known[name] + (1 - _MEMORY) * new


@torch.inference_mode()
def _measured(executor: Executor) -> tuple[float, ...]:
    """Seconds of passes over 1, 2, 3, … tokens: the best of a few each, and straight lines between."""
    most = executor.limits.max_rows
    sizes = [size for size in _SIZES if most is None or size <= most]
    session, inputs, sizes = prompted(executor, range(1000), 64, sizes)
    rounds = list(time_passes(session, inputs, sizes, _REPEATS))
    return passes_between({size: min(seconds[size] for seconds in rounds) for size in sizes})
