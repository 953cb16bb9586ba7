"""Weights of ensembles: the grid is the plain definition, every rule follows what was heard, windows forget."""

import itertools

import numpy as np
import pytest
import torch

from seeahead.drafters.weights import RULES, Grid, Heard, Weighing, simplex

VOCAB = 200


def _heard(seed, members, positions=5, peak=6.0, vocab=VOCAB):
    """Members that agree with the target now and then."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(positions, vocab, generator=generator) * peak / 2
    q = torch.randn(positions, members, vocab, generator=generator) * peak / 2 + 0.4 * p[:, None]
    p, q = p.softmax(-1).numpy(), q.softmax(-1).numpy()
    return Heard(q, p, p.argmax(-1))


def _plain(heard):
    """The paper's rule in so many words, over the whole vocabulary: hits and divergence of every mixture."""
    judged = []
    for point in simplex(heard.q.shape[1]):
        mixed = (point[:, None] * heard.q).sum(1)
        hits = int((mixed.argmax(-1) == heard.said).sum())
        judged.append(
            (hits, float((heard.p * (np.log(heard.p) - np.log(np.maximum(mixed, 1e-9)))).sum()), point.tolist())
        )
    return judged


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
    heard, rule = _heard(seed, members, peak=peak), Grid(members)
    chosen = rule.weights(rule.judge(heard).sum(0), heard.q[0]).tolist()
    judged = _plain(heard)
    most = max(hits for hits, _, _ in judged)
    least = min(far for hits, far, _ in judged if hits == most)
    hits, far, _ = next(entry for entry in judged if entry[2] == chosen)
    assert hits == most
    assert far <= 1.02 * least


def test_hits_are_counted_right_where_distributions_are_flat():
    """The likeliest tokens of the members alone would miss that the mixture prefers another one."""
    heard = _heard(0, 2, positions=40, peak=0.05)
    hits = Grid(2).judge(heard)[:, :11]
    mixed = np.einsum("gm,pmv->pgv", simplex(2), heard.q)
    assert np.array_equal(hits > 0, mixed.argmax(-1) == heard.said[:, None])


def test_a_token_that_cannot_be_drafted_is_nobodys_hit():
    heard = _heard(1, 2)
    hits = Grid(2).judge(Heard(heard.q, heard.p, np.full_like(heard.said, -1)))[:, :11]
    assert not hits.any()


def test_a_member_without_a_say_is_no_worse_than_one_that_was_not_there():
    heard = _heard(2, 2)
    silent = np.concatenate((heard.q, np.zeros_like(heard.q[:, :1])), 1)
    judged = Grid(3).judge(Heard(silent, heard.p, heard.said)).sum(0)
    points = simplex(3)
    both = int(np.flatnonzero((points == np.float32([0.5, 0.5, 0.0])).all(-1))[0])
    shared = int(np.flatnonzero((points == np.float32([0.4, 0.4, 0.2])).all(-1))[0])
    for first in (0, len(points)):
        assert judged[first + both] == pytest.approx(judged[first + shared], rel=1e-5)


def _weights(rule, heard, window=0, first=(0.5, 0.5)):
    weighing = Weighing(rule, first, window)
    for part in heard:
        weighing.hear(part)
    return weighing.weights(np.float32([[0.9, 0.1], [0.3, 0.7]]))


SURE, UNSURE = [0.9, 0.1], [0.4, 0.6]
ONCE = Heard(np.float32([[SURE, UNSURE]]), np.float32([[0.8, 0.2]]), np.array([0]))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("matches", [1.0, 0.0]),
        ("tv", [0.8, 0.2]),
        ("confidence", [0.9 / 1.6, 0.7 / 1.6]),
        ("static", [0.5, 0.5]),
    ],
)
def test_what_each_rule_makes_of_one_position(rule, expected):
    assert _weights(rule, [ONCE]) == pytest.approx(expected)


def test_divergence_prefers_the_member_closer_to_the_target():
    near, far = _weights("kl", [ONCE]).tolist()
    assert near + far == pytest.approx(1)
    kl = [sum(p * np.log(p / q) for p, q in zip([0.8, 0.2], m, strict=True)) for m in (SURE, UNSURE)]
    assert near / far == pytest.approx(kl[1] / kl[0], rel=1e-4)


@pytest.mark.parametrize("rule", [name for name in RULES if name != "confidence"])
def test_at_first_weights_are_those_given(rule):
    assert _weights(rule, [], first=(0.7, 0.3)) == pytest.approx([0.7, 0.3])


def test_a_window_forgets_and_the_whole_answer_does_not():
    other = Heard(ONCE.q, ONCE.p, np.array([1]))
    assert _weights("matches", [ONCE, other, other], window=2).tolist() == [0.0, 1.0]
    assert _weights("matches", [ONCE, other, other], window=0).tolist() == pytest.approx([1 / 3, 2 / 3])


def test_where_nobody_was_right_all_count_the_same():
    heard = Heard(np.float32([[SURE, SURE]]), np.float32([[0.2, 0.8]]), np.array([1]))
    assert _weights("matches", [heard]).tolist() == [0.5, 0.5]


def test_the_trace_has_the_weights_of_every_block():
    weighing = Weighing("matches", (0.5, 0.5), 0)
    weighing.weights(ONCE.q[0])
    weighing.hear(ONCE)
    weighing.weights(ONCE.q[0])
    assert [weights.tolist() for weights in weighing.trace] == [[0.5, 0.5], [1.0, 0.0]]
