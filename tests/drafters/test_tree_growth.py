"""Trees grown from a drafter's probabilities: best paths kept, parents with them, unlikely nodes left out."""

from collections.abc import Sequence

import pytest
import torch

from seeahead.drafters.costs import with_costs
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.tree_growth import CostModel, TreeLimits, grow
from seeahead.drafting import Plan, run_alone
from seeahead.target import Target
from seeahead.testing import tiny_family
from seeahead.tree import ROOT, Draft, TokenTree
from tests.table_executor import TableExecutor

# What follows each of the tokens 0..3, as probabilities.
NEXT = torch.tensor([[0.1, 0.6, 0.25, 0.05], [0.05, 0.05, 0.8, 0.1], [0.5, 0.1, 0.1, 0.3], [0.97, 0.01, 0.01, 0.01]])


def _grow(
    limits: TreeLimits, budget: int = 50, root: int = 0, ends: frozenset[int] = frozenset()
) -> tuple[Draft, list[int]]:
    calls: list[int] = []

    def expand(tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        yield from ()  # a plan that asks for no pass
        calls.append(len(tokens))
        return NEXT[list(tokens)].log()

    return run_alone(grow(NEXT[root].log(), expand, limits, budget, ends)), calls


def test_width_one_is_the_greedy_chain() -> None:
    draft, calls = _grow(TreeLimits(depth=4, width=1, num_nodes=9, min_probability=0.0))
    assert draft.tree == TokenTree.chain([1, 2, 0, 1])
    assert draft.scores == pytest.approx([0.6, 0.48, 0.24, 0.144]), "a node's score is that of its whole path"
    assert calls == [1, 1, 1], "the last level is never expanded"


def test_the_best_nodes_overall_are_kept_with_their_parents() -> None:
    draft, _ = _grow(TreeLimits(depth=3, width=2, num_nodes=4, min_probability=0.0))
    # Scores: 1 .6, 1-2 .48, 2 .25, 1-2-0 .24, 1-2-3 .144, 2-0 .125
    assert draft.tree.tokens == (1, 2, 2, 0)
    assert draft.tree.parents == (ROOT, ROOT, 0, 2)
    assert draft.scores == pytest.approx([0.6, 0.25, 0.48, 0.24])


def test_nothing_is_drafted_after_an_end() -> None:
    limits = TreeLimits(depth=4, width=2, num_nodes=50, min_probability=0.0)
    draft, calls = _grow(limits, ends=frozenset([2]))
    tokens, parents = draft.tree.tokens, draft.tree.parents
    assert 2 in tokens
    assert all(parent == ROOT or tokens[parent] != 2 for parent in parents)
    assert _grow(limits, ends=frozenset([1, 2]))[1] == [], "nothing is asked where all that was proposed are ends"
    assert len(calls) == 3


def test_paths_the_drafter_doubts_are_left_out_and_end_the_growth() -> None:
    draft, calls = _grow(TreeLimits(depth=8, width=4, num_nodes=50, min_probability=0.3))
    assert draft.tree.tokens == (1, 2)
    assert calls == [1, 1]


def test_fixed_trees_have_one_shape_whatever_the_drafter_says() -> None:
    limits = TreeLimits(depth=4, width=2, num_nodes=6, min_probability=0.1, fixed=True)
    grown = [_grow(limits, root=root)[0].tree for root in range(4)]
    # Scores by rank: .7 .49 .343 .24, then .12 and .084 twice, of which the older one is kept.
    assert {tree.parents for tree in grown} == {(ROOT, ROOT, 0, 0, 2, 4)}
    assert len({tree.tokens for tree in grown}) == 4, "what stands in the places is the drafter's"


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_the_budget_holds(budget: int) -> None:
    draft, calls = _grow(TreeLimits(depth=6, width=3, num_nodes=30, min_probability=0.0), budget)
    assert len(draft.tree) == budget
    assert len(calls) <= budget - 1 or budget == 1


FREE = tuple(1.0 for _ in range(33))


@pytest.mark.parametrize(
    ("costs", "num_nodes", "num_levels"),
    [
        (CostModel(FREE, 0.0), 12, 4),  # nothing costs anything: all that there may be
        (CostModel(FREE, 0.9), 2, 1),  # at 1.85 tokens in 1.9 s, a level costs .88 tokens, and brings .85 at most
        (CostModel(tuple(1.0 + 0.5 * k for k in range(33)), 0.0), 1, 4),  # 1.6 for 1.5; the next would be 2.08 for 2
        (CostModel(tuple(1.0 + k for k in range(33)), 0.0), 0, 4),  # no node pays for a whole pass
    ],
)
def test_tuned_a_tree_has_what_pays(costs: CostModel, num_nodes: int, num_levels: int) -> None:
    draft, calls = _grow(TreeLimits(depth=4, width=2, num_nodes=12, min_probability=0.0, costs=costs))
    assert len(draft.tree) == num_nodes
    assert len(calls) == num_levels - 1


@torch.inference_mode()
def test_costs_are_measured_on_target_and_drafter() -> None:
    plain = LanguageDrafter(Target(TableExecutor.random(seed=2)))
    assert plain.limits.costs is None
    costs = with_costs(plain, Target(TableExecutor.random())).limits.costs
    assert costs is not None
    assert len(costs.passes) == 32
    assert sorted(costs.passes) == list(costs.passes)
    assert min(costs.level, *costs.passes) > 0


@pytest.mark.parametrize("longest", [40, 33, 20])
def test_costs_are_measured_within_a_short_context(longest: int) -> None:
    target = Target(tiny_family("llama", max_position_embeddings=longest).executor)
    costs = with_costs(LanguageDrafter(target), target).limits.costs
    assert costs is not None
    assert len(costs.passes) == max(size for size in (16, 32) if size < longest)
    assert min(costs.level, *costs.passes) > 0
