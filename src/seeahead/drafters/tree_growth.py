"""Grows a draft tree level by level from a drafter's own probabilities (EAGLE-2, Li et al. 2024, section 4).

A node's score is the drafter's probability of its whole path: the product of probabilities from the root. Each level
expands the best nodes of the level before; at the end the best nodes overall are kept. A node's score never exceeds its
parent's, so what is kept is a tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import truediv

import numpy as np
import numpy.typing as npt
import torch

from seeahead.drafting import Plan
from seeahead.sampling import log_probabilities
from seeahead.tree import ROOT, Draft, TokenTree

_BY_RANK = (0.7, 0.12, 0.05, 0.03)
"""How often the target's token is the likeliest, second likeliest, ... of a drafter that is mostly right."""

_FURTHER = ((0.25, 0.45), (0.12, 0.25))
"""Of the second and of the third likeliest: how often it is the target's where the likeliest is not, and at most so
many times as often as the likeliest."""

ExpandLevel = Callable[[Sequence[int], Sequence[int]], Plan[torch.Tensor]]
"""(tokens, parents as indices into all tokens expanded so far, or ROOT) -> logits [tokens, vocabulary]."""


def best_number(
    scores: Iterable[float],
    costs: Iterable[float],
    worth: Callable[[float, float], float],
    expected: float = 1.0,
) -> tuple[int, float]:
    """How many nodes of these scores, best first, are worth most, and how much that is.

    `worth` of the tokens that a step is expected to bring and of what it costs, by `costs` of none, one, two, … nodes,
    of which there are at most as many as costs; `expected` tokens come without any."""
    found = list(map(worth, accumulate(scores, initial=expected), costs))
    best = max(found)
    return found.index(best), best


@lru_cache(128)
def usual_trees(percent: int, depth: int, width: int, num_nodes: int) -> npt.NDArray[np.float64]:
    """Tokens that a step is expected to bring [levels, nodes], with 1, 2, … levels and with none, one, … of their best
    nodes, where the likeliest token of a drafter is right in so many of 100 cases and `width` nodes a level are
    expanded."""
    first = percent / 100
    second, third = (min(share * (1.0 - first), times * first) for share, times in _FURTHER)
    ready, scores, found = [1.0], list[float](), []
    for _ in range(depth):
        ready.sort(reverse=True)
        new = [score * child for score in ready[:width] for child in (first, second, third)]
        ready = ready[width:] + new
        scores = sorted(scores + new, reverse=True)
        best = np.cumsum([1.0, *scores[:num_nodes]])
        found.append(np.pad(best, (0, num_nodes + 1 - len(best)), "edge"))
    return np.stack(found)


@dataclass(frozen=True)
class CostModel:
    """Seconds on this machine: of the target's passes over 1, 2, 3, … tokens, and of drafting a level.

    A tree is expected to bring 1 token and the sum of its nodes' scores."""

    passes: tuple[float, ...]
    level: float

    def best(self, nodes: Sequence[_Node], num_levels: int) -> tuple[int, float]:
        """How many of `nodes`, best first, make the most tokens a second after `num_levels`; and how many that is."""
        scores = sorted((math.exp(node.score) for node in nodes), reverse=True)
        drafting = num_levels * self.level
        return best_number(scores, [seconds + drafting for seconds in self.passes], truediv)


@dataclass(frozen=True)
class TreeLimits:
    """`depth` levels; `width` nodes expanded per level; at most `num_nodes` kept.

    `min_probability`: nodes of a lower score are left out. `fixed`: every tree of the same shape, whatever the drafter
    says: a node's score is what its rank among its siblings usually is (EAGLE-1's idea; Li et al. 2024a), the lesser
    ones fewer levels deep. `costs`: within these limits only as many levels and nodes as pay on this machine.
    """

    depth: int = 7
    width: int = 2
    num_nodes: int = 12
    min_probability: float = 0.1
    fixed: bool = False
    costs: CostModel | None = None


@dataclass
class _Node:
    """`parent` counts all nodes, `place` those that were expanded; `score` is a logarithm."""

    token: int
    parent: int
    score: float
    place: int = ROOT


def grow(
    root_logits: torch.Tensor,
    expand: ExpandLevel,
    limits: TreeLimits,
    budget: int,
    ends: Container[int] = frozenset(),
) -> Plan[Draft]:
    """A tree of at most `budget` nodes from the drafter's logits [vocabulary] after the root; none follows `ends`."""
    num_nodes, costs = min(limits.num_nodes, budget), limits.costs
    nodes: list[_Node] = []
    level: Sequence[int] = _add_children(root_logits[None], [ROOT], nodes, limits)
    num_expanded, num_levels = 0, 1
    while num_levels < min(limits.depth, budget):
        open_ended = [index for index in level if nodes[index].token not in ends]
        level = sorted(open_ended, key=lambda index: -nodes[index].score)[: limits.width]
        if not level or num_nodes == 0 or (costs is not None and not _pays(costs, nodes, level, num_levels)):
            break
        num_levels += 1
        parents = [ROOT if nodes[index].parent == ROOT else nodes[nodes[index].parent].place for index in level]
        logits = yield from expand([nodes[index].token for index in level], parents)
        for place, index in enumerate(level, num_expanded):
            nodes[index].place = place
        num_expanded += len(level)
        level = _add_children(logits, level, nodes, limits)
    if costs is not None:
        num_nodes = min(num_nodes, costs.best(nodes, num_levels)[0])
    return _keep_best(nodes, num_nodes)


def _pays(costs: CostModel, nodes: Sequence[_Node], level: Sequence[int], num_levels: int) -> bool:
    """Whether the children of `level`, whose scores are at most its own, can bring as much as drafting them costs."""
    _, rate = costs.best(nodes, num_levels)
    return sum(math.exp(nodes[index].score) for index in level) > rate * costs.level


def _add_children(logits: torch.Tensor, parents: Sequence[int], nodes: list[_Node], limits: TreeLimits) -> range:
    """Add the best children of each parent by its `logits` [parents, vocabulary]; returns their indices."""
    best = log_probabilities(logits).topk(min(limits.width, logits.shape[-1]), dim=-1)
    lowest = math.log(limits.min_probability) if limits.min_probability > 0 and not limits.fixed else -math.inf
    start = len(nodes)
    for parent, values, tokens in zip(parents, best.values.tolist(), best.indices.tolist(), strict=True):
        above = 0.0 if parent == ROOT else nodes[parent].score
        for rank, (value, token) in enumerate(zip(values, tokens, strict=True)):
            score = above + (_score_of_rank(rank) if limits.fixed else value)
            if score >= lowest and value > -math.inf:
                nodes.append(_Node(token, parent, score))
    return range(start, len(nodes))


def _score_of_rank(rank: int) -> float:
    return math.log(_BY_RANK[rank] if rank < len(_BY_RANK) else _BY_RANK[-1] / (rank + 1))


def _keep_best(nodes: Sequence[_Node], num_nodes: int) -> Draft:
    # Sorting is stable and a parent comes before its children, so at equal scores the parent is kept first.
    kept = sorted(sorted(range(len(nodes)), key=lambda index: -nodes[index].score)[:num_nodes])
    tree = TokenTree(tuple(node.token for node in nodes), tuple(node.parent for node in nodes))
    return Draft(tree, scores=[math.exp(node.score) for node in nodes]).part(kept)
