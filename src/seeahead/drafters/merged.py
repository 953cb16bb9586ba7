"""Several drafters' drafts in one tree, verified in one walk: common paths shared, the best nodes kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated

from pydantic import Field

from seeahead.drafters.spec import DrafterSpec, Joined
from seeahead.drafting import DraftContext, Drafter, Drafting, Feedback, Plan, PlannedDrafting, check_members, plan_of
from seeahead.errors import DrafterError
from seeahead.executor import Want
from seeahead.target import Target
from seeahead.tree import Draft, bound_nodes, merge


@dataclass(frozen=True)
class MergedDrafter:
    """`members` draft on their own, each up to `num_nodes` together with the others."""

    members: tuple[Drafter, ...]
    num_nodes: int = 24
    name: str = "merged"

    @property
    def want(self) -> Want:
        return reduce(or_, (member.want for member in self.members), Want())

    def start(self, context: DraftContext) -> _Merged:
        started = [member.start(context.of_member(number)) for number, member in enumerate(self.members)]
        return _Merged(started, self.num_nodes)


class _Merged(PlannedDrafting):
    def __init__(self, draftings: list[Drafting], num_nodes: int) -> None:
        self._draftings, self._num_nodes = draftings, num_nodes

    def plan(self, budget: int) -> Plan[Draft]:
        """Drawn nodes and those above them must all stay: a member gets what those before it left of the budget."""
        budget, drafts = min(budget, self._num_nodes), list[Draft]()
        left = budget
        for drafting in self._draftings:
            if left == 0:
                break
            draft = yield from plan_of(drafting, left)
            left -= len(bound_nodes(draft.tree.parents, draft.proposals))
            drafts.append(draft)
        return merge(drafts, budget)

    def accept(self, feedback: Feedback) -> None:
        for drafting in self._draftings:
            drafting.accept(feedback)


class MergedSpec(DrafterSpec):
    """`members`: drafters by name, joined by +; the first has the first claim on the budget."""

    kind = "merged"
    members: Annotated[tuple[str, ...], Joined, Field(description="drafters, joined by +")] = ("lookup", "msd")
    num_nodes: Annotated[int, Field(ge=1, le=10_000, description="nodes of the merged tree at most")] = 24

    def bind(self, target: Target) -> MergedDrafter:
        from seeahead.drafters import bind

        if not self.members:
            raise DrafterError("a merged drafter needs members; give them as members=lookup+msd")
        members = tuple(bind(name, target, self.own) for name in self.members)
        check_members(members)
        return MergedDrafter(members, self.num_nodes, self.title)
