"""Draft trees as plain values: tokens with parent links, and how they were drawn.

A chain is a tree with one branch; the empty tree is a draft of nothing. This module knows neither models nor caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from seeahead.errors import DrafterError

ROOT = -1
"""Parent of the nodes that hang directly off the root (the last committed token)."""


@dataclass(frozen=True)
class TokenTree:
    """Tokens with parent links, parents before children. `parents[i]` is a node, or `ROOT`."""

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.parents):
            raise DrafterError(
                f"{len(self.tokens)} tokens of a tree have {len(self.parents)} parents; give one for each"
            )
        if not all(ROOT <= parent < node for node, parent in enumerate(self.parents)):
            raise DrafterError("a tree's parents do not come before their children; give nodes level by level")

    @classmethod
    def chain(cls, tokens: Sequence[int]) -> TokenTree:
        """One branch: each token follows the one before it."""
        return cls(tuple(tokens), tuple(range(ROOT, len(tokens) - 1)))

    @classmethod
    def of_branches(cls, branches: Sequence[Sequence[int]], max_nodes: int) -> TokenTree:
        """A tree of token sequences, common beginnings shared; the earlier ones win where `max_nodes` is reached."""
        tokens: list[int] = []
        parents: list[int] = []
        children: dict[tuple[int, int], int] = {}
        for branch in branches:
            node = ROOT
            for token in branch:
                child = children.get((node, token))
                if child is None:
                    if len(tokens) == max_nodes:
                        break
                    child = children[node, token] = len(tokens)
                    tokens.append(token)
                    parents.append(node)
                node = child
        return cls(tuple(tokens), tuple(parents))

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Distance of each node from the root; a child of the root has depth 1."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return tuple(depths)

    @property
    def depth(self) -> int:
        return max(self.depths, default=0)

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(node)
        return children

    def children(self, node: int) -> Sequence[int]:
        """Nodes whose parent is `node` (or `ROOT`), in drafting order."""
        return self._children.get(node, ())

    def path_to(self, node: int) -> tuple[int, ...]:
        """Nodes from the first level down to `node`, inclusive; empty for `ROOT`."""
        path = []
        while node != ROOT:
            path.append(node)
            node = self.parents[node]
        return tuple(reversed(path))


class PendingNodes:
    """Nodes that were read but not yet kept, found again by the tokens of a path."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], int] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, tokens: Sequence[int], parents: Sequence[int]) -> None:
        """`parents[i]` counts all nodes added so far from 0, or is ROOT. Of siblings alike the first is found."""
        for token, parent in zip(tokens, parents, strict=True):
            self._nodes.setdefault((parent, token), self._number)
            self._number += 1

    def path_of(self, tokens: Sequence[int]) -> list[int]:
        """The longest path of nodes, from a child of the root, that spells the beginning of `tokens`."""
        path: list[int] = []
        for token in tokens:
            node = self._nodes.get((path[-1] if path else ROOT, token))
            if node is None:
                break
            path.append(node)
        return path


@dataclass(frozen=True)
class Draft:
    """A proposed tree: what its nodes were drawn from, how likely they are, and who proposed them.

    `proposals[i]` [vocabulary] is the distribution that node i was drawn from, independently of its siblings; None
    where the token is a fixed choice (a lookup, a top-k tree) that no random number decided. No proposals: all fixed.
    `scores[i]`: estimated probability that the target follows the path to node i; none: not known. `sources[i]`: the
    drafter that proposed it; none: all of the same.
    """

    tree: TokenTree = TokenTree()
    proposals: Sequence[torch.Tensor | None] = ()
    scores: Sequence[float] = ()
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        size = len(self.tree)
        lengths = (len(self.proposals), len(self.scores), len(self.sources))
        if any(length not in (0, size) for length in lengths):
            raise DrafterError(
                f"a draft of {size} nodes has {lengths[0]} proposals, {lengths[1]} scores and {lengths[2]} sources; "
                "give one of each for every node, or none"
            )

    def part(self, nodes: Sequence[int]) -> Draft:
        """The `nodes` alone, in ascending order, with whose parents all are."""
        place = {ROOT: ROOT} | {node: number for number, node in enumerate(nodes)}
        tree = TokenTree(
            tuple(self.tree.tokens[node] for node in nodes), tuple(place[self.tree.parents[node]] for node in nodes)
        )
        values = (self.proposals, self.scores, self.sources)
        return Draft(tree, *([of[node] for node in nodes] if len(of) else () for of in values))  # type: ignore[arg-type]

    def expected(self, path: Sequence[int]) -> Iterator[tuple[float, bool]]:
        """Of every node after the root or one of `path`, which was accepted: how likely it was to be, and whether it
        was. Nothing where there are no scores."""
        accepted = {ROOT, *path}
        for node, (score, parent) in enumerate(zip(self.scores, self.tree.parents)):
            above = 1.0 if parent == ROOT else self.scores[parent]
            if parent in accepted and above > 0:
                yield round(min(score / above, 1.0), 4), node in accepted

    def proposal(self, node: int) -> torch.Tensor | None:
        """What `node` was drawn from [vocabulary]; None for a fixed choice."""
        return self.proposals[node] if len(self.proposals) else None


@dataclass(frozen=True)
class Verdict:
    """What the target accepted: nodes in order from the root, then one token of its own (the bonus)."""

    path: tuple[int, ...]
    bonus: int
