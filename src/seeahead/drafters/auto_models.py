"""The models that `auto` asks in one answer: each starts when it is first asked, and what it says is timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from seeahead.drafters.auto_step import DraftClock
from seeahead.drafters.base import DraftModel, ModelDrafter
from seeahead.drafters.candidates import Candidates
from seeahead.drafters.experience import Kind
from seeahead.drafting import DraftContext, Feedback, Plan
from seeahead.sampling import log_probabilities
from seeahead.tree import ROOT

if TYPE_CHECKING:
    from seeahead.drafters.auto import AutoDrafter


class AutoModels:
    """Until a model starts nothing of the prompt is read. `spent`: this request's share of the seconds of drafting in
    the step under way."""

    def __init__(self, drafter: AutoDrafter, context: DraftContext, kind: Kind) -> None:
        self._drafter, self._context, self._kind = drafter, context, kind
        self.names = [name for name, member in drafter.members.items() if isinstance(member, ModelDrafter)]
        self.spent = 0.0
        self.clock, self._depth = DraftClock(drafter.step), dict[str, int]()
        self._started: dict[str, DraftModel] = {}
        self.have_read: set[str] = set()
        """Those that have read the prompt, which is most of what a start costs."""
        self._untold: dict[str, list[Feedback]] = {name: [] for name in self.names}
        self._asked: set[str] = set()

    @contextmanager
    def timed(self, name: str, *, starts: bool = False) -> Iterator[Callable[[], None]]:
        """Inside, a member drafts, whether it is a model or not; what is called there says that it did not."""
        clock, drafted = self.clock, [True]
        before, clock.num_asking = clock.seconds(), 1
        yield drafted.clear
        seconds = clock.seconds() - before
        self.spent += seconds
        if not drafted:
            return
        if starts:
            self._drafter.experience.started(name, self._kind, seconds)
        else:
            self._drafter.experience.drafted(name, clock.num_asking, seconds * clock.num_asking)

    def next_level(self, name: str) -> float:
        """This request's share of the next level of a model that it has asked: with those who took the last one."""
        num = self._drafter.step.asked[name, self._depth[name]]
        return self._drafter.experience.level(name, num) / num

    def _asks(self, name: str, depth: int) -> None:
        self._depth[name] = depth
        self._drafter.step.asked[name, depth] += 1

    def start(self, name: str) -> DraftModel:
        member = self._drafter.members[name]
        assert isinstance(member, ModelDrafter)
        model = self._started[name] = member.model(self._context, self._drafter.limits.depth)
        return model

    def read(self, name: str, pool: Candidates, num_children: int) -> Plan[DraftModel | None]:
        """The model, with what it says of the answer so far in the pool; None where it has no room."""
        self._asks(name, 0)
        with self.timed(name, starts=name not in self.have_read) as did_not:
            if self._untold[name] and name in self.have_read:
                did_not()  # what it reads of the steps that it missed says nothing of a pass over one level
            self.have_read.add(name)
            self._asked.add(name)
            model = self._started[name] if name in self._started else self.start(name)
            for feedback in self._untold[name]:
                model.accept(feedback)
            self._untold[name].clear()
            logits = yield from model.read()
            if logits is None:
                did_not()
                self._drafter.step.asked -= Counter({(name, 0): 1})
                self.have_read.discard(name)
                return None
            _add(pool, name, [ROOT], logits, model, num_children)
        return model

    def expand(
        self, name: str, pool: Candidates, nodes: Sequence[int], places: dict[int, int], children: int
    ) -> Plan[None]:
        """What the model says after nodes of the pool. `places`: of nodes that it has read, their numbers there."""
        model = self._started[name]
        self._asks(name, self._depth[name] + 1)
        with self.timed(name):
            first = len(places) - 1
            places |= {node: first + number for number, node in enumerate(nodes)}
            tokens = model.ids.to_draft([pool.nodes[node].token for node in nodes])
            logits = yield from model.expand(tokens, [places[pool.nodes[node].parent] for node in nodes])
            _add(pool, name, nodes, logits[0], model, children)

    def accept(self, feedback: Feedback) -> None:
        """Those that were asked take it in now; the others once they are asked again, since most steps of many requests
        ask none."""
        later = feedback.without_logits()
        for name in self.names:
            if name in self._asked:
                self._started[name].accept(feedback)
            else:
                self._untold[name].append(later)
        self._asked.clear()


def _add(
    pool: Candidates, name: str, parents: Sequence[int], logits: torch.Tensor, model: DraftModel, children: int
) -> None:
    """The likeliest tokens by `logits` [parents, draft ids]."""
    best = log_probabilities(logits).topk(min(children, logits.shape[-1]), dim=-1)
    for parent, values, ids in zip(parents, best.values.exp().tolist(), best.indices.tolist(), strict=True):
        proposed = [(token, value) for token, value in zip(model.ids.to_target(ids), values, strict=True) if value > 0]
        pool.add(name, parent, proposed)
    # What was proposed there by others is scored anew.
    pool.score(min((node for parent in parents for node in pool.children(parent).values()), default=0))
