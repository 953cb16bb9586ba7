"""How much each member of an ensemble counts: from what it expected of verified positions (TABED, Lee et al. 2026).

Only verified positions count, so weights are known before a draft is made, and stay as they are within it. In numpy: so
few numbers are weighed that calling torch would take longer than the sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Tokens = npt.NDArray[np.int64]

RULES = ("grid", "static")
"""Weights that follow the answer, or stay as they are."""

_NOTICED = 0.02
"""Tokens that every member gives less are looked at only where a mixture's likeliest may be among them."""
_LIKELY = 0.002
"""The divergence is summed over the target's tokens of at least this probability."""
_LEAST = 1e-9
"""Stands for smaller numbers under a logarithm or a fraction bar."""
STEP = 10
"""Parts that a weight of the grid is divided into."""


class Weights:
    """The weights of one answer. `trace` has those of every draft.

    The rule "grid" is the paper's: of the mixtures on a grid, those that would have guessed most of the target's
    tokens; among those, the one closest to the target, by summed KL(p || mixture).
    """

    def __init__(self, rule: str, first: Sequence[float], window: int) -> None:
        """`first`: weights until something was verified; `window`: positions that count, 0 for all."""
        self._first, self._window = np.array(first, np.float32), window
        self._points = simplex(len(first)) if rule == "grid" else None
        self._figures: Array | None = None
        self.trace: list[Array] = []

    def update(self, q: Array, p: Array, tokens: Tokens) -> None:
        """The target has answered to the last draft; the arguments are those of `figures_of`."""
        if self._points is None:
            return
        figures = figures_of(q, p, tokens, self._points)
        if self._figures is not None:
            figures = np.concatenate((self._figures, figures))
        self._figures = figures[-self._window :] if self._window else figures.sum(0, keepdims=True)

    def next(self) -> Array:
        """[members], for the next draft."""
        weights = self._first
        if self._figures is not None and self._points is not None:
            hits, far = np.split(self._figures.sum(0), 2)
            weights = self._points[np.where(hits < hits.max(), np.inf, far).argmin()]
        self.trace.append(weights)
        return weights


def figures_of(q: Array, p: Array, tokens: Tokens, points: Array) -> Array:
    """Of verified positions [positions, 2 x points], to be summed: whether each mixture's likeliest token is the
    target's, and how far it is from the target.

    `q` [positions, members, draft ids] is what the members expected (zeros: nothing), `p` [positions, draft ids] the
    target's distribution, `tokens` [positions] its likeliest token, -1 where that is none of the draft ids."""
    # A few tokens settle what is likeliest, where a mixture gives one of them more than any other can have.
    near = np.flatnonzero((q.max((0, 1)) >= _NOTICED) | (p.max(0) >= _LIKELY))
    mixed = points @ (q[:, :, near] if len(near) else q)  # every mixture [positions, points, tokens]
    highest = mixed.max(-1)
    if (highest < _NOTICED).any():
        highest = (points @ q).max(-1)
    of_target = q[np.arange(len(q)), :, np.maximum(tokens, 0)] @ points.T
    # The same sum in another order may differ in its last bit.
    hits = (of_target >= highest * (1 - 1e-6)) & (tokens >= 0)[:, None]
    p = p[:, near]
    share = mixed[..., : len(near)] / np.maximum(q.sum(-1) @ points.T, _LEAST)[..., None]
    far = -(np.where(p >= _LIKELY, p, 0)[:, None] * np.log(np.maximum(share, _LEAST))).sum(-1)
    return np.concatenate((hits, far), -1, dtype=np.float32)


def simplex(num_members: int) -> Array:
    """All weights [points, members] in steps of a tenth that sum to one: 11 points for two members, 66, 286, ..."""
    bars = itertools.combinations(range(STEP + num_members - 1), num_members - 1)
    ends = [(-1, *chosen, STEP + num_members - 1) for chosen in bars]
    parts = np.array([[b - a - 1 for a, b in itertools.pairwise(edges)] for edges in ends], np.float32)
    return parts / STEP
