"""How much each member of an ensemble counts: rules on what the target has said so far (TABED, Lee et al. 2026).

Only verified positions count, so weights are known before a block is drafted, and stay as they are within it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_TOP = 16
"""Likeliest tokens of each member that are looked at; the others only where these do not settle which is likeliest."""
_LIKELY, _MOST = 64, 0.99
"""So many likely tokens of the target are looked at, or all where these have less than that share."""
_LEAST = 1e-9
"""Added to nothing, put in the place of less: logarithms stay finite."""
STEP = 10
"""Parts that a weight of the grid is divided into."""


@dataclass(frozen=True)
class Heard:
    """Verified positions: `q` [positions, members, draft ids] is what the members expected (zeros: no say), `p`
    [positions, draft ids] the target's distribution, `said` [positions] its likeliest token, -1 where that is none of
    the draft ids."""

    q: Tensor
    p: Tensor
    said: Tensor


class Rule(Protocol):
    """How weights follow from what was heard."""

    def judge(self, heard: Heard) -> Tensor:
        """Figures [positions, figures], which are summed over the window."""
        ...

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        """[members], from the sums [figures] and what the members expect next, `q` [members, draft ids]."""
        ...


class Grid:
    """The paper's rule: of the mixtures on a grid, one that would have guessed most of the target's tokens; among
    those, the one closest to the target, by summed KL(p || mixture)."""

    def __init__(self, num_members: int) -> None:
        self.points = simplex(num_members)

    def judge(self, heard: Heard) -> Tensor:
        points = self.points.to(heard.q)
        best = heard.q.topk(min(_TOP, heard.q.shape[-1]))
        highest = self._mixed(heard.q, best.indices.flatten(1)).amax(-1)
        # No token outside of these is likelier than the mixture of each member's last of them.
        if bool((highest < torch.einsum("gm,pm->pg", points, best.values[..., -1])).any()):
            highest = torch.einsum("gm,pmv->pgv", points, heard.q).amax(-1)
        said = self._mixed(heard.q, heard.said.clamp_min(0)[:, None])[..., 0]
        # The same sum in another order may differ in its last bit.
        hits = (said >= highest * (1 - 1e-6)) & (heard.said >= 0)[:, None]
        likely = heard.p.topk(min(_LIKELY, heard.p.shape[-1]))
        if bool((likely.values.sum(-1) < _MOST * heard.p.sum(-1)).any()):
            likely = heard.p.topk(heard.p.shape[-1])
        having_a_say = torch.einsum("gm,pm->pg", points, heard.q.sum(-1)).clamp_min(_LEAST)
        share = self._mixed(heard.q, likely.indices) / having_a_say[..., None]
        far = -(likely.values[:, None] * share.clamp_min(_LEAST).log()).sum(-1)
        return torch.cat((hits.to(far), far), -1)

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        hits, far = total.chunk(2)
        return self.points.to(total)[far.masked_fill(hits < hits.max(), torch.inf).argmin()]

    def _mixed(self, q: Tensor, columns: Tensor) -> Tensor:
        """Every mixture's probability [positions, points, columns] of the tokens in `columns` [positions, columns]."""
        near = q.gather(2, columns[:, None].expand(-1, q.shape[1], -1))
        return torch.einsum("gm,pmc->pgc", self.points.to(q), near)


class Divergence:
    """Weights as one over the summed KL(p || q) of each member."""

    def judge(self, heard: Heard) -> Tensor:
        p = heard.p[:, None]
        return (p * (p.clamp_min(_LEAST).log() - heard.q.clamp_min(_LEAST).log())).sum(-1)

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        return _shares(1 / total.clamp_min(_LEAST))


class Distance(Divergence):
    """Weights as one over the summed total variation distance of each member."""

    def judge(self, heard: Heard) -> Tensor:
        return (heard.p[:, None] - heard.q).abs().sum(-1) / 2


class Matches:
    """Weights as the number of tokens that each member would have guessed alone."""

    def judge(self, heard: Heard) -> Tensor:
        return (heard.q.argmax(-1) == heard.said[:, None]).to(heard.q)

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        return _shares(total)


class Confidence:
    """Weights as the probability of each member's likeliest next token; the past does not count."""

    def judge(self, heard: Heard) -> Tensor:
        return heard.q[:, 0, :0]

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        return _shares(q.amax(-1))


class Static:
    """Weights that stay as they are; by default equal."""

    def __init__(self, given: Sequence[float]) -> None:
        self._given = given

    def judge(self, heard: Heard) -> Tensor:
        return heard.q[:, 0, :0]

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        return q.new_tensor(self._given)


RULES: dict[str, Callable[[Sequence[float]], Rule]] = {
    "grid": lambda first: Grid(len(first)),
    "kl": lambda first: Divergence(),
    "tv": lambda first: Distance(),
    "matches": lambda first: Matches(),
    "confidence": lambda first: Confidence(),
    "static": Static,
}
"""By name; made from the weights at first, one per member."""


class Weighing:
    """The weights of one answer. `trace` has those of every block."""

    def __init__(self, rule: str, first: Sequence[float], window: int) -> None:
        """`first`: weights until something was heard; `window`: positions that count, 0 for all."""
        self._rule, self._first, self._window = RULES[rule](first), first, window
        self._always = rule in ("static", "confidence")
        self._judged: Tensor | None = None
        self.trace: list[Tensor] = []

    def hear(self, heard: Heard) -> None:
        judged = self._rule.judge(heard)
        if self._judged is not None:
            judged = torch.cat((self._judged, judged))
        self._judged = judged[-self._window :] if self._window else judged.sum(0, keepdim=True)

    def weights(self, q: Tensor) -> Tensor:
        """[members], for members that expect `q` [members, draft ids] next."""
        if self._judged is None and not self._always:
            weights = q.new_tensor(self._first)
        else:
            total = q.new_zeros(0) if self._judged is None else self._judged.sum(0)
            weights = self._rule.weights(total, q)
        self.trace.append(weights)
        return weights


def simplex(num_members: int) -> Tensor:
    """All weights [points, members] in steps of a tenth that sum to one: 11 points for two members, 66, 286, ..."""
    bars = itertools.combinations(range(STEP + num_members - 1), num_members - 1)
    ends = [(-1, *chosen, STEP + num_members - 1) for chosen in bars]
    return torch.tensor([[b - a - 1 for a, b in itertools.pairwise(edges)] for edges in ends]) / STEP


def _shares(values: Tensor) -> Tensor:
    """Summing to one; equal where all are zero."""
    total = values.sum()
    return values / total if total > 0 else torch.full_like(values, 1 / len(values))
