"""Trees as values: chains, shared branches, depths, paths; nodes found again by their tokens."""

import pytest

from seeahead.errors import DrafterError
from seeahead.tree import ROOT, Draft, PendingNodes, TokenTree


def test_a_chain_is_a_tree_with_one_branch() -> None:
    tree = TokenTree.chain([7, 8, 9])
    assert tree.parents == (ROOT, 0, 1)
    assert tree.depths == (1, 2, 3)
    assert tree.path_to(2) == (0, 1, 2)


def test_the_empty_tree_has_no_levels() -> None:
    assert len(TokenTree()) == TokenTree().depth == 0
    assert TokenTree().path_to(ROOT) == ()


def test_branches_share_common_beginnings() -> None:
    tree = TokenTree.of_branches([[1, 2, 3], [1, 4], [5]], max_nodes=10)
    assert tree.tokens == (1, 2, 3, 4, 5)
    assert tree.parents == (ROOT, 0, 1, 0, ROOT)
    assert list(tree.children(0)) == [1, 3]
    assert tree.depth == 3


def test_the_first_branches_are_kept_when_room_runs_out() -> None:
    tree = TokenTree.of_branches([[1, 2, 3], [1, 4, 5], [6]], max_nodes=4)
    assert tree.tokens == (1, 2, 3, 4)


def test_a_parent_must_come_before_its_child() -> None:
    with pytest.raises(DrafterError, match="parents do not come before their children"):
        TokenTree((1, 2), (1, ROOT))


def test_as_many_parents_as_tokens_and_one_of_each_fact_for_every_node() -> None:
    with pytest.raises(DrafterError, match="2 tokens of a tree have 1 parents; give one for each"):
        TokenTree((1, 2), (ROOT,))
    with pytest.raises(DrafterError, match="a draft of 2 nodes has 0 proposals, 1 scores and 0 sources"):
        Draft(TokenTree.chain([1, 2]), scores=[0.5])


def test_pending_nodes_are_found_by_the_tokens_that_lead_to_them() -> None:
    nodes = PendingNodes()
    assert nodes.path_of([1, 2]) == []
    nodes.add([7, 8], [ROOT, 0])
    nodes.add([9, 8, 8], [0, ROOT, 2])
    assert len(nodes) == 5
    assert nodes.path_of([7, 8, 1]) == [0, 1]
    assert nodes.path_of([7, 9, 8, 3]) == [0, 2, 4]
    assert nodes.path_of([8, 8]) == [3]
    assert nodes.path_of([9]) == []
    assert nodes.path_of([]) == []


def test_of_pending_siblings_alike_the_first_is_found() -> None:
    nodes = PendingNodes()
    nodes.add([5, 5, 6], [ROOT, ROOT, 0])
    assert nodes.path_of([5, 6]) == [0, 2]
