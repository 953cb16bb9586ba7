"""Several drafts in one tree: common paths shared, the best nodes kept, drawn nodes always."""

from typing import NamedTuple

import pytest
import torch

from seeahead.drafters.merged import MergedDrafter
from seeahead.errors import DrafterError
from seeahead.executor import NOTHING, Want
from seeahead.sampling import Sampler, SamplingParams
from seeahead.tree import ROOT, Draft, TokenTree, merge
from seeahead.verify import verify
from tests.drafters.contexts import context

Q = torch.full((10,), 0.1)
OTHER_Q = torch.full((10,), 0.1)


def fixed(tokens, parents, scores=(), source=""):
    return Draft(TokenTree(tuple(tokens), tuple(parents)), (), scores, (source,) * len(tokens) if source else ())


def chain(*tokens, scores=(), source=""):
    return fixed(tokens, range(ROOT, len(tokens) - 1), scores, source)


def drawn(*tokens, q=Q, source=""):
    tree = TokenTree.chain(tokens)
    return Draft(tree, [q] * len(tokens), (), (source,) * len(tokens) if source else ())


def paths(draft):
    """Every node as the tokens that lead to it."""
    tree = draft.tree
    return [tuple(tree.tokens[step] for step in tree.path_to(node)) for node in range(len(tree))]


def test_common_paths_are_shared_and_every_path_of_every_draft_is_there() -> None:
    one, other = chain(1, 2, 3), fixed([1, 5, 2, 4], [ROOT, ROOT, 0, 2])
    merged = merge([one, other], 10)
    assert sorted(paths(merged)) == [(1,), (1, 2), (1, 2, 3), (1, 2, 4), (5,)]
    assert {*paths(one), *paths(other)} == set(paths(merged))
    assert merged.proposal(0) is None


def test_nothing_and_one_draft_are_what_they_are() -> None:
    assert len(merge([], 5).tree) == len(merge([Draft(), Draft()], 5).tree) == 0
    alone = fixed([1, 2, 3], [ROOT, ROOT, 0], scores=[0.9, 0.5, 0.4])
    merged = merge([alone], 5)
    assert merged.tree == alone.tree
    assert list(merged.scores) == list(alone.scores)


def test_a_shared_node_has_the_highest_score_and_is_of_the_drafter_that_came_first() -> None:
    merged = merge([chain(1, 2, scores=[0.6, 0.2], source="a"), chain(1, 2, scores=[0.5, 0.4], source="b")], 10)
    assert merged.tree == TokenTree.chain([1, 2])
    assert list(merged.scores) == [0.6, 0.4]
    assert list(merged.sources) == ["a", "a"]


def test_a_score_never_exceeds_the_parents() -> None:
    merged = merge([chain(1, scores=[0.3]), chain(1, 2, 3, scores=[0.2, 0.9, 0.8])], 10)
    assert list(merged.scores) == [0.3, 0.3, 0.3]


def test_the_first_levels_count_most_where_no_score_is_known() -> None:
    merged = merge([chain(1, 2, 3), chain(4, 5, 6)], 4)
    assert set(paths(merged)) == {(1,), (1, 2), (4,), (4, 5)}


@pytest.mark.parametrize("budget", range(6))
def test_the_best_are_kept_within_the_budget_and_are_a_tree(budget: int) -> None:
    drafts = [chain(1, 2, scores=[0.9, 0.6]), fixed([3, 4, 5], [ROOT, 0, ROOT], scores=[0.5, 0.45, 0.1])]
    merged = merge(drafts, budget)
    assert paths(merged) == [(1,), (1, 2), (3,), (3, 4), (5,)][:budget]


def test_of_equal_scores_the_later_goes() -> None:
    merged = merge([chain(1, scores=[0.5]), chain(2, scores=[0.5]), chain(3, scores=[0.5])], 2)
    assert merged.tree.tokens == (1, 2)


def test_drawn_nodes_and_their_ancestors_stay_whatever_their_scores_are() -> None:
    # The fixed parent of a drawn node would be the first to go.
    below = Draft(TokenTree((1, 2), (ROOT, 0)), [None, Q], [0.01, 0.01])
    merged = merge([chain(7, 8, scores=[0.9, 0.8]), below], 3)
    assert set(paths(merged)) == {(7,), (1,), (1, 2)}
    place = paths(merged).index((1, 2))
    assert merged.proposal(place) is Q
    assert [merged.proposal(node) is None for node in range(3) if node != place] == [True, True]


def test_a_fixed_node_gives_way_to_a_drawn_one_alike() -> None:
    for drafts in ([chain(1, 2), drawn(1, q=Q)], [drawn(1, q=Q), chain(1, 2)]):
        merged = merge(drafts, 10)
        assert paths(merged) == [(1,), (1, 2)]
        assert merged.proposal(0) is Q
        assert merged.proposal(1) is None


def test_two_drawn_nodes_alike_both_stay_since_each_was_drawn_on_its_own() -> None:
    merged = merge([drawn(1, 2, q=Q), drawn(1, q=OTHER_Q)], 10)
    assert sorted(paths(merged)) == [(1,), (1,), (1, 2)]
    assert {id(merged.proposal(node)) for node in merged.tree.children(ROOT)} == {id(Q), id(OTHER_Q)}


def test_drawn_nodes_that_do_not_fit_are_refused() -> None:
    assert len(merge([drawn(1, 2), drawn(3)], 3).tree) == 3
    with pytest.raises(DrafterError, match=r"3 drawn nodes do not fit into a budget of 2.*give each drafter its share"):
        merge([drawn(1, 2), drawn(3)], 2)


@pytest.mark.parametrize("seed", range(20))
def test_random_drafts_leave_a_tree_of_what_was_proposed(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    drafts = []
    for _ in range(3):
        size = number(0, 8)
        tree = TokenTree(tuple(number(0, 4) for _ in range(size)), tuple(number(-1, node) for node in range(size)))
        drafts.append(Draft(tree, [Q if number(0, 3) == 0 else None for _ in range(size)] if number(0, 2) else ()))
    proposed = {path for draft in drafts for path in paths(draft)}
    num_drawn = sum(draft.proposal(node) is not None for draft in drafts for node in range(len(draft.tree)))
    for budget in range(25):
        try:
            merged = merge(drafts, budget)
        except DrafterError:
            assert budget < 24
            continue
        assert len(merged.tree) <= budget
        assert set(paths(merged)) <= proposed
        assert sum(merged.proposal(node) is not None for node in range(len(merged.tree))) == num_drawn
        for node, parent in enumerate(merged.tree.parents):
            assert parent == ROOT or merged.scores[node] <= merged.scores[parent]
    assert set(paths(merge(drafts, 24))) == proposed


P = torch.tensor([0.5, 0.3, 0.2])
FIRST_Q, SECOND_Q = torch.tensor([0.6, 0.2, 0.2]), P


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_fixed_and_two_drawn_drafts_leave_the_targets_distribution(place: int) -> None:
    """Drawn siblings are verified one after the other: which comes first must not hang on what was drawn."""
    generator, number = torch.Generator().manual_seed(0), 6000
    counts, logits = torch.zeros(3), P.log().expand(4, -1)
    draws = [torch.multinomial(q, number, replacement=True, generator=generator).tolist() for q in (FIRST_Q, SECOND_Q)]
    for position, (first, second) in enumerate(zip(*draws, strict=True)):
        drafts = [drawn(first, q=FIRST_Q), drawn(second, q=SECOND_Q)]
        drafts.insert(place, chain(0))
        draft = merge(drafts, 3)
        verdict = verify(draft, logits, Sampler(SamplingParams(1.0), []), position)
        counts[draft.tree.tokens[verdict.path[0]] if verdict.path else verdict.bonus] += 1
    # Five standard deviations.
    assert ((counts / number - P).abs() < 5 * (P * (1 - P) / number).sqrt()).all(), counts / number


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8])
def test_a_merged_drafter_among_the_members_of_another_fits_into_every_budget(budget: int) -> None:
    """Fixed nodes above drawn ones must stay as well: they count."""
    below = Draft(TokenTree.chain([1, 2, 3]), [None, None, Q])
    inner = MergedDrafter((_Says(below), _Says(drawn(4, 5))))
    drafting = MergedDrafter((inner, _Says(drawn(6, 7))), num_nodes=8).start(context([1], 2))
    draft = drafting.propose(budget)
    assert len(draft.tree) <= budget
    num_drawn = sum(proposal is not None for proposal in draft.proposals)
    assert num_drawn == {1: 1, 2: 2, 3: 1, 5: 3, 8: 5}[budget]


class _Says(NamedTuple):
    """A drafter of one draft, cut to the budget."""

    draft: Draft
    want: Want = NOTHING

    def start(self, context: object) -> "_Says":
        return self

    def propose(self, budget: int) -> Draft:
        tree = self.draft.tree
        return Draft(TokenTree(tree.tokens[:budget], tree.parents[:budget]), self.draft.proposals[:budget])
