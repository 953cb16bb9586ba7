"""The lookup index: longest match first, continuations as a tree, nothing found where nothing repeats."""

from typing import Any

import pytest
import torch

from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafting import run_alone
from seeahead.tree import ROOT
from tests.drafters.contexts import context, feedback


def _start(prompt: list[int], answer: list[int], images: frozenset[int] = frozenset(), **settings: int) -> Any:
    drafting = LookupDrafter(**settings).start(context(prompt, answer[0], images, num_tokens=100))
    if answer[1:]:
        drafting.accept(feedback(*answer[1:]))
    return drafting


def test_it_drafts_what_followed_the_same_words() -> None:
    draft = _start([1, 2, 3, 4, 5], [9, 1, 2], depth=3).propose(budget=10)
    assert draft.tree.tokens == (3, 4, 5)
    assert all(draft.proposal(node) is None for node in range(3))


def test_a_longer_match_goes_first_and_other_continuations_follow() -> None:
    draft = _start([7, 1, 2, 3, 0, 8, 1, 2, 4, 0], [7, 1, 2], depth=2).propose(budget=10)
    assert draft.tree.tokens == (3, 0, 4, 0)
    assert draft.tree.parents == (ROOT, 0, ROOT, 2)


def test_the_longer_the_match_the_likelier() -> None:
    near = _start([7, 1, 2, 3, 0], [9, 1, 2], depth=2).propose(budget=10)
    far = _start([4, 5, 6, 1, 2, 3, 0], [4, 5, 6, 1, 2], depth=2).propose(budget=10)
    assert near.tree == far.tree
    assert near.scores[0] == pytest.approx(0.5)
    assert far.scores[0] > 0.8
    assert near.scores[1] < near.scores[0], "a path is less likely than where it begins"


def test_continuations_share_what_is_likely() -> None:
    draft = _start([7, 1, 2, 3, 0, 8, 1, 2, 4, 0], [7, 1, 2], depth=1).propose(budget=10)
    longer, shorter = draft.scores
    assert shorter < longer < 1
    assert longer + shorter < 1
    alike = _start([7, 1, 2, 3, 0, 8, 1, 2, 4, 0], [9, 1, 2], depth=1).propose(budget=10)
    assert alike.scores[0] == alike.scores[1]


def test_however_long_a_match_is_something_else_may_follow() -> None:
    words = [*range(60), *range(60), *range(60), 98, *range(60), *range(60), *range(60)]
    drafting = _start(words[:-1], words[-1:], max_match=1000, width=3, depth=2)
    first, *_, last = drafting.propose(budget=10).scores
    assert first <= 0.98
    assert last > 0
    assert torch.isfinite(run_alone(drafting.read())).sum() >= 2


def test_of_equal_matches_the_newest_goes_first() -> None:
    assert _start([1, 2, 3, 1, 2, 4, 0], [1, 2], depth=1, width=1).propose(budget=5).tree.tokens == (4,)


def test_the_answer_itself_is_searched_as_it_grows() -> None:
    drafting = _start([0], [5, 6, 7])
    assert len(drafting.propose(budget=9).tree) == 0
    drafting.accept(feedback(8, 5, 6))
    assert drafting.propose(budget=9).tree.tokens[:2] == (7, 8)


def test_the_newest_run_does_not_find_itself() -> None:
    assert len(_start([1], [2, 3]).propose(budget=5).tree) == 0


def test_pictures_are_not_words() -> None:
    draft = _start([1, 2, 99, 99, 3, 4], [1, 2], frozenset([99]), depth=4).propose(budget=5)
    assert draft.tree.tokens == (3, 4, 1, 2)


def test_the_budget_holds() -> None:
    assert len(_start(list(range(20)) * 2, [3, 4, 5]).propose(budget=4).tree) == 4


def test_one_token_costs_the_same_however_long_the_text() -> None:
    drafting = _start(list(range(50)) * 200, [0])
    places = [len(found) for found in drafting._index._places.values()]
    assert max(places) <= 8
