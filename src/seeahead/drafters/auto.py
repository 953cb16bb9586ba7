"""Several drafters in one tree, as far as it pays.

Drafters that cost nothing propose first. Of the draft models the one that promises the most tokens a second leads: it
grows the tree where that is likeliest to pay. Another is asked beside it, over the whole tree, where its own tokens
have been worth that, and rarely to see whether they are by now. All candidates are scored by calibrated probabilities
(`calibration.py`), and the step has as many nodes as pay by what passes take on this machine (`pass_times.py`): a node
pays where it brings more tokens than its seconds bring at the rate of the whole answer (the marginal value theorem,
Charnov 1976), so none are drafted where none pay. What proposed a token changes nothing about what is verified: all
candidates are fixed, and the target's own token is followed (`verify.py`).
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_, sub
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from seeahead.drafters.at_hand import here
from seeahead.drafters.auto_drafting import AutoDrafting
from seeahead.drafters.auto_step import AutoStep
from seeahead.drafters.experience import Experience
from seeahead.drafters.pass_times import PassTimes
from seeahead.drafters.spec import DrafterSpec, Joined
from seeahead.drafters.tree_growth import best_number
from seeahead.drafting import DraftContext, Drafter, is_joint
from seeahead.errors import DrafterError, SeeaheadError, shown
from seeahead.executor import Want
from seeahead.provenance import check_writable
from seeahead.target import Target
from seeahead.tree import Draft

_log = logging.getLogger(__name__)
_kept: dict[Path, Experience] = {}
"""What goes into files at the end of the process."""


class AutoDrafter:
    """`members` by name, and the `folders` of those that have one. Decides over all requests of a step together
    (`drafting.JointDrafter`)."""

    def __init__(
        self,
        members: dict[str, Drafter],
        experience: Experience,
        limits: AutoSpec,
        name: str,
        folders: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.members, self.experience, self.limits, self.name = members, experience, limits, name
        self.folders = folders
        self.step = AutoStep()
        self.want = reduce(or_, (member.want for member in members.values()), Want())

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step, if every member drafts."""
        found = (module for member in self.members.values() for module in getattr(member, "modules", ()))
        return tuple(dict.fromkeys(found))

    def start(self, context: DraftContext) -> AutoDrafting:
        return AutoDrafting(self, context)

    def before(self, num_requests: int, longest: int) -> None:
        self.experience.times.at(longest)
        self.step.begin(num_requests)

    def shares(self) -> npt.NDArray[np.float64]:
        """A request's share of the seconds of a step, by how many nodes all of its requests have: none, 1, 2, …"""
        step = self.step
        if step.shares is None:
            num, most = step.num_requests, self.limits.num_nodes
            step.shares = np.array(self.experience.times.by_nodes(num, most)) / num
        return step.shares

    def allot(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The best nodes over all drafts, as many as pay in one pass; of a single request those that it chose."""
        step, times, num = self.step, self.experience.times, self.step.num_requests
        if num == 1:
            return list(drafts)
        nodes = [(score, place, node) for place, draft in enumerate(drafts) for node, score in enumerate(draft.scores)]
        nodes.sort(key=lambda node: -node[0])  # of equal ones parents come first
        seconds = [times.seconds(num + count, num) for count in range(len(nodes) + 1)]
        rate = sum(step.rates) / max(len(step.rates), 1)
        number, _ = best_number([score for score, _, _ in nodes], [rate * one for one in seconds], sub, float(num))
        kept: list[list[int]] = [[] for _ in drafts]
        for _, place, node in nodes[:number]:
            kept[place].append(node)
        step.base, step.each = seconds[0] / num, (seconds[number] - seconds[0]) / max(number, 1)
        step.kept = {id(draft): len(own) for draft, own in zip(drafts, kept, strict=True)}
        # No node has a higher score than its parent, so those that are kept are trees.
        return [
            draft if len(own) == len(draft.scores) else draft.part(sorted(own))
            for draft, own in zip(drafts, kept, strict=True)
        ]

    def after(self, num_rows: int, num_requests: int, seconds: float) -> None:
        self.experience.times.learn(num_rows, num_requests, seconds)


@atexit.register
def keep_all() -> None:
    """What has been learned goes into the files that were named for it; what is learned later does not."""
    while _kept:
        path, experience = _kept.popitem()
        keep(experience, path)


def keep(experience: Experience, path: Path) -> None:
    """Also at the end of the process, where nobody can catch an error any more."""
    try:
        experience.save(path)
    except (OSError, SeeaheadError) as error:
        sys.stderr.write(f"seeahead: what auto learned could not be kept: {error}\n")


class AutoSpec(DrafterSpec):
    """`members`: drafters by name; by default all that were made for the target, and lookup."""

    kind = "auto"
    members: Annotated[
        tuple[str, ...], Joined, Field(description="drafters, joined by +; else lookup and the target's own")
    ] = ()
    depth: Annotated[int, Field(ge=1, le=100, description="levels of a tree at most")] = 16
    width: Annotated[int, Field(ge=1, le=100, description="nodes expanded per level at most")] = 2
    num_nodes: Annotated[int, Field(ge=1, le=10_000, description="nodes of a tree at most")] = 32
    state: Annotated[Path | None, Field(description="a file that keeps what was learned")] = None

    def bind(self, target: Target) -> AutoDrafter:
        from seeahead.drafters import MEMBERS, spec_of

        names = self.members or (*(kind for kind in MEMBERS if kind in self.own), "lookup")
        members, folders = dict[str, Drafter](), dict[str, Path]()
        experience = Experience(PassTimes(target.executor))
        for text in names:
            try:
                spec = spec_of(text, self.own)
                member = spec.bind(target)
                if is_joint(member):
                    raise DrafterError(
                        f"drafter {shown(member.name)} cannot be a member of another; name its members there"
                    )
                name = member.name if member.name not in members else text
                if name in members:
                    raise DrafterError(f"drafter '{text}' is a member twice; name each once")
            except Exception as error:
                if self.members:
                    raise
                # Nobody asked for it, and whatever is wrong with it, or has no room, is nothing to an answer.
                _log.warning("auto goes on without %s: %s", text, " ".join(str(error).split()) or type(error).__name__)
                continue
            members[name], source = member, getattr(spec, "source", None)
            if source is not None and (folder := here(source)) is not None:
                folders[name] = folder
                self._read_prior(experience, folder, name)
        if not self.members:
            _log.info("auto drafts with %s", ", ".join(members))
        if self.state is not None:
            check_writable(self.state)
            self._go_on(experience, self.state.absolute())
        return AutoDrafter(members, experience, self, self.title, folders)

    def _read_prior(self, experience: Experience, folder: Path, name: str) -> None:
        """What is damaged is said, and where nobody asked for its drafter no more."""
        try:
            experience.read_prior(folder, name)
        except DrafterError as error:
            if self.members:
                raise
            _log.warning("auto learns anew what %s is good at: %s", name, error)

    @staticmethod
    def _go_on(experience: Experience, path: Path) -> None:
        """From what the file has, which is written at the end of the process; what an earlier drafter of this process
        has learned for it is written before, and what that goes on to learn is not."""
        if (before := _kept.get(path)) is not None:
            keep(before, path)
        if path.exists():
            experience.read(path)
        _kept[path] = experience
