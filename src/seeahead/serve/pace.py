"""How many tokens each request may draft: fewer as more are under way, by what passes cost on this machine.

A step of `n` requests with `b` nodes each costs V(n (1 + b)) and a drafter's time, and yields `n` (1 + accepted). What
is accepted grows with the logarithm of the nodes; how much, each drafter's own steps say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import count

from seeahead.drafters.auto import AutoDrafter
from seeahead.drafters.pass_times import MARGIN, PassTimes, mixed
from seeahead.drafting import Drafter, is_joint
from seeahead.executor import Executor
from seeahead.records import Step
from seeahead.request import Request

_SIZES = (64, 128)
"""Rows of the passes that are measured beside those that `auto` measures."""
_NODES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_MEMORY = 0.9  # share of what was known that stays after a step
_GAIN = 0.6
"""Of a drafter of which nothing is known yet: tokens accepted for each doubling of the nodes."""
_FEW = 4
_PLAIN = ""  # the name of no drafter
_SPENT = 0.05
"""Of a step, from which on drafting has cost something, also where nothing came of it."""
_LOOK, _PLAIN_LOOK = 64, 16
"""Steps without drafts after which `_FEW` are drafted again, to see whether they pay by now; and steps with drafts
after which several requests have one without, to see whether these still do."""


class Pace:
    """What drafts yield and passes take, learned from steps."""

    def __init__(self, executor: Executor, drafters: Iterable[Drafter]) -> None:
        """What one of the `drafters` has measured of passes, and learns of them, is shared with it."""
        self._auto = next((one for one in drafters if isinstance(one, AutoDrafter)), None)
        self._times = PassTimes(executor) if self._auto is None else self._auto.experience.times
        self._times.reach(executor, _SIZES)
        self._gains: dict[str, float] = {}
        self._draft_seconds: dict[tuple[str, int], float] = {}
        self._rates: dict[tuple[str, int], float] = {}
        """By a drafter whose drafts are in a step (none: `_PLAIN`), and the load: tokens a second of such steps, beside
        those of plain ones of as many requests as they are expected."""
        self._numbers, self._waits = count(1), False

    def set(self, requests: Sequence[Request], *, somebody_waits: bool) -> None:
        """Give each of the requests that answer its share for the next step; where somebody waits for a first token,
        the step is kept short."""
        number, self._waits = next(self._numbers), somebody_waits
        shares: dict[str, int | None] = {}
        for request in requests:
            name = request.drafter.name
            if name not in shares:
                joint = is_joint(request.drafter)  # which tells itself what promises to pay
                most = None if joint else self._most_nodes(name, len(requests))
                if most == 0 or not self._has_paid(name, len(requests), joint=joint):
                    most = (None if joint else _FEW) if number % _LOOK == 0 else 0
                elif len(requests) > 1 and (number % _PLAIN_LOOK == 0 or not self._knows_plain(len(requests))):
                    most = 0
                shares[name] = 0 if somebody_waits else most
            request.most_nodes = shares[name]

    def learn(self, done: Sequence[tuple[Request, Step]]) -> None:
        """From a step of all requests that answer."""
        rows, load = sum(1 + step.num_drafted for _, step in done), len(done).bit_length()
        drafting = max(step.seconds_draft for _, step in done)
        seconds = max(step.seconds for _, step in done) - drafting
        names = {request.drafter.name for request, step in done if _has_drafted(request, step)} or {_PLAIN}
        plain = len(done) / self._times.seconds(len(done), len(done))
        if all(request.drafter is not self._auto for request, _ in done):  # else it has learned from this step
            self._times.learn(rows, len(done), seconds)
        num_tokens = sum(len(step.emitted) for _, step in done)
        # While others' prompts are made ready steps are slower, and plain ones: these tell nothing of drafts.
        for name in names if not self._waits else ():
            known = self._rates.get((name, load))
            self._rates[name, load] = mixed(known, num_tokens / (seconds + drafting) / plain, _MEMORY)
        for request, step in done:
            if step.num_drafted:
                name = request.drafter.name
                gain = step.num_accepted / math.log2(1 + step.num_drafted)
                self._gains[name] = mixed(self._gains.get(name), gain, _MEMORY)
                self._draft_seconds[name, load] = mixed(self._draft_seconds.get((name, load)), drafting, _MEMORY)

    def _has_paid(self, name: str, num_requests: int, *, joint: bool) -> bool:
        """Whether steps with drafts had the better rate, as far as there were both."""
        if joint and num_requests == 1:
            return True  # its own answer tells more than those before
        drafted, plain = (self._rates.get((kind, num_requests.bit_length())) for kind in (name, _PLAIN))
        return drafted is None or plain is None or drafted >= MARGIN * plain

    def _knows_plain(self, num_requests: int) -> bool:
        return (_PLAIN, num_requests.bit_length()) in self._rates

    def _most_nodes(self, name: str, num_requests: int) -> int | None:
        gain, load = self._gains.get(name, _GAIN), num_requests.bit_length()
        drafting = self._draft_seconds.get((name, load), 0.0)

        def rate(nodes: int) -> float:
            took = self._times.seconds(num_requests * (1 + nodes), num_requests)
            return (1 + gain * math.log2(1 + nodes)) / (took + (drafting if nodes else 0.0))

        best = max(_NODES, key=rate)
        if rate(best) < MARGIN * rate(0):
            return 0
        return best if best < _NODES[-1] else None


def _has_drafted(request: Request, step: Step) -> bool:
    return step.num_drafted > 0 or (request.most_nodes != 0 and step.seconds_draft > _SPENT * step.seconds)
