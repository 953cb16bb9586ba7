"""Trees as values: chains, merging, depths, paths."""

import pytest

from seeahead.errors import DrafterError
from seeahead.tree import ROOT, TokenTree


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
