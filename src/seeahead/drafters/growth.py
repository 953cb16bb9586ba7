"""Grows a draft tree level by level from a drafter's own probabilities (EAGLE-2, Li et al. 2024, section 4).

A node is worth what the drafter thinks of its whole path: the product of probabilities from the root. Each level
expands the best nodes of the level before; at the end the best nodes overall are kept. A node's worth never exceeds its
parent's, so what is kept is a tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from seeahead.sampling import log_probabilities
from seeahead.tree import ROOT, TokenTree

_BY_RANK = (0.7, 0.12, 0.05, 0.03)
"""How often the target says what is likeliest, second likeliest, ... to a drafter that is mostly right."""

ScoreLevel = Callable[[Sequence[int], Sequence[int]], torch.Tensor]
"""(tokens, parents as indices into all tokens scored so far, or ROOT) -> logits [tokens, vocabulary]."""


@dataclass(frozen=True)
class Prices:
    """Seconds on this machine: of the target's passes over 1, 2, 3, … tokens, and of drafting a level.

    What the drafter believes in is taken at its word: a tree is expected to bring 1 + the worth of its nodes."""

    passes: tuple[float, ...]
    level: float

    def best(self, worths: Sequence[float], num_levels: int) -> tuple[int, float]:
        """How many nodes, best first, make the most tokens a second after `num_levels`; and how many that is."""
        gained, best = 1.0, (0, 1 / (self.passes[0] + num_levels * self.level))
        for number, worth in enumerate(worths[: len(self.passes) - 1], 1):
            gained += worth
            rate = gained / (self.passes[number] + num_levels * self.level)
            if rate > best[1]:
                best = number, rate
        return best


@dataclass(frozen=True)
class GrowthLimits:
    """`depth` levels; `width` nodes expanded per level; at most `num_nodes` kept.

    `min_probability`: nodes whose path the drafter believes in less are not worth a place in the target's forward.
    `fixed`: every tree of the same shape, whatever the drafter believes in: a node is worth what its rank among its
    siblings usually is (EAGLE-1's idea; Li et al. 2024a), the lesser ones fewer levels deep.
    `tuned`: within these limits only as many levels and nodes as pay on this machine; its `prices` are measured when
    the drafter is loaded.
    """

    depth: int = 7
    width: int = 2
    num_nodes: int = 12
    min_probability: float = 0.1
    fixed: bool = False
    tuned: bool = False
    prices: Prices | None = None


@dataclass(frozen=True)
class GrownTree:
    """The kept tree; `scored[i]` is node i's index among the scored tokens, or None if it was never expanded."""

    tree: TokenTree
    scored: tuple[int | None, ...]


@dataclass
class _Candidate:
    token: int
    parent: int
    log_worth: float
    scored: int | None = None


def grow(root_logits: torch.Tensor, score_level: ScoreLevel, limits: GrowthLimits, budget: int) -> GrownTree:
    """A tree of at most `budget` nodes from the drafter's logits [vocabulary] after the root."""
    num_nodes = min(limits.num_nodes, budget)
    candidates: list[_Candidate] = []
    level = _expand(root_logits[None], [ROOT], [0.0], limits, candidates)
    num_scored, num_levels = 0, 1
    for _ in range(min(limits.depth, budget) - 1):
        level = sorted(level, key=lambda index: -candidates[index].log_worth)[: limits.width]
        if not level or num_nodes == 0 or not _pays(limits.prices, candidates, level, num_levels):
            break
        num_levels += 1
        parents = []
        for index in level:
            parent = candidates[index].parent
            scored = ROOT if parent == ROOT else candidates[parent].scored
            assert scored is not None, "children come only from expanded nodes"
            parents.append(scored)
        logits = score_level([candidates[index].token for index in level], parents)
        for index in level:
            candidates[index].scored = num_scored
            num_scored += 1
        worths = [candidates[index].log_worth for index in level]
        level = _expand(logits, level, worths, limits, candidates)
    if limits.prices is not None:
        num_nodes = min(num_nodes, limits.prices.best(_worths(candidates), num_levels)[0])
    return _keep_best(candidates, num_nodes)


def _worths(candidates: Sequence[_Candidate]) -> list[float]:
    """Best first."""
    return sorted((math.exp(candidate.log_worth) for candidate in candidates), reverse=True)


def _pays(prices: Prices | None, candidates: Sequence[_Candidate], level: Sequence[int], num_levels: int) -> bool:
    """Whether the children of `level`, worth no more than it is, can bring as much as the time of drafting them."""
    if prices is None:
        return True
    _, rate = prices.best(_worths(candidates), num_levels)
    return sum(math.exp(candidates[index].log_worth) for index in level) > rate * prices.level


def _expand(
    logits: torch.Tensor,
    parents: Sequence[int],
    worths: Sequence[float],
    limits: GrowthLimits,
    candidates: list[_Candidate],
) -> list[int]:
    """Add the best children of each parent as candidates; returns their indices."""
    best = log_probabilities(logits).topk(min(limits.width, logits.shape[-1]), dim=-1)
    lowest = math.log(limits.min_probability) if limits.min_probability > 0 and not limits.fixed else -math.inf
    start = len(candidates)
    for parent, worth, values, tokens in zip(parents, worths, best.values.tolist(), best.indices.tolist(), strict=True):
        for rank, (value, token) in enumerate(zip(values, tokens, strict=True)):
            reached = worth + (_worth_of_rank(rank) if limits.fixed else value)
            if reached >= lowest and value > -math.inf:
                candidates.append(_Candidate(token, parent, reached))
    return list(range(start, len(candidates)))


def _worth_of_rank(rank: int) -> float:
    return math.log(_BY_RANK[rank] if rank < len(_BY_RANK) else _BY_RANK[-1] / (rank + 1))


def _keep_best(candidates: list[_Candidate], num_nodes: int) -> GrownTree:
    # Sorting is stable and a parent comes before its children, so at equal worth the parent is kept first.
    ranked = sorted(range(len(candidates)), key=lambda index: -candidates[index].log_worth)
    kept = sorted(ranked[:num_nodes])
    place = {index: node for node, index in enumerate(kept)}
    tokens = tuple(candidates[index].token for index in kept)
    parents = tuple(place.get(candidates[index].parent, ROOT) for index in kept)
    return GrownTree(TokenTree(tokens, parents), tuple(candidates[index].scored for index in kept))
