"""Trees grown from a drafter's probabilities: best paths kept, parents with them, worthless nodes left out."""

from collections.abc import Sequence

import pytest
import torch

from seeahead.drafters.growth import GrowthLimits, grow
from seeahead.tree import ROOT, TokenTree

# What follows each of the tokens 0..3, as probabilities.
NEXT = torch.tensor([[0.1, 0.6, 0.25, 0.05], [0.05, 0.05, 0.8, 0.1], [0.5, 0.1, 0.1, 0.3], [0.97, 0.01, 0.01, 0.01]])


def _grow(limits: GrowthLimits, budget: int = 50, root: int = 0) -> tuple[TokenTree, tuple[int | None, ...], list[int]]:
    calls: list[int] = []

    def score(tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        calls.append(len(tokens))
        return NEXT[list(tokens)].log()

    grown = grow(NEXT[root].log(), score, limits, budget)
    return grown.tree, grown.scored, calls


def test_width_one_is_the_greedy_chain() -> None:
    tree, scored, calls = _grow(GrowthLimits(depth=4, width=1, num_nodes=9, min_probability=0.0))
    assert tree == TokenTree.chain([1, 2, 0, 1])
    assert scored == (0, 1, 2, None), "the last level is never expanded"
    assert calls == [1, 1, 1]


def test_the_best_nodes_overall_are_kept_with_their_parents() -> None:
    tree, _, _ = _grow(GrowthLimits(depth=3, width=2, num_nodes=4, min_probability=0.0))
    # worth: 1 .6, 1-2 .48, 2 .25, 1-2-0 .24, 1-2-3 .144, 2-0 .125
    assert tree.tokens == (1, 2, 2, 0)
    assert tree.parents == (ROOT, ROOT, 0, 2)


def test_paths_the_drafter_doubts_are_left_out_and_end_the_growth() -> None:
    tree, _, calls = _grow(GrowthLimits(depth=8, width=4, num_nodes=50, min_probability=0.3))
    assert tree.tokens == (1, 2)
    assert calls == [1, 1]


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_the_budget_holds(budget: int) -> None:
    tree, _, calls = _grow(GrowthLimits(depth=6, width=3, num_nodes=30, min_probability=0.0), budget)
    assert len(tree) == budget
    assert len(calls) <= budget - 1 or budget == 1
