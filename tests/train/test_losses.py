"""The losses are what the papers say, and each of them teaches."""

import pytest
import torch

from seeahead.train.losses import LOSSES, Labels, cross_entropy, forward_kl, tvd_plus

VOCABULARY, POSITIONS = 12, 5


def taught(logits, target=None, num_stored=VOCABULARY):
    """What the target says is stored as its `num_stored` likeliest tokens; None: nothing is known but the token."""
    wanted = torch.arange(len(logits)) % VOCABULARY
    if target is None:
        ids, shares = torch.zeros(len(logits), 8, dtype=torch.int64), torch.zeros(len(logits), 8)
    else:
        shares, ids = target.topk(num_stored)
        wanted = ids[:, 0]
    return Labels(logits.log_softmax(-1), wanted, ids, shares)


@pytest.fixture
def target():
    return torch.randn(POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(1)).softmax(-1)


def start():
    logits = torch.randn(POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(2))
    return logits.requires_grad_()


def test_forward_kl_is_the_divergence_up_to_the_targets_entropy(target):
    logits = start()
    entropy = -(target * target.log()).sum(-1).mean()
    expected = torch.nn.functional.kl_div(logits.log_softmax(-1), target, reduction="batchmean") + entropy
    torch.testing.assert_close(forward_kl(taught(logits, target)), expected)


def test_without_normalisation_the_gradient_is_that_of_total_variation(target):
    """TVD++ scales and shifts the reward: its gradient is TV's over the reward's deviation."""
    logits = start()
    drafted = logits.softmax(-1)
    (variation,) = torch.autograd.grad(0.5 * (drafted - target).abs().sum(-1).mean(), logits)
    (found,) = torch.autograd.grad(tvd_plus(taught(logits, target)), logits)
    reward = (target > drafted).float().detach()
    mean = (drafted * reward).sum(-1).mean()
    deviation = (drafted * (reward - mean) ** 2).sum(-1).mean().sqrt()
    torch.testing.assert_close(found * deviation, variation, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_brings_the_drafter_to_the_target(name, target):
    logits = start()
    optimizer = torch.optim.Adam([logits], lr=0.1)

    def overlap():
        return float(torch.minimum(logits.detach().softmax(-1), target).sum(-1).mean())

    before = overlap()
    for _ in range(200):
        optimizer.zero_grad()
        LOSSES[name](taught(logits, target, 8)).backward()
        optimizer.step()
    # Cross-entropy knows the likeliest token alone.
    assert (logits.argmax(-1) == target.argmax(-1)).all()
    assert name == "cross-entropy" or overlap() > max(before, 0.8)


@pytest.mark.parametrize("name", LOSSES)
def test_where_only_the_token_is_known_every_loss_is_cross_entropy(name):
    logits = start()
    known = taught(logits)
    torch.testing.assert_close(LOSSES[name](known), cross_entropy(known))
