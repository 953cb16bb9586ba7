"""Grows a draft tree level by level from a drafter's own probabilities (EAGLE-2, Li et al. 2024, section 4).

A node's score is the drafter's probability of its whole path: the product of probabilities from the root. Each level
expands the best nodes of the level before; at the end the best nodes overall are kept. A node's score never exceeds its
parent's, so what is kept is a tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from seeahead.drafting import Plan
from seeahead.sampling import log_probabilities
from seeahead.tree import ROOT, Draft, TokenTree

_BY_RANK = (0.7, 0.12, 0.05, 0.03)
"""How often the target's token is the likeliest, second likeliest, ... of a drafter that is mostly right."""

ExpandLevel = Callable[[Sequence[int], Sequence[int]], Plan[torch.Tensor]]
"""(tokens, parents as indices into all tokens expanded so far, or ROOT) -> logits [tokens, vocabulary]."""


@dataclass(frozen=True)
class CostModel:
    """Seconds on this machine: of the target's passes over 1, 2, 3, … tokens, and of drafting a level.

    A tree is expected to bring 1 token and the sum of its nodes' scores."""

    passes: tuple[float, ...]
    level: float

    def best(self, scores: Sequence[float], num_levels: int) -> tuple[int, float]:
        """How many nodes, best first, make the most tokens a second after `num_levels`; and how many that is."""
        gained, best = 1.0, (0, 1 / (self.passes[0] + num_levels * self.level))
        for number, score in enumerate(scores[: len(self.passes) - 1], 1):
            gained += score
            rate = gained / (self.passes[number] + num_levels * self.level)
            if rate > best[1]:
                best = number, rate
        return best


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

    def at_least(self, depth: int) -> TreeLimits:
        """With `depth` levels or more."""
        return self if self.depth >= depth else replace(self, depth=depth)


@dataclass
class _Candidate:
    token: int
    parent: int
    log_score: float
    expanded: int | None = None


def grow(root_logits: torch.Tensor, expand: ExpandLevel, limits: TreeLimits, budget: int) -> Plan[Draft]:
    """A tree of at most `budget` nodes from the drafter's logits [vocabulary] after the root."""
    num_nodes = min(limits.num_nodes, budget)
    candidates: list[_Candidate] = []
    level = _add_children(root_logits[None], [ROOT], [0.0], limits, candidates)
    num_expanded, num_levels = 0, 1
    for _ in range(min(limits.depth, budget) - 1):
        level = sorted(level, key=lambda index: -candidates[index].log_score)[: limits.width]
        if not level or num_nodes == 0 or not _pays(limits.costs, candidates, level, num_levels):
            break
        num_levels += 1
        parents = []
        for index in level:
            parent = candidates[index].parent
            expanded = ROOT if parent == ROOT else candidates[parent].expanded
            assert expanded is not None, "children come only from expanded nodes"
            parents.append(expanded)
        logits = yield from expand([candidates[index].token for index in level], parents)
        for index in level:
            candidates[index].expanded = num_expanded
            num_expanded += 1
        level = _add_children(logits, level, [candidates[index].log_score for index in level], limits, candidates)
    if limits.costs is not None:
        num_nodes = min(num_nodes, limits.costs.best(_scores(candidates), num_levels)[0])
    return _keep_best(candidates, num_nodes)


def _scores(candidates: Sequence[_Candidate]) -> list[float]:
    """Best first."""
    return sorted((math.exp(candidate.log_score) for candidate in candidates), reverse=True)


def _pays(costs: CostModel | None, candidates: Sequence[_Candidate], level: Sequence[int], num_levels: int) -> bool:
    """Whether the children of `level`, whose scores are at most its own, can bring as much as drafting them costs."""
    if costs is None:
        return True
    _, rate = costs.best(_scores(candidates), num_levels)
    return sum(math.exp(candidates[index].log_score) for index in level) > rate * costs.level


def _add_children(
    logits: torch.Tensor,
    parents: Sequence[int],
    scores: Sequence[float],
    limits: TreeLimits,
    candidates: list[_Candidate],
) -> list[int]:
    """Add the best children of each parent as candidates; returns their indices."""
    best = log_probabilities(logits).topk(min(limits.width, logits.shape[-1]), dim=-1)
    lowest = math.log(limits.min_probability) if limits.min_probability > 0 and not limits.fixed else -math.inf
    start = len(candidates)
    for parent, score, values, tokens in zip(parents, scores, best.values.tolist(), best.indices.tolist(), strict=True):
        for rank, (value, token) in enumerate(zip(values, tokens, strict=True)):
            reached = score + (_score_of_rank(rank) if limits.fixed else value)
            if reached >= lowest and value > -math.inf:
                candidates.append(_Candidate(token, parent, reached))
    return list(range(start, len(candidates)))


def _score_of_rank(rank: int) -> float:
    return math.log(_BY_RANK[rank] if rank < len(_BY_RANK) else _BY_RANK[-1] / (rank + 1))


def _keep_best(candidates: list[_Candidate], num_nodes: int) -> Draft:
    # Sorting is stable and a parent comes before its children, so at equal scores the parent is kept first.
    ranked = sorted(range(len(candidates)), key=lambda index: -candidates[index].log_score)
    kept = sorted(ranked[:num_nodes])
    place = {index: node for node, index in enumerate(kept)}
    tokens = tuple(candidates[index].token for index in kept)
    parents = tuple(place.get(candidates[index].parent, ROOT) for index in kept)
    return Draft(TokenTree(tokens, parents), scores=[math.exp(candidates[index].log_score) for index in kept])
