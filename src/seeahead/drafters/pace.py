"""How many tokens each request may draft: fewer as more are under way, by what passes cost on this machine.

A step of `n` requests with `b` nodes each costs V(n (1 + b)) and a drafter's time, and yields `n` (1 + accepted). What
is accepted grows with the logarithm of the nodes; how much, each drafter's own steps say.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from seeahead.drafters.auto import AutoDrafter
from seeahead.drafters.none import EmptyDrafter
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
"""Nodes that are tried where none promise to pay."""
Arm = tuple[str, bool]
"""A drafter's name, and whether its requests have images: what pays for these may not for text, and the other way."""
_PLAIN = "", False  # the name of no drafter
_SPENT = 0.05
"""Of a step, from which on drafting has cost something, also where nothing came of it."""
_FIRST, _TRIAL = 3, 6
"""Steps with drafts that are tried at a load: the first ones, in which models have prompts to read, and more of them
where these were not hopeless."""
_HOPELESS = 0.5
"""Of the rate of plain steps, that the tokens which drafts brought beyond these had for the seconds beyond theirs."""
_PART = 4
"""One of so many requests drafts in the first steps, since most trials at high loads fail. One drafter that decides
over requests together has all of them: it counts on sharing its models' passes."""
_MANY, _HOPED = 4, 0.5
"""Of so many requests at once, one that decides over them is tried once the seconds without it would have gained what
its models' starts take, since a short batch would be over before a trial has paid. What is gained beyond plain steps
halves where the requests double; by single ones, before any, so much."""
_TRIALS_COST = 0.01
"""Of all seconds, at most, so that rests are as long as what was tried has cost."""
_HELD_UP = 3.0
"""Of what a step was expected to take, from which on it was held up, by a search for garbage or by something compiled:
the next one tells."""
_PLAIN_LOOK = 16
"""Steps with drafts after which several requests have one without, to see whether these still pay."""


@dataclass
class _Seen:
    """Of steps of one kind at one load, the last ones most: tokens, how many plain steps of as many requests were
    expected to yield in the same seconds, and how many as many plain steps."""

    tokens: float = 0.0
    expected: float = 0.0
    plain: float = 0.0
    number: int = 0

    def add(self, tokens: float, expected: float, plain: float) -> None:
        self.tokens = _MEMORY * self.tokens + tokens
        self.expected = _MEMORY * self.expected + expected
        self.plain = _MEMORY * self.plain + plain
        self.number += 1

    @property
    def rate(self) -> float:
        return self.tokens / self.expected

    def further(self, plain_rate: float) -> float:
        """Rate of what came beyond plain steps, for what it took beyond them, over that of these."""
        seconds = self.expected * plain_rate - self.plain
        return (self.tokens - self.plain) / seconds if seconds > 0 else math.inf


class _OfStep(threading.local):
    """Of the step under way, in each thread its own."""

    def __init__(self) -> None:
        self.tried_first = set[Arm]()
        self.waits = False


class Pace:
    """What drafts yield and passes take, learned from steps."""

    def __init__(self, executor: Executor, drafters: Iterable[Drafter]) -> None:
        """What one of the `drafters` has measured of passes, and learns of them, is shared with it."""
        self._executor = executor
        self._times: PassTimes | None = None
        self._auto = next((one for one in drafters if isinstance(one, AutoDrafter)), None)
        self._gains: dict[Arm, float] = {}
        self._draft_seconds: dict[tuple[Arm, int], float] = {}
        self._seen: dict[tuple[Arm, int], _Seen] = {}
        """By whose drafts are in a step (none: `_PLAIN`), and the load."""
        self._firsts: dict[tuple[Arm, int], _Seen] = {}
        """Of the first steps of a trial."""
        self._lasted: dict[tuple[Arm, int], float] = {}
        """Seconds of steps with its requests among them, by whose drafts these may have, and the load."""
        self._step = _OfStep()
        self._owed: dict[Arm, float] = {}
        """Seconds that steps with its drafts lost to plain ones, and that have not been earned back."""
        self._numbers = count(1)

    def measure(self) -> None:
        """What passes take, also large ones, while nobody waits. Else the first step that may have drafts does it, and
        what large ones take is guessed: measuring them would take a good part of a short batch."""
        self._known().reach(self._executor, _SIZES)

    def _known(self) -> PassTimes:
        if self._times is None:
            self._times = PassTimes(self._executor) if self._auto is None else self._auto.experience.times
        return self._times

    def set(self, requests: Sequence[Request], *, somebody_waits: bool) -> None:
        if not all(isinstance(request.drafter, EmptyDrafter) for request in requests):
            self._known()
        if self._times is not None:
            self._times.at(max(request.num_held for request in requests))
        number, self._step.waits = next(self._numbers), somebody_waits
        is_plain = somebody_waits or self._looks_at_plain(number, len(requests))
        arms = dict[Arm, list[Request]]()
        for request in requests:
            arms.setdefault(_arm(request), []).append(request)
        self._step.tried_first.clear()
        for arm, own in arms.items():
            share, most = 0 if is_plain else self._share(arm, own[0].drafter, len(requests)), len(own)
            if share != 0 and self._tries_first(arm, len(requests)):
                self._step.tried_first.add(arm)
                most = len(own) if is_joint(own[0].drafter) else max(len(requests) // _PART, 1)
            for place, request in enumerate(own):
                request.share = share if place < most else 0

    def _share(self, arm: Arm, drafter: Drafter, num_requests: int) -> int | None:
        if isinstance(drafter, EmptyDrafter):
            return 0
        times, joint = self._known(), is_joint(drafter)
        if not self._may_draft(arm, num_requests, joint=joint):
            return 0
        # One that decides over requests together tells itself what promises to pay.
        return None if joint else self._most_nodes(arm, num_requests, times)

    def learn(self, done: Sequence[tuple[Request, Step]]) -> None:
        if self._times is None:
            return
        rows, load = sum(1 + step.num_drafted for _, step in done), len(done).bit_length()
        drafting = max(step.seconds_draft for _, step in done)
        seconds = max(step.seconds for _, step in done) - drafting
        seconds = min(seconds, _HELD_UP * self._times.seconds(rows, len(done)))
        spent = _SPENT * (seconds + drafting)
        arms = {_arm(request) for request, step in done if _has_drafted(request, step, spent)}
        # One that thought of drafts and made none is no drafted step, and is slower than plain ones.
        if not arms and all(request.share == 0 or isinstance(request.drafter, EmptyDrafter) for request, _ in done):
            arms = {_PLAIN}
        plain = len(done) / self._times.seconds(len(done), len(done))
        if all(request.drafter is not self._auto for request, _ in done):  # else it has learned from this step
            self._times.learn(rows, len(done), seconds)
        num_tokens = sum(len(step.emitted) for _, step in done)
        # While others' prompts are made ready steps are slower, and plain ones: these tell nothing of drafts.
        for arm in arms if not self._step.waits else ():
            expected = (seconds + drafting) * plain
            seen = self._firsts if arm in self._step.tried_first else self._seen
            seen.setdefault((arm, load), _Seen()).add(num_tokens, expected, len(done))
            if arm != _PLAIN:
                lost = expected * self._plain_rate(load) - num_tokens
                self._owed[arm] = self._owed.get(arm, 0.0) + lost / plain
        for arm in {_arm(request) for request, _ in done}:
            self._lasted[arm, load] = self._lasted.get((arm, load), 0.0) + seconds
        for arm, owed in [*self._owed.items()]:  # another thread may add to them
            self._owed[arm] = max(0.0, owed - _TRIALS_COST * (seconds + drafting))
        for request, step in done:
            if step.num_drafted:
                arm, gain = _arm(request), step.num_accepted / math.log2(1 + step.num_drafted)
                self._gains[arm] = mixed(self._gains.get(arm), gain, _MEMORY)
                self._draft_seconds[arm, load] = mixed(self._draft_seconds.get((arm, load)), drafting, _MEMORY)

    def _may_draft(self, arm: Arm, num_requests: int, *, joint: bool) -> bool:
        """Whether steps with drafts had the better rate, or are tried."""
        if joint and num_requests == 1:
            return True  # its own answer tells more than those before
        key, plain = (arm, num_requests.bit_length()), self._plain_rate(num_requests.bit_length())
        seen, first = self._seen.get(key), self._firsts.get(key)
        if joint and num_requests >= _MANY and seen is first is None and not self._may_try(arm, num_requests):
            return False
        if seen is not None:
            pays = seen.number < _TRIAL or seen.rate >= MARGIN * plain
        else:
            pays = first is None or first.number < _FIRST or first.further(plain) >= _HOPELESS
        if pays or self._owed.get(arm, 0.0) > 0.0:
            return pays
        self._seen.pop(key, None)  # what is tried now is to tell, whatever was before
        self._firsts.pop(key, None)
        return True

    def _may_try(self, arm: Arm, num_requests: int) -> bool:
        """Whether what lower loads gain would have paid for a trial by now, at this load."""
        load = num_requests.bit_length()
        known = next((less for less in range(load - 1, 0, -1) if (arm, less) in self._seen), 0)
        gain = self._seen[arm, known].rate / self._plain_rate(known) - 1.0 if known else _HOPED
        hoped = max(gain * 0.5 ** (load - max(known, 1)), _TRIALS_COST)
        price = 0.0 if self._auto is None else num_requests * self._auto.experience.usual_start()
        return hoped * self._lasted.get((arm, load), 0.0) >= price

    def _tries_first(self, arm: Arm, num_requests: int) -> bool:
        """Whether the next step of so many requests is one of the first that are tried."""
        key = arm, num_requests.bit_length()
        first = self._firsts.get(key)
        return num_requests > 1 and key not in self._seen and (first is None or first.number < _FIRST)

    def _plain_rate(self, load: int) -> float:
        plain = self._seen.get((_PLAIN, load))
        return 1.0 if plain is None else plain.rate

    def _looks_at_plain(self, number: int, num_requests: int) -> bool:
        """Whether the step with such a number is to show what several requests have without drafts."""
        is_known = (_PLAIN, num_requests.bit_length()) in self._seen
        return num_requests > 1 and (number % _PLAIN_LOOK == 0 or not is_known)

    def _most_nodes(self, arm: Arm, num_requests: int, times: PassTimes) -> int | None:
        gain, load = self._gains.get(arm, _GAIN), num_requests.bit_length()
        drafting = self._draft_seconds.get((arm, load), 0.0)

        def rate(nodes: int) -> float:
            took = times.seconds(num_requests * (1 + nodes), num_requests)
            return (1 + gain * math.log2(1 + nodes)) / (took + (drafting if nodes else 0.0))

        best = max(_NODES, key=rate)
        if rate(best) < MARGIN * rate(0):
            return _FEW
        return best if best < _NODES[-1] else None


def _arm(request: Request) -> Arm:
    return request.drafter.name, request.has_image


def _has_drafted(request: Request, step: Step, spent: float) -> bool:
    """Also where nothing came of more seconds than `spent`."""
    return step.num_drafted > 0 or (request.share != 0 and step.seconds_draft > spent)
