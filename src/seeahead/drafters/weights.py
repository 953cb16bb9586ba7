"""How much each member of an ensemble counts: rules on what the target has said so far (TABED, Lee et al. 2026).

Only verified positions count, so weights are known before a block is drafted, and stay as they are within it. In numpy:
so few numbers are weighed that calling torch would take longer than the sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

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

    q: Array
    p: Array
    said: npt.NDArray[np.int64]


class Rule(Protocol):
    """How weights follow from what was heard."""

    def judge(self, heard: Heard) -> Array:
        """Figures [positions, figures], which are summed over the window."""
        ...

    def weights(self, total: Array, q: Array) -> Array:
        """[members], from the sums [figures] and what the members expect next, `q` [members, draft ids]."""
        ...


class Grid:
    """The paper's rule: of the mixtures on a grid, one that would have guessed most of the target's tokens; among
    those, the one closest to the target, by summed KL(p || mixture)."""

    def __init__(self, num_members: int) -> None:
        self.points = simplex(num_members)

    def judge(self, heard: Heard) -> Array:
        q, p, points = heard.q, heard.p, self.points
        # A few tokens settle what is likeliest, where a mixture gives one of them more than any other can have.
        near = np.flatnonzero((q.max((0, 1)) >= _SEEN) | (p.max(0) >= _LIKELY))
        mixed = points @ (q[:, :, near] if len(near) else q)  # every mixture [positions, points, tokens]
        highest = mixed.max(-1)
        if (highest < _SEEN).any():
            highest = (points @ q).max(-1)
        said = q[np.arange(len(q)), :, np.maximum(heard.said, 0)] @ points.T
        # The same sum in another order may differ in its last bit.
        hits = (said >= highest * (1 - 1e-6)) & (heard.said >= 0)[:, None]
        p = p[:, near]
        share = mixed[..., : len(near)] / np.maximum(q.sum(-1) @ points.T, _LEAST)[..., None]
        far = -(np.where(p >= _LIKELY, p, 0)[:, None] * np.log(np.maximum(share, _LEAST))).sum(-1)
        return np.concatenate((hits, far), -1, dtype=np.float32)

    def weights(self, total: Array, q: Array) -> Array:
        hits, far = np.split(total, 2)
        best: Array = self.points[np.where(hits < hits.max(), np.inf, far).argmin()]
        return best


class Divergence:
    """Weights as one over the summed KL(p || q) of each member."""

    def judge(self, heard: Heard) -> Array:
        p = heard.p[:, None]
        apart: Array = (p * (np.log(np.maximum(p, _LEAST)) - np.log(np.maximum(heard.q, _LEAST)))).sum(-1)
        return apart

    def weights(self, total: Array, q: Array) -> Array:
        return _shares(1 / np.maximum(total, _LEAST))


class Distance(Divergence):
    """Weights as one over the summed total variation distance of each member."""

    def judge(self, heard: Heard) -> Array:
        apart: Array = np.abs(heard.p[:, None] - heard.q).sum(-1) / 2
        return apart


class Matches:
    """Weights as the number of tokens that each member would have guessed alone."""

    def judge(self, heard: Heard) -> Array:
        hits: Array = (heard.q.argmax(-1) == heard.said[:, None]).astype(np.float32)
        return hits

    def weights(self, total: Array, q: Array) -> Array:
        return _shares(total)


class Confidence:
    """Weights as the probability of each member's likeliest next token; the past does not count."""

    def judge(self, heard: Heard) -> Array:
        return heard.q[:, 0, :0]

    def weights(self, total: Array, q: Array) -> Array:
        sure: Array = q.max(-1)
        return _shares(sure)


class Static:
    """Weights that stay as they are; by default equal."""

    def __init__(self, given: Sequence[float]) -> None:
        self._given = np.array(given, np.float32)

    def judge(self, heard: Heard) -> Array:
        return heard.q[:, 0, :0]

    def weights(self, total: Array, q: Array) -> Array:
        return self._given


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
        self._judged: Array | None = None
        self.trace: list[Array] = []

    def hear(self, heard: Heard) -> None:
        judged = self._rule.judge(heard)
        if self._judged is not None:
            judged = np.concatenate((self._judged, judged))
        self._judged = judged[-self._window :] if self._window else judged.sum(0, keepdims=True)

    def weights(self, q: Array) -> Array:
        """[members], for members that expect `q` [members, draft ids] next."""
        if self._judged is None and not self._always:
            weights = np.array(self._first, np.float32)
        else:
            total = np.zeros(0, np.float32) if self._judged is None else self._judged.sum(0)
            weights = self._rule.weights(total, q)
        self.trace.append(weights)
        return weights


def simplex(num_members: int) -> Array:
    """All weights [points, members] in steps of a tenth that sum to one: 11 points for two members, 66, 286, ..."""
    bars = itertools.combinations(range(STEP + num_members - 1), num_members - 1)
    ends = [(-1, *chosen, STEP + num_members - 1) for chosen in bars]
    parts = np.array([[b - a - 1 for a, b in itertools.pairwise(edges)] for edges in ends], np.float32)
    return parts / STEP


def _shares(values: Array) -> Array:
    """Summing to one; equal where all are zero."""
    total = values.sum()
    return values / total if total > 0 else np.full_like(values, 1 / len(values))
