"""How likely the target is to follow a drafted token: a drafter's own probability, set right by every verdict.

Online logistic regression (one diagonal Newton step per verdict) from what is known of a token to whether the target
said it. It starts from a prior in which a drafter's probability is right as it is. Only tokens after a path that the
target followed are learned from: of these its answer is known, whether the token was verified or left out, so what is
learned does not depend on what was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Annotated

from seeahead.checked import real

# Of one, log odds, not the first choice, depth, also proposed by, not proposed by: the last two count the other
# drafters that were asked.
_PRIOR = (0.0, 1.0, 0.0, 0.0, 0.5, -0.3)
_PRECISION = (10.0, 40.0, 20.0, 20.0, 10.0, 10.0)
_MOST_PRECISION = 2000.0
"""Beyond it older verdicts are forgotten, so that what is learned follows what is asked."""
_OWN_PRECISION = 8.0
_FURTHEST, _DEEPEST = 7.0, 10

Facts = tuple[float, ...]
LARGEST = 100.0
Weight = Annotated[float, real(-LARGEST, LARGEST)]


def facts_of(probability: float, rank: int, depth: int, num_for: int, num_against: int) -> Facts:
    """Of a token: its drafter's probability and rank among its siblings, its level in the tree, other drafters."""
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    odds = max(-_FURTHEST, min(_FURTHEST, math.log(probability / (1 - probability))))
    return (1.0, odds, float(rank > 0), min(depth - 1, _DEEPEST) / _DEEPEST, float(num_for), float(num_against))


class Calibration:
    """Of one drafter, over all answers."""

    def __init__(self, weights: Sequence[float] = _PRIOR) -> None:
        self.weights, self._precision = list(weights), list(_PRECISION)

    def learn(self, facts: Facts, probability: float, *, was_followed: bool) -> None:
        """`probability` is what was expected."""
        error, information = was_followed - probability, max(probability * (1 - probability), 0.01)
        for place, fact in enumerate(facts):
            if fact:
                known = min(self._precision[place] + information * fact * fact, _MOST_PRECISION)
                self._precision[place] = known
                self.weights[place] += error * fact / known


class OwnCalibration:
    """Of one drafter in one answer: the shared calibration with an offset of the answer's own."""

    def __init__(self, shared: Calibration) -> None:
        self._shared, self._offset, self._precision = shared, 0.0, _OWN_PRECISION

    def probability(self, facts: Facts) -> float:
        """That the target says the token where it has followed the path to it."""
        logit = self._offset + sum(map(mul, self._shared.weights, facts))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))

    def learn(self, facts: Facts, probability: float, *, was_followed: bool) -> None:
        self._precision += max(probability * (1 - probability), 0.01)
        self._offset += (was_followed - probability) / self._precision
        self._shared.learn(facts, probability, was_followed=was_followed)
