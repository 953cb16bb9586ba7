"""Weights of ensembles: the grid is the plain definition, weights follow what was verified, windows forget."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch

from seeahead.drafters.weights import RULES, Weights, figures_of, simplex

VOCAB = 200


class Verified(NamedTuple):
    """What `figures_of` takes."""

    q: np.ndarray
    p: np.ndarray
    tokens: np.ndarray


def _verified(seed, members, positions=5, peak=6.0, vocab=VOCAB):
    """Members that agree with the target now and then."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(positions, vocab, generator=generator) * peak / 2
    q = torch.randn(positions, members, vocab, generator=generator) * peak / 2 + 0.4 * p[:, None]
    p, q = p.softmax(-1).numpy(), q.softmax(-1).numpy()
    return Verified(q, p, p.argmax(-1))


def _plain(verified):
    """The paper's rule in so many words, over the whole vocabulary: hits and divergence of every mixture."""
    figures = []
    for point in simplex(verified.q.shape[1]):
        mixed = (point[:, None] * verified.q).sum(1)
        hits = int((mixed.argmax(-1) == verified.tokens).sum())
        far = float((verified.p * (np.log(verified.p) - np.log(np.maximum(mixed, 1e-9)))).sum())
        figures.append((hits, far, point.tolist()))
    return figures


def _weights(rule, parts, window=0, first=(0.5, 0.5)):
    weights = Weights(rule, first, window)
    for part in parts:
        weights.update(*part)
    return weights.next()


@pytest.mark.parametrize(("members", "points"), [(1, 1), (2, 11), (3, 66), (4, 286)])
def test_the_simplex_has_the_papers_points(members, points):
    grid = simplex(members)
    assert grid.shape == (points, members)
    assert len({tuple(point.tolist()) for point in grid}) == points
    assert grid.min() >= 0
    assert grid.sum(-1) == pytest.approx(np.ones(points))


@pytest.mark.parametrize(("members", "seed", "peak"), list(itertools.product([2, 3, 4], range(4), [3.0, 12.0])))
def test_looking_at_the_likeliest_tokens_chooses_as_the_plain_definition(members, seed, peak):
    """The most hits; among these the smallest divergence, up to the unlikely tokens that are not looked at."""
    verified = _verified(seed, members, peak=peak)
    chosen = _weights("grid", [verified], first=(1 / members,) * members).tolist()
    figures = _plain(verified)
    most = max(hits for hits, _, _ in figures)
    least = min(far for hits, far, _ in figures if hits == most)
    hits, far, _ = next(entry for entry in figures if entry[2] == chosen)
    assert hits == most
    assert far <= 1.02 * least


def test_hits_are_counted_right_where_distributions_are_flat():
    """The likeliest tokens of the members alone would miss that the mixture prefers another one."""
    verified = _verified(0, 2, positions=40, peak=0.05)
    hits = figures_of(*verified, simplex(2))[:, :11]
    mixed = np.einsum("gm,pmv->pgv", simplex(2), verified.q)
    assert np.array_equal(hits > 0, mixed.argmax(-1) == verified.tokens[:, None])


def test_a_token_that_cannot_be_drafted_is_nobodys_hit():
    verified = _verified(1, 2)
    none = Verified(verified.q, verified.p, np.full_like(verified.tokens, -1))
    assert not figures_of(*none, simplex(2))[:, :11].any()


def test_a_member_that_expects_nothing_is_no_worse_than_one_that_was_not_there():
    verified = _verified(2, 2)
    silent = np.concatenate((verified.q, np.zeros_like(verified.q[:, :1])), 1)
    points = simplex(3)
    figures = figures_of(silent, verified.p, verified.tokens, points).sum(0)
    both = int(np.flatnonzero((points == np.float32([0.5, 0.5, 0.0])).all(-1))[0])
    shared = int(np.flatnonzero((points == np.float32([0.4, 0.4, 0.2])).all(-1))[0])
    for first in (0, len(points)):
        assert figures[first + both] == pytest.approx(figures[first + shared], rel=1e-5)


FIRST, SECOND = [0.9, 0.1], [0.15, 0.85]
ONCE = Verified(np.float32([[FIRST, SECOND]]), np.float32([[0.75, 0.25]]), np.array([0]))
OTHER = Verified(ONCE.q, np.float32([[0.15, 0.85]]), np.array([1]))


def test_static_weights_stay_as_they_are():
    assert _weights("static", [ONCE], first=(0.3, 0.7)) == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("rule", RULES)
def test_at_first_weights_are_those_given(rule):
    assert _weights(rule, [], first=(0.7, 0.3)) == pytest.approx([0.7, 0.3])


def test_of_mixtures_that_would_all_have_been_right_the_closest_to_the_target_is_taken():
    # 0.8 x FIRST + 0.2 x SECOND is the target's own distribution.
    assert _weights("grid", [ONCE]).tolist() == pytest.approx([0.8, 0.2])


def test_a_window_forgets_and_the_whole_answer_does_not():
    parts = [ONCE, ONCE, ONCE, OTHER, OTHER]
    # The second member is right about the last two, the first about most of all.
    assert _weights("grid", parts, window=2).tolist() == [0.0, 1.0]
    assert _weights("grid", parts, window=0)[0] >= 0.5


def test_the_trace_has_the_weights_of_every_draft():
    weights = Weights("grid", (0.5, 0.5), 0)
    weights.next()
    weights.update(*ONCE)
    weights.next()
    assert [np.round(one, 3).tolist() for one in weights.trace] == [[0.5, 0.5], pytest.approx([0.8, 0.2])]
