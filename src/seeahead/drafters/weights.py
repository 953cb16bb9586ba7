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

_SEEN = 0.02
"""Tokens that no member gives this much are looked at only where a mixture's likeliest may be among them."""
_LIKELY = 0.002
"""The divergence is summed over the target's tokens of at least this probability."""
_LEAST = 1e-9
"""Added to nothing, put in the place of less: logarithms stay finite."""
STEP = 10
"""Parts that a weight of the grid is divided into."""


@dataclass(frozen=True)
class Heard:
    """Verified positions: `q` [positions, members, draft ids] is what the members expected (zeros: no say), `p`
    [positions, draft ids] what the target did, `said` [positions] its likeliest token, -1 where that is none of
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
        q, points = heard.q, self.points.to(heard.q)
        # A few tokens settle what is likeliest, where a mixture gives one of them more than any other can have.
        near = ((q.amax((0, 1)) >= _SEEN) | (heard.p.amax(0) >= _LIKELY)).nonzero()[:, 0]
        mixed = _mixed(points, q.index_select(2, near)) if len(near) else _mixed(points, q)
        highest = mixed.amax(-1)
        if bool((highest < _SEEN).any()):
            highest = _mixed(points, q).amax(-1)
        rows = torch.arange(len(q), device=q.device)
        said = q[rows, :, heard.said.clamp_min(0)] @ points.T
        # The same sum in another order may differ in its last bit.
        hits = (said >= highest * (1 - 1e-6)) & (heard.said >= 0)[:, None]
        p = heard.p.index_select(1, near)
        share = mixed[..., : len(near)] / (q.sum(-1) @ points.T).clamp_min(_LEAST)[..., None]
        far = -(p.where(p >= _LIKELY, 0)[:, None] * share.clamp_min(_LEAST).log()).sum(-1)
        return torch.cat((hits.to(far), far), -1)

    def weights(self, total: Tensor, q: Tensor) -> Tensor:
        hits, far = total.chunk(2)
        return self.points.to(total)[far.masked_fill(hits < hits.max(), torch.inf).argmin()]


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


def _mixed(points: Tensor, q: Tensor) -> Tensor:
    """Every mixture [positions, points, tokens] of `q` [positions, members, tokens]."""
    return torch.einsum("gm,pmv->pgv", points, q)


def _shares(values: Tensor) -> Tensor:
    """Summing to one; equal where all are zero."""
    total = values.sum()
    return values / total if total > 0 else torch.full_like(values, 1 / len(values))
