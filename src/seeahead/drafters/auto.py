"""Every drafter that is there, in one tree, as far as it pays.

Drafters that cost nothing propose first. Of the draft models the one that promises the most tokens a second leads: it
grows the tree where that is likeliest to pay. Another is asked beside it, over the whole tree, where its own tokens
have been worth that, and rarely to see whether they are by now. All candidates are scored by calibrated probabilities
(`calibration.py`), and the step has as many nodes as pay by what passes take on this machine (`pass_times.py`): a tree
is best where tokens expected over seconds are most, so none are drafted where none pay. What proposed a token changes
nothing about what is verified: all candidates are fixed, and the target's own token is followed (`verify.py`).
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from pathlib import Path
from time import perf_counter
from typing import Annotated

import torch
from pydantic import Field

from seeahead.drafters.base import DraftModel, ModelDrafter
from seeahead.drafters.calibration import OwnCalibration
from seeahead.drafters.candidates import Candidate, Candidates
from seeahead.drafters.experience import Experience, OwnExperience
from seeahead.drafters.pass_times import PassTimes
from seeahead.drafters.spec import DrafterSpec, Joined
from seeahead.drafting import DraftContext, Drafter, Drafting, Feedback, Plan, PlannedDrafting, plan_of
from seeahead.errors import DrafterError
from seeahead.executor import Want
from seeahead.sampling import log_probabilities
from seeahead.target import Target
from seeahead.tree import ROOT, Draft

_NUM_CHILDREN = 3
_MOST_LOOKED_AT = 12
"""Nodes after which a second drafter is asked."""
_LOOK = 64
"""Steps after which another model is asked beside the leading one, or one where none paid, to see whether it pays by
now."""


class AutoDrafter:
    """`members` by name. Decides over all requests of a step together (`drafting.JointDrafter`)."""

    def __init__(self, members: dict[str, Drafter], experience: Experience, limits: AutoSpec, name: str) -> None:
        self.members, self.experience, self.limits, self.name = members, experience, limits, name
        self.num_requests = 1

    @property
    def want(self) -> Want:
        return reduce(or_, (member.want for member in self.members.values()), Want())

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step, if every member drafts."""
        found = (module for member in self.members.values() for module in getattr(member, "modules", ()))
        return tuple(dict.fromkeys(found))

    def start(self, context: DraftContext) -> AutoDrafting:
        return AutoDrafting(self, context)

    def before(self, num_requests: int) -> None:
        self.num_requests = num_requests

    def allot(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The best nodes over all drafts, as many as pay in one pass."""
        scores = sorted((score for draft in drafts for score in draft.scores), reverse=True)
        times, num = self.experience.times, len(drafts)
        gained = expected = float(num)
        best, number = gained / times.seconds(num, num), 0
        for count, score in enumerate(scores, 1):
            expected += score
            if (rate := expected / times.seconds(num + count, num)) > best:
                best, number = rate, count
        if number == len(scores):
            return list(drafts)
        lowest = scores[number] if number < len(scores) else 0.0
        return [_above(draft, lowest) for draft in drafts]

    def after(self, num_rows: int, num_requests: int, seconds: float) -> None:
        self.experience.times.learn(num_rows, num_requests, seconds)


def _above(draft: Draft, lowest: float) -> Draft:
    """The nodes of a higher score; no node has a higher one than its parent, so they are a tree's."""
    kept = [node for node, score in enumerate(draft.scores) if score > lowest]
    return draft if len(kept) == len(draft.tree) else draft.part(kept)


class AutoDrafting(PlannedDrafting):
    """One answer. Models start when they are first asked: until then nothing of the prompt is read for them."""

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        self._drafter, self._context = drafter, context
        is_greedy, images = context.params.is_greedy, context.prompt.images if context.prompt else ()
        is_image = torch.isin(
            context.inputs.token_ids, torch.tensor(sorted(context.image_token_ids)).to(context.inputs.token_ids)
        )
        num_images = max(len(images), int(is_image.any()))
        self._own = OwnExperience(drafter.experience, (min(num_images, 2), is_greedy))
        self._calibrations = {
            name: OwnCalibration(drafter.experience.calibration(name, is_greedy)) for name in drafter.members
        }
        self._models: dict[str, DraftModel] = {}
        self._names = [name for name, member in drafter.members.items() if isinstance(member, ModelDrafter)]
        others = ((name, member) for name, member in drafter.members.items() if name not in self._names)
        self._draftings: dict[str, Drafting] = {name: member.start(context) for name, member in others}
        self._past: list[Feedback] = []
        self._led = ""
        self._pool = Candidates(self._calibrations)
        self._spent = 0.0
        self._pair: tuple[str, str] | None = None

    def plan(self, budget: int) -> Plan[Draft]:
        self._spent, self._pair, budget = 0.0, None, min(budget, self._drafter.limits.num_nodes)
        pool = self._pool = Candidates(self._calibrations)
        for name, drafting in self._draftings.items():
            if self._pays(name):
                started = perf_counter()
                pool.add_draft(name, (yield from plan_of(drafting, budget)))
                self._spend(name, perf_counter() - started)
        pool.score()
        lead = self._lead(pool, budget)
        if lead is not None:
            yield from self._grow(lead, pool, budget)
            self._led = lead
            second = self._second(lead)
            if second is not None:
                self._pair = lead, second
                yield from self._ask(second, pool)
        return pool.draft(self._best(pool, budget)[0])

    def accept(self, feedback: Feedback) -> None:
        self._learn(feedback)
        for drafting in self._draftings.values():
            drafting.accept(feedback)
        for model in self._models.values():
            model.accept(feedback)
        if len(self._models) < len(self._names):
            self._past.append(Feedback(feedback.tokens, feedback.logits[:0], feedback.features))

    def _seconds(self, num_nodes: int) -> float:
        """This request's share of a step in which all have so many nodes."""
        num = self._drafter.num_requests
        return self._drafter.experience.times.seconds(num * (1 + num_nodes), num) / num

    def _best(self, pool: Candidates, budget: int) -> tuple[int, float]:
        """How many nodes of the pool make the most tokens a second, and how many that is."""
        expected, best = 1.0, (0, 1 / (self._seconds(0) + self._spent))
        for number, place in enumerate(pool.ranked()[:budget], 1):
            expected += pool.nodes[place].score
            if (rate := expected / (self._seconds(number) + self._spent)) > best[1]:
                best = number, rate
        return best

    def _lead(self, pool: Candidates, budget: int) -> str | None:
        """The model that is to grow the tree, if one pays."""
        rates = {name: self._rate(name) for name in self._names}
        if not rates:
            return None
        lead = max(rates, key=lambda name: rates[name])
        if rates[lead] > self._best(pool, budget)[1]:
            return lead
        return lead if self._own.rests() % _LOOK == 0 else None

    def _pays(self, name: str) -> bool:
        """Whether a drafter that is no model is asked."""
        gain = self._own.gain(name)
        if gain is None or gain > self._level(name) / self._seconds(0):
            return True
        return self._own.rests() % _LOOK == 0

    def _second(self, lead: str) -> str | None:
        """A model to be asked beside the leading one: one whose tokens pay, or one that might lead instead."""
        _, rate = self._best(self._pool, self._drafter.limits.num_nodes)
        others = [name for name in self._names if name != lead]
        for name in others:
            costs = 2 * self._level(name) + self._own.start_seconds(name, name in self._models)
            if self._own.extra(lead, name) > rate * costs:
                return name
        if not others or self._own.leads() % _LOOK:
            return None
        return max(others, key=lambda name: self._rate(name, hopes=True))

    def _rate(self, name: str, *, hopes: bool = False) -> float:
        """Tokens a second that a chain of this model's likeliest tokens promises, at its best length; with `hopes`, if
        it is as often right as it may well be."""
        followed, level = self._own.followed(name, hopes=hopes), self._level(name)
        start = self._own.start_seconds(name, name in self._models)
        expected, score, best = 1.0, 1.0, 0.0
        for depth in range(1, self._drafter.limits.depth + 1):
            score *= followed
            expected += score
            best = max(best, expected / (self._seconds(depth) + depth * level + start))
        return best

    def _level(self, name: str) -> float:
        """This request's share of a pass of a drafter."""
        num = self._drafter.num_requests
        return self._drafter.experience.level(name, num) / num

    @contextmanager
    def _timed(self, name: str, *, starts: bool = False) -> Iterator[None]:
        started = perf_counter()
        yield
        self._spend(name, perf_counter() - started, starts=starts)

    def _spend(self, name: str, seconds: float, *, starts: bool = False) -> None:
        num = self._drafter.num_requests
        self._spent += seconds / num
        if starts:
            self._drafter.experience.started(name, seconds / num)
        else:
            self._drafter.experience.drafted(name, num, seconds)

    def _grow(self, name: str, pool: Candidates, budget: int) -> Plan[None]:
        """The leading model expands the likeliest nodes of the pool, whoever proposed them, while that pays."""
        model = yield from self._read(name, pool, _NUM_CHILDREN)
        places, limits = {ROOT: ROOT}, self._drafter.limits
        for _ in range(min(limits.depth, budget) - 1 if model is not None else 0):
            assert model is not None
            ready = [node for node in pool.ranked() if node not in places and pool.nodes[node].parent in places]
            chosen = sorted(ready[: limits.width])
            number, rate = self._best(pool, budget)
            gain = sum(pool.nodes[node].score for node in chosen)
            if gain <= rate * (self._level(name) + self._seconds(number + 1) - self._seconds(number)):
                return
            yield from self._expand(name, model, chosen, places, pool, _NUM_CHILDREN)

    def _ask(self, name: str, pool: Candidates) -> Plan[None]:
        """What another model says after the nodes of the tree, in as few passes as it can."""
        nodes = sorted(pool.ranked()[:_MOST_LOOKED_AT])
        model = yield from self._read(name, pool, _NUM_CHILDREN - 1)
        if model is None:
            return
        levels = [nodes]
        if not model.reads_trees:
            levels = [[node for node in nodes if pool.nodes[node].depth == depth] for depth in (1, 2)]
        places = {ROOT: ROOT}
        for level in filter(None, levels):
            yield from self._expand(name, model, level, places, pool, _NUM_CHILDREN - 1)

    def _read(self, name: str, pool: Candidates, num_children: int) -> Plan[DraftModel | None]:
        """The model, with what it says of the answer so far in the pool; None where it has no room."""
        is_new = name not in self._models
        with self._timed(name, starts=is_new):
            if is_new:
                member = self._drafter.members[name]
                assert isinstance(member, ModelDrafter)
                model = self._models[name] = member.model(self._context, self._drafter.limits.depth)
                for feedback in self._past:
                    model.accept(feedback)
            model = self._models[name]
            logits = yield from model.read()
            if logits is None:
                return None
            if name != self._led:  # what it would have said meanwhile
                for was_right in model.were_right:
                    self._own.saw(name, was_right)
            self._add(name, [ROOT], logits, model, pool, num_children)
        return model

    def _expand(
        self,
        name: str,
        model: DraftModel,
        nodes: Sequence[int],
        places: dict[int, int],
        pool: Candidates,
        children: int,
    ) -> Plan[None]:
        """`places`: of nodes that the model has read, their numbers there."""
        with self._timed(name):
            first = len(places) - 1
            places |= {node: first + number for number, node in enumerate(nodes)}
            tokens = model.ids.to_draft([pool.nodes[node].token for node in nodes])
            logits = yield from model.expand(tokens, [places[pool.nodes[node].parent] for node in nodes])
            self._add(name, nodes, logits[0], model, pool, children)

    def _add(
        self,
        name: str,
        parents: Sequence[int],
        logits: torch.Tensor,
        model: DraftModel,
        pool: Candidates,
        children: int,
    ) -> None:
        """The likeliest tokens by `logits` [parents, draft ids]."""
        best = log_probabilities(logits).topk(min(children, logits.shape[-1]), dim=-1)
        for parent, values, ids in zip(parents, best.values.exp().tolist(), best.indices.tolist(), strict=True):
            proposed = [
                (token, value) for token, value in zip(model.ids.to_target(ids), values, strict=True) if value > 0
            ]
            pool.add(name, parent, proposed)
        # What was proposed there by others is scored anew.
        pool.score(min((node for parent in parents for node in pool.children(parent).values()), default=0))

    def _learn(self, feedback: Feedback) -> None:
        pool = self._pool
        followed: list[Candidate] = []
        for place, token in pool.path(feedback.tokens):
            children = [pool.nodes[node] for node in pool.children(place).values()]
            for node in children:
                own = self._calibrations[node.source]
                own.learn(node.facts, node.probability, was_followed=node.token == token)
            for name in pool.asked.get(place, set()).intersection(self._names):
                firsts = (node for node in children if node.proposed.get(name, (0.0, -1))[1] == 0)
                self._own.saw(name, any(node.token == token for node in firsts))
            followed += (node for node in children if node.token == token)
        followed = followed[: len(feedback.accepted)]
        for name in self._draftings:
            if name in pool.asked.get(ROOT, ()):
                self._own.proposed(name, sum(name in node.proposed for node in followed))
        if self._pair is not None:
            lead, second = self._pair
            self._own.gained(lead, second, sum(lead not in one.proposed and second in one.proposed for one in followed))


class AutoSpec(DrafterSpec):
    """`members`: drafters by name; by default all that were made for the target, and lookup."""

    kind = "auto"
    members: Annotated[tuple[str, ...], Joined, Field(description="drafters, joined by +; else all there are")] = ()
    depth: Annotated[int, Field(ge=1, le=100, description="levels of a tree at most")] = 8
    width: Annotated[int, Field(ge=1, le=100, description="nodes expanded per level at most")] = 2
    num_nodes: Annotated[int, Field(ge=1, le=10_000, description="nodes of a tree at most")] = 24
    state: Annotated[Path | None, Field(description="a file that keeps what was learned")] = None

    def bind(self, target: Target) -> AutoDrafter:
        from seeahead.drafters import FASTEST, bind

        names = self.members or (*(kind for kind in FASTEST if kind in self.own), "lookup")
        members: dict[str, Drafter] = {}
        for text in names:
            member = bind(text, target, self.own)
            name = member.name if member.name not in members else text
            if name in members:
                raise DrafterError(f"drafter '{text}' is a member twice; name each once")
            members[name] = member
        experience = Experience(PassTimes(target.executor))
        if self.state is not None:
            if self.state.exists():
                experience.read(self.state)
            atexit.register(experience.save, self.state)
        return AutoDrafter(members, experience, self, self.title)
