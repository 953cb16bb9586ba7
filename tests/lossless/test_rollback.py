"""Scoring a tree and committing a path leaves exactly what a fresh prefill of the same tokens would."""

import pytest

from seeahead.session import Session
from seeahead.testing import assert_commit_equals_prefill
from seeahead.testing.drafters import WORDS
from seeahead.tree import TokenTree
from tests import own_family
from tests.lossless.cases import FAMILIES, image_counts, prompt, target


def tree(parents):
    return TokenTree(tuple(WORDS[(7 * node + len(parents)) % len(WORDS)] for node in range(len(parents))), parents)


CHAIN = tree((-1, 0, 1, 2))
BUSH = tree((-1, 0, 0, 0, 1, 1, 2, 4, 6))
LOPSIDED = tree((-1, 0, 1, 0, 3, 4, 5, 3))

ROUNDS = [
    (BUSH, (0, 2, 6, 8)),  # rows far apart
    (CHAIN, (0,)),  # nothing accepted
    (LOPSIDED, (0, 3, 4, 5, 6)),  # the second branch
    (BUSH, (0, 1, 5)),
    (CHAIN, (0, 1, 2, 3)),  # everything accepted
    (LOPSIDED, (0, 1)),
]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_commit_equals_prefill(model_type):
    for num_images in image_counts(model_type):
        assert_commit_equals_prefill(target(model_type), prompt(model_type, num_images), ROUNDS)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_commit_equals_prefill_without_sdpa(model_type):
    family = target(model_type, attention="eager")
    assert_commit_equals_prefill(family, prompt(model_type, image_counts(model_type)[0]), ROUNDS[:3])


@pytest.mark.parametrize("model_type", FAMILIES)
def test_levels_equal_a_prefill(model_type):
    """A tree scored level by level, as drafters grow it, is the tree scored at once."""
    family, inputs = target(model_type), prompt(model_type, image_counts(model_type)[0])
    sessions = Session(family.executor, 4), Session(family.executor, 200)
    for session in sessions:
        session.prefill(inputs)
    for grown, path in ROUNDS:
        whole = sessions[0].score(grown.tokens, grown.parents).logits
        sessions[0].commit(path)
        for node in range(len(grown)):
            single = sessions[1].score(grown.tokens[node : node + 1], grown.parents[node : node + 1]).logits[0]
            assert (single - whole[node]).abs().max() < 1e-4, f"node {node} scored alone differs"
        sessions[1].commit(path)


def test_the_message_names_the_suspects(monkeypatch):
    family, inputs = target("llava"), prompt("llava", 1)
    monkeypatch.setattr(family, "positions", lambda positions: positions + 1)
    with pytest.raises(AssertionError, match=r"round 0, the root.*suspect"):
        assert_commit_equals_prefill(family, inputs, ROUNDS)


def test_an_override_that_is_needed_is_missed(monkeypatch):
    monkeypatch.delattr(own_family.OwnVlm, "masks")
    with pytest.raises(AssertionError, match="round 0"):
        assert_commit_equals_prefill(target(own_family.MODEL_TYPE), prompt(own_family.MODEL_TYPE, 1), ROUNDS)
