"""One answer drafted by all members: who leads, how far it pays, and what is learned of it.

`auto.py` tells of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from operator import sub, truediv
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from seeahead.drafters.auto_models import AutoModels
from seeahead.drafters.base import DraftModel
from seeahead.drafters.calibration import OwnCalibration
from seeahead.drafters.candidates import Candidate, Candidates
from seeahead.drafters.experience import OwnExperience
from seeahead.drafters.pass_times import MARGIN
from seeahead.drafters.tree_growth import best_number, usual_trees
from seeahead.drafting import DraftContext, Drafting, Feedback, Plan, PlannedDrafting, plan_of
from seeahead.tree import ROOT, Draft

if TYPE_CHECKING:
    from seeahead.drafters.auto import AutoDrafter

_NUM_CHILDREN = 3
_MOST_LOOKED_AT = 12
"""Nodes after which a second drafter is asked."""
_TRIED = (3, 7, 15)
"""Nodes of trees that are tried once or twice."""
_MOST_TRIED = 2.0
"""Plain steps that may be spent on seeing what such a pass takes where nothing pays."""
_MOST_AHEAD = 8
"""Levels that are looked ahead, to see whether going on pays."""
_LOOK, _LOOKS_COST = 64, 0.01
"""Steps after which another model is asked beside the leading one, or one where none paid, to see whether it pays by
now: more of them where a look takes more than such a share of theirs."""
_SECOND, _NO_MODEL = "+", ""
"""What looks are at beside single drafters, none of which is called so."""
_LASTS = 4
"""Steps for which the promises of models that do not lead are good."""
_FULL_STEPS = 16
"""In which a model is not asked that had no room for the answer."""
_NAP = 3
"""Steps at most after some in which nothing paid, in which no model is thought of: little has changed since."""


class _Promise(NamedTuple):
    """`rate`: tokens a second, where a model drafts a tree, so that a step has as many as `expected` and takes so many
    `seconds` more than a plain one."""

    rate: float = 0.0
    expected: float = 1.0
    seconds: float = 0.0


class AutoDrafting(PlannedDrafting):
    """One answer. Models start when they are first asked, or about to be."""

    models: ClassVar[type[AutoModels]] = AutoModels

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        self._drafter, self._context = drafter, context
        is_greedy, images = context.params.is_greedy, context.prompt.images if context.prompt else ()
        num_images = max(len(images), int(context.inputs.has_any(context.image_token_ids)))
        self._own = OwnExperience(drafter.experience, (min(num_images, 2), is_greedy))
        self._calibrations = {
            name: OwnCalibration(drafter.experience.calibrations[name, is_greedy]) for name in drafter.members
        }
        self._models = self.models(drafter, context, self._own.kind)
        others = {name: member for name, member in drafter.members.items() if name not in self._models.names}
        self._draftings: dict[str, Drafting] = {name: member.start(context) for name, member in others.items()}
        self._full: dict[str, int] = {}
        """Models that had no room, and in how many steps they are thought of again."""
        self._led = ""
        self._pool = self._empty()
        self._rate, self._looks, self._rests, self._rested, self._naps = 0.0, False, True, 0, 0
        self._promises, self._age = dict[str, _Promise](), 0
        self._pair: tuple[str, str] | None = None
        self._step, self._draft = drafter.step, Draft()
        self._has_plan, self._asked = False, list[str]()
        """Drafters that are no models, in this step."""
        self._number, self._num_requests = 0, self._step.num_requests
        self._take_costs()
        self._num_left = context.max_new_tokens - 1
        """Tokens that the answer may still have."""
        drafter.experience.times.begin()
        # The one that will lead, as far as is known, starts before the answer does; beside others it may never do so.
        if self._num_requests == 1 and drafter.experience.has_credit:
            lead, promise = self._promising()
            if lead and promise.rate > 1 / self._seconds[0]:
                self._models.start(lead)

    def _take_costs(self) -> None:
        """Of the step under way, by how many nodes it has: a request's share of its seconds, and the tokens that these
        bring at the answer's rate."""
        self._shares = self._drafter.shares()
        self._seconds: list[float] = self._shares.tolist()
        self._costs: list[float] = (self._rate * self._shares).tolist()

    def plan(self, budget: int) -> Plan[Draft]:
        self._draft = yield from self._models.clock.driven(self._planned(budget))
        return self._draft

    def _planned(self, budget: int) -> Plan[Draft]:
        self._has_plan = True
        self._models.spent, budget = 0.0, min(budget, self._drafter.limits.num_nodes)
        self._full = {name: left - 1 for name, left in self._full.items() if left > 1}
        self._looks, pool = False, self._pool  # empty: each step leaves it so
        self._asked = [name for name in self._draftings if self._pays(name)]
        for name in self._asked:
            with self._models.timed(name):
                pool.add_draft(name, (yield from plan_of(self._draftings[name], budget)))
        may_rest = self._may_rest()
        if may_rest and not pool.nodes:
            self._naps, self._led = max(self._naps - 1, 0), ""
            self._step.rates.append(self._rate)
            return Draft()
        if self._num_requests != self._step.num_requests:
            self._num_requests, self._age = self._step.num_requests, 0
        self._rate = self._own.rate(self._num_requests)
        self._take_costs()
        self._step.rates.append(self._rate)
        pool.score()
        may_rest &= self._num_requests > 1  # else what has been proposed may be doubtful
        lead = None if may_rest else self._lead(budget)
        if lead is not None:
            yield from self._grow(lead, budget)
            second = self._second(lead)
            if second is not None:
                self._pair = lead, second
                yield from self._ask(second)
        self._led = lead or ""
        self._number, _ = self._best(budget)
        self._number = max(self._number, self._tries(budget))
        self._rests = lead is None and not self._number
        if may_rest and self._rests:
            self._naps = max(self._naps - 1, 0)
        else:
            self._rested = self._rested + 1 if self._rests else 0
            self._naps = self._nap()
        return pool.draft(self._number)

    def accept(self, feedback: Feedback) -> None:
        for drafting in self._draftings.values():
            drafting.accept(feedback)
        self._num_left -= len(feedback.tokens)
        if not self._has_plan:
            self._led, self._draft = "", Draft()
        ends, tokens = self._context.end_tokens, feedback.tokens
        num_said = next((number for number, token in enumerate(tokens, 1) if token in ends), len(tokens))
        gain = self._own.took(num_said, self._taken() + self._models.spent, self._step.num_requests)
        if self._step.num_requests == 1:
            self._drafter.experience.settle(None if self._rests else gain)
        if self._pool.asked or self._asked:
            self._learn(feedback)
            self._pool, self._asked = self._empty(), []
        self._pair, self._number, self._rests, self._has_plan, self._models.spent = None, 0, True, False, 0.0
        self._models.accept(feedback)

    def _taken(self) -> float:
        """This request's share of the seconds of the step, all but drafting."""
        step = self._step
        if step.num_requests > 1:
            return step.base + step.each * step.kept.get(id(self._draft), 0)
        return self._seconds[self._number] if self._has_plan else self._drafter.experience.times.plain()

    def _empty(self) -> Candidates:
        return Candidates(self._calibrations, self._context.end_tokens)

    def _best(self, budget: int, further: Sequence[float] = (), seconds: float = 0.0) -> tuple[int, float]:
        """How many nodes of the pool are worth their seconds, and the tokens that the step brings then beyond those of
        as many seconds at the answer's rate; with `further` nodes of such scores, which take `seconds` to propose."""
        number, worth = best_number(self._scores(further)[:budget], self._costs, sub)
        return number, worth - self._rate * (self._models.spent + seconds)

    def _tries(self, budget: int) -> int:
        """Nodes of a pass whose seconds are to be seen: measuring them may have been disturbed, and what is thought too
        dear would never be seen again."""
        most = min(budget, len(self._pool.nodes))
        if self._looks:
            return min(most, _TRIED[0])
        return next((size for size in _TRIED if self._number < size <= most and self._is_untried(size)), 0)

    def _is_untried(self, num_nodes: int) -> bool:
        """Of single requests, which tell most of passes that are not shared as well."""
        return self._num_requests == 1 and not self._drafter.experience.times.has_tried(1 + num_nodes, 1)

    def _scores(self, further: Sequence[float] = ()) -> list[float]:
        return sorted([*self._pool.scores(), *further], reverse=True) if further else self._pool.scores()

    def _lead(self, budget: int) -> str | None:
        """The model that is to grow the tree, if one pays: if its step is faster than one without it."""
        if not self._models.names or not self._may_lose:
            return None
        seconds = [one + self._models.spent for one in self._seconds]
        _, least = best_number(self._scores()[:budget], seconds, truediv)
        if self._num_requests > 1:
            least *= MARGIN
        name, promise = self._promising()
        if not name:  # none has room
            return None
        pays = promise.rate > least or (self._pool.nodes and self._doubts(name, promise, least))
        if not pays:
            self._looks = self._is_due(_NO_MODEL, 1 + self._nap(), name) or (
                self._is_untried(_TRIED[0]) and self._look_costs(name) < _MOST_TRIED
            )
        return name if pays or self._looks else None

    @property
    def _may_lose(self) -> bool:
        """Whether a model may be asked: of requests that share passes whoever runs them says so."""
        return self._step.num_requests > 1 or self._drafter.experience.has_credit

    def _may_rest(self) -> bool:
        """Whether no model is thought of in this step."""
        return (self._naps > 0 or not self._may_lose) and self._num_requests == self._step.num_requests

    def _nap(self) -> int:
        """As many steps as steps have rested in a row, the first apart."""
        return min(max(self._rested - 1, 0), _NAP)

    def _promising(self) -> tuple[str, _Promise]:
        """The model that promises most; nobody promises nothing."""
        if self._age % _LASTS == 0:
            self._promises, self._age = {name: self._promise(name) for name in self._models.names}, 0
        elif self._led:  # of which most was learned
            self._promises[self._led] = self._promise(self._led)
        self._age += 1
        known = (item for item in self._promises.items() if item[0] not in self._full)
        return max(known, key=lambda item: item[1], default=("", _Promise()))

    def _doubts(self, name: str, promise: _Promise, rate: float) -> bool:
        """Whether it pays to ask what a model says in the place of the pool's first tokens: where these are wrong, it
        goes on as far as it promises."""
        if_wrong = promise.expected - 1.0 - rate * promise.seconds
        costs = self._level(name) + self._start(name)
        return (1.0 - self._pool.covered(ROOT)) * if_wrong > rate * costs

    def _pays(self, name: str) -> bool:
        """Whether a drafter that is no model is asked."""
        gain, rate = self._own.gain(name), max(self._rate, 1 / self._seconds[0])
        return gain is None or gain > rate * self._level(name) or self._is_due(name, 1, name)

    def _is_due(self, what: str, number: int, name: str) -> bool:
        """Whether a drafter is asked that has not paid, after so many steps more without `what`."""
        since = self._own.rests(number, what)
        if since < _LOOK or since * _LOOKS_COST < self._look_costs(name):
            return False
        self._own.looked(what)
        return True

    def _look_costs(self, name: str) -> float:
        """What asking a drafter takes this request, alone, in its share of plain steps."""
        experience, is_ready = self._drafter.experience, name in self._models.have_read or name in self._draftings
        starts = 0.0 if is_ready else experience.start_seconds(name, self._own.kind)
        return (starts + experience.level(name, 1)) / self._seconds[0]

    def _second(self, lead: str) -> str | None:
        """A model to be asked beside the leading one: one whose tokens pay, or one that might lead instead."""
        worth = {
            name: self._own.extra(lead, name) - self._rate * (2 * self._level(name) + self._start(name))
            for name in self._models.names
            if name != lead and name not in self._full
        }
        if not worth:
            return None
        idle = [name for name, gain in worth.items() if gain <= 0.0]
        if self._own.rests(1, _SECOND) >= _LOOK and idle:
            likely = max(idle, key=lambda name: self._promise(name).rate)
            if self._is_due(_SECOND, 0, likely):
                return likely
        best = max(worth, key=worth.__getitem__)
        return None if best in idle else best

    def _promise(self, name: str) -> _Promise:
        """Of the best tree of this model, if it is as often right as it may well be."""
        limits, followed = self._drafter.limits, self._own.followed(name, hopes=True)
        expected = usual_trees(round(100 * followed), limits.depth, limits.width, limits.num_nodes)
        expected = np.minimum(expected, max(self._num_left, 1))  # more tokens than are left bring nothing
        drafting = self._level(name) * np.arange(1, limits.depth + 1)
        drafting += self._start(name)
        seconds = drafting[:, None] + self._shares
        rates = expected / seconds
        best = divmod(int(rates.argmax()), rates.shape[1])
        return _Promise(float(rates[best]), float(expected[best]), float(seconds[best] - self._seconds[0]))

    def _start(self, name: str) -> float:
        """What the start of a model costs each step of this answer."""
        return self._own.start_seconds(name, name in self._models.have_read, max(self._num_left, 1))

    def _level(self, name: str) -> float:
        """This request's share of a pass of a drafter: of one that others do not ask in this step it is all."""
        asked, num = self._step.asked, self._step.num_requests
        if name in self._draftings or (asked and (name, 0) not in asked):
            num = 1
        return self._drafter.experience.level(name, num) / num

    def _grow(self, name: str, budget: int) -> Plan[None]:
        """The leading model expands the likeliest nodes of the pool, whoever proposed them, while that pays."""
        model = yield from self._read(name, _NUM_CHILDREN)
        pool, places, limits = self._pool, {ROOT: ROOT}, self._drafter.limits
        chosen, gains = [ROOT], dict[int, float]()  # of nodes that are not expanded while their parents are
        for left in range(min(limits.depth, budget) - 1 if model is not None else 0, 0, -1):
            for node in filter(pool.may_follow, [node for parent in chosen for node in pool.children(parent).values()]):
                # What others have said of a node's children is worth no second time.
                gains[node] = pool.nodes[node].score * (1.0 - pool.covered(node))
            chosen = sorted(nlargest(limits.width, gains, gains.__getitem__))
            if not self._goes_on(name, [gains.pop(node) for node in chosen], min(left, _MOST_AHEAD), budget):
                return
            yield from self._models.expand(name, pool, chosen, places, _NUM_CHILDREN)

    def _goes_on(self, name: str, gains: Sequence[float], most: int, budget: int) -> bool:
        """Whether the next level of the leading model pays, or several: the next number of rows that passes are filled
        up to may cost more than one level brings. No child is likelier than its parent."""
        least, level, followed = self._best(budget)[1], self._models.next_level(name), self._own.followed(name)
        further = list[float]()
        for number in range(1, most + 1):
            further += gains
            gains = [gain * followed for gain in gains]
            if number.bit_count() == 1 and self._best(budget, further, number * level)[1] > least:
                return True
        return False

    def _ask(self, name: str) -> Plan[None]:
        """What another model says after the nodes of the tree, in as few passes as it can."""
        pool = self._pool
        nodes = sorted(node for node in pool.ranked()[:_MOST_LOOKED_AT] if pool.may_follow(node))
        model = yield from self._read(name, _NUM_CHILDREN - 1)
        if model is None:
            return
        levels = [nodes]
        if not model.reads_trees:
            levels = [[node for node in nodes if pool.nodes[node].depth == depth] for depth in (1, 2)]
        places = {ROOT: ROOT}
        for level in filter(None, levels):
            yield from self._models.expand(name, pool, level, places, _NUM_CHILDREN - 1)

    def _read(self, name: str, num_children: int) -> Plan[DraftModel | None]:
        model = yield from self._models.read(name, self._pool, num_children)
        if model is None:
            self._full[name] = _FULL_STEPS
        elif name != self._led:  # what it would have said meanwhile
            for was_right in model.were_right:
                self._own.saw(name, was_right)
        return model

    def _learn(self, feedback: Feedback) -> None:
        pool = self._pool
        followed: list[Candidate] = []
        for place, token in pool.path(feedback.tokens):
            children = [pool.nodes[node] for node in pool.children(place).values()]
            for node in children:
                own = self._calibrations[node.source]
                own.learn(node.facts, node.probability, was_followed=node.token == token)
            for name in pool.asked.get(place, set()).intersection(self._models.names):
                firsts = (node for node in children if node.proposed.get(name, (0.0, -1))[1] == 0)
                self._own.saw(name, any(node.token == token for node in firsts))
            followed += (node for node in children if node.token == token)
        followed = followed[: len(feedback.accepted)]
        for name in self._asked:
            self._own.proposed(name, sum(name in node.proposed for node in followed))
        if self._pair is not None:
            lead, second = self._pair
            self._own.gained(lead, second, sum(one.proposed.keys() == {second} for one in followed))
