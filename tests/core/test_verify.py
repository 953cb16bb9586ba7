"""The walk over a draft, greedy: what is accepted, what is refused, what the bonus is."""

import torch

from seeahead.sampling import Sampler, SamplingParams
from seeahead.tree import ROOT, Draft, TokenTree, Verdict
from seeahead.verify import verify


def _logits(choices: list[int]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(choices), 10).float()


def _verify(tree: TokenTree, choices: list[int], proposal: torch.Tensor | None = None) -> Verdict:
    verdict = verify(Draft(tree, proposal), _logits(choices), Sampler(SamplingParams(), []), position=1)
    # Greedy with a filter that changes nothing takes the general walk: both must agree.
    slow = verify(Draft(tree, proposal), _logits(choices), Sampler(SamplingParams(), [], lambda _, x: x), position=1)
    assert verdict == slow
    return verdict


def test_an_empty_draft_yields_the_targets_own_token() -> None:
    assert _verify(TokenTree(), [4]) == Verdict((), 4)


def test_a_chain_is_accepted_up_to_the_first_difference() -> None:
    assert _verify(TokenTree.chain([1, 2, 3]), [1, 2, 9, 5]) == Verdict((0, 1), 9)


def test_a_whole_chain_earns_the_bonus_after_it() -> None:
    assert _verify(TokenTree.chain([1, 2]), [1, 2, 7]) == Verdict((0, 1), 7)


def test_a_later_agreement_behind_a_refused_token_counts_for_nothing() -> None:
    assert _verify(TokenTree.chain([1, 2, 3]), [8, 2, 3, 4]) == Verdict((), 8)


def test_the_walk_follows_the_branch_the_target_takes() -> None:
    tree = TokenTree((1, 2, 3, 4), (ROOT, ROOT, 1, 1))
    assert _verify(tree, [2, 0, 4, 0, 6]) == Verdict((1, 3), 6)


def test_greedy_accepts_a_drawn_token_exactly_when_it_is_the_targets() -> None:
    proposal = torch.full((2, 10), 0.1)
    assert _verify(TokenTree.chain([1, 2]), [1, 3, 0], proposal) == Verdict((0,), 3)
