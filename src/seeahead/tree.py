"""Draft trees as plain values: tokens with parent links, and how they were drawn.

A chain is a tree with one branch; the empty tree is a draft of nothing. This module knows neither models nor caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

ROOT = -1
"""Parent of the nodes that hang directly off the root (the last committed token)."""


@dataclass(frozen=True)
class TokenTree:
    """Tokens with parent links, parents before children. `parents[i]` is a node, or `ROOT`."""

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.parents), "one parent per token"
        assert all(ROOT <= parent < node for node, parent in enumerate(self.parents)), "parents come before children"

    @classmethod
    def chain(cls, tokens: Sequence[int]) -> TokenTree:
        """One branch: each token follows the one before it."""
        return cls(tuple(tokens), tuple(range(ROOT, len(tokens) - 1)))

    @classmethod
    def merge(cls, branches: Sequence[Sequence[int]], max_nodes: int) -> TokenTree:
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
        """Number of levels below the root."""
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


@dataclass(frozen=True)
class Draft:
    """A proposed tree and, where its tokens were drawn at random, what they were drawn from.

    `proposal` is `[nodes, vocabulary]`: row i is the distribution that node i was drawn from, independently of its
    siblings. None means the tokens are a fixed choice (a lookup, a top-k tree) that no random number decided.
    """

    tree: TokenTree = TokenTree()
    proposal: torch.Tensor | None = None

    def __post_init__(self) -> None:
        assert self.proposal is None or len(self.proposal) == len(self.tree), "one proposal row per node"


@dataclass(frozen=True)
class Verdict:
    """What the target accepted: nodes in order from the root, then one token of its own (the bonus)."""

    path: tuple[int, ...]
    bonus: int
