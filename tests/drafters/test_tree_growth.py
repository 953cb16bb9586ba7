"""Trees grown from a drafter's probabilities: best paths kept, parents with them, worthless nodes left out."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from seeahead.drafters.growth import GrowthLimits, Prices, grow
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.prices import with_prices
from seeahead.testing.tables import TableExecutor
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


def test_fixed_trees_have_one_shape_whatever_the_drafter_believes() -> None:
    limits = GrowthLimits(depth=4, width=2, num_nodes=6, min_probability=0.1, fixed=True)
    grown = [_grow(limits, root=root)[0] for root in range(4)]
    # Worth by rank: .7 .49 .343 .24, then .12 and .084 twice, of which the older one is kept.
    assert {tree.parents for tree in grown} == {(ROOT, ROOT, 0, 0, 2, 4)}
    assert len({tree.tokens for tree in grown}) == 4, "what stands in the places is the drafter's"


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_the_budget_holds(budget: int) -> None:
    tree, _, calls = _grow(GrowthLimits(depth=6, width=3, num_nodes=30, min_probability=0.0), budget)
    assert len(tree) == budget
    assert len(calls) <= budget - 1 or budget == 1


FREE = tuple(1.0 for _ in range(33))


@pytest.mark.parametrize(
    ("prices", "num_nodes", "num_levels"),
    [
        (Prices(FREE, 0.0), 12, 4),  # nothing costs anything: all that there may be
        (Prices(FREE, 0.9), 2, 1),  # at 1.85 tokens in 1.9 s, a level is worth .88 tokens, and brings .85 at most
        (Prices(tuple(1.0 + 0.5 * k for k in range(33)), 0.0), 1, 4),  # 1.6 for 1.5; the next would be 2.08 for 2
        (Prices(tuple(1.0 + k for k in range(33)), 0.0), 0, 4),  # no node is worth a whole pass
    ],
)
def test_tuned_a_tree_has_what_pays(prices: Prices, num_nodes: int, num_levels: int) -> None:
    tree, _, calls = _grow(GrowthLimits(depth=4, width=2, num_nodes=12, min_probability=0.0, prices=prices))
    assert len(tree) == num_nodes
    assert len(calls) == num_levels - 1


@torch.inference_mode()
def test_prices_are_measured_where_limits_ask_for_them() -> None:
    target = TableExecutor.random()
    plain = LanguageDrafter(TableExecutor.random(seed=2))
    assert with_prices(plain, target) is plain
    priced = with_prices(replace(plain, limits=replace(plain.limits, tuned=True)), target)
    prices = priced.limits.prices
    assert prices is not None
    assert len(prices.passes) == 32
    assert sorted(prices.passes) == list(prices.passes)
    assert min(prices.level, *prices.passes) > 0
    assert with_prices(priced, target) is priced
