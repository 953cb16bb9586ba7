"""What a drafter is taught by: the tokens of a response, or the target's distribution at each of them.

The target's distribution is stored as its few likeliest tokens. What is left of it is unknown; each loss says what it
makes of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """Positions to learn from. `logs` [positions, vocabulary]: the drafter's log-probabilities, in draft ids.

    `wanted` [positions]: the token written there. `ids` and `shares` [positions, k]: the target's likeliest tokens and
    their probabilities, 0 for those that the drafter does not know; all 0 where only the token is known.
    """

    logs: Tensor
    wanted: Tensor
    ids: Tensor
    shares: Tensor

    @property
    def hits(self) -> Tensor:
        """Whether the drafter ranks the written token first [positions]."""
        return self.logs.argmax(-1) == self.wanted

    @property
    def hard(self) -> Tensor:
        """Cross-entropy with the written token [positions]."""
        return -self.logs.gather(-1, self.wanted[:, None])[:, 0]

    @property
    def has_shares(self) -> Tensor:
        """Where the target's distribution is known well enough to be taught [positions]."""
        return self.shares.sum(-1) > 0.1


def cross_entropy(labels: Labels) -> Tensor:
    """With the token that was written."""
    return _mean(labels.hard)


def forward_kl(labels: Labels) -> Tensor:
    """KL(target ‖ drafter) up to a constant, over the stored tokens scaled to sum 1 (Hinton et al. 2015)."""
    scaled = labels.shares / labels.shares.sum(-1, keepdim=True).clamp_min(1e-6)
    soft = -(scaled * labels.logs.gather(-1, labels.ids)).sum(-1)
    return _mean(torch.where(labels.has_shares, soft, labels.hard))


def tvd_plus(labels: Labels) -> Tensor:
    """TVD++ of Goel et al. 2024, section 3.2: total variation as a policy gradient with normalised advantages.

    The gradient of TV(drafter, target) is the expectation, over tokens the drafter draws, of ∇log p(token) times
    minus the reward 1[target > drafter]. The reward's mean is taken off and its deviation divided out, over all
    positions of the batch. The expectation is taken over the whole vocabulary, not sampled. Tokens that are not stored
    count as less likely under the target than under the drafter.
    """
    known = labels.has_shares
    if not known.any():
        return _mean(labels.hard)
    logs = labels.logs[known]
    drafted = logs.detach().exp()
    target = torch.zeros_like(drafted).scatter_add_(-1, labels.ids[known], labels.shares[known])
    reward = (target > drafted).float()
    mean = (drafted * reward).sum(-1).mean()
    deviation = ((drafted * (reward - mean) ** 2).sum(-1).mean() + 1e-6).sqrt()
    soft = -(drafted * (reward - mean) / deviation * logs).sum(-1)
    return _mean(torch.cat((soft, labels.hard[~known])))


def _mean(values: Tensor) -> Tensor:
    """0, not NaN, for a batch in which no token is known to the drafter."""
    return values.sum() / max(1, len(values))


LOSSES: dict[str, Callable[[Labels], Tensor]] = {
    "cross-entropy": cross_entropy,
    "forward-kl": forward_kl,
    "tvd++": tvd_plus,
}
FEATURE_LOSS = {"msd": {"smooth-l1": 1.0, "soft-cross-entropy": 0.1}, "eagle3": {"soft-cross-entropy": 1.0}}
"""Losses of feature drafters by kind, which `train.features` computes together, with the weights of their papers."""
