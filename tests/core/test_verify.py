"""The walk over a draft, greedy: what is accepted, what is refused, what the bonus is."""

from collections.abc import Sequence

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from seeahead.errors import ModelError
from seeahead.sampling import Sampler, SamplingParams
from seeahead.tree import ROOT, Draft, TokenTree, Verdict
from seeahead.verify import verify


def _logits(choices: list[int]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(choices), 10).float()


def _verify(tree: TokenTree, choices: list[int], proposals: Sequence[torch.Tensor | None] = ()) -> Verdict:
    verdict = verify(Draft(tree, proposals), _logits(choices), Sampler(SamplingParams(), []), position=1)
    # Greedy with a filter that changes nothing takes the general walk: both must agree.
    slow = verify(Draft(tree, proposals), _logits(choices), Sampler(SamplingParams(), [], lambda _, x: x), position=1)
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
    proposals = [torch.full((10,), 0.1)] * 2
    assert _verify(TokenTree.chain([1, 2]), [1, 3, 0], proposals) == Verdict((0,), 3)


@pytest.mark.parametrize("penalty", [0.5, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("is_drawn", [False, True])
def test_a_greedy_walk_is_penalised_at_every_node_for_prompt_answer_and_path(penalty: float, is_drawn: bool) -> None:
    """Below 1 a penalty makes repetition likelier: those who leave it out as well as those who forget it are seen."""
    rule, prompt, answer, depth = RepetitionPenaltyLogitsProcessor(penalty), [3, 5], [7], 4
    num_changed = 0
    for seed in range(40):
        logits = torch.randn(1 + depth, 10, generator=torch.Generator().manual_seed(seed))
        expected: list[int] = []
        for row in logits:
            seen = torch.tensor([[*prompt, *answer, *expected]])
            expected.append(int(rule(seen, row[None])[0].argmax()))
        unpenalised = logits.argmax(-1).tolist()
        num_changed += expected != unpenalised
        sampler = Sampler(SamplingParams(repetition_penalty=penalty), prompt)
        sampler.extend(answer)
        proposals = [torch.full((10,), 0.1)] * depth if is_drawn else []
        draft = Draft(TokenTree.chain(expected[:depth]), proposals)
        assert verify(draft, logits, sampler, position=1) == Verdict(tuple(range(depth)), expected[depth])
    assert num_changed > 10, "the penalty changes too little to be tested"


@pytest.mark.parametrize("gap", [0.02, 0.005])
def test_what_is_refused_by_a_hair_gives_way_to_the_residual_alone(gap: float) -> None:
    """Token 0 is drafted `gap` too often, token 1 as much too seldom: whenever 0 is refused, 1 must follow."""
    p = torch.tensor([0.5, 0.3, 0.2])
    draft = Draft(TokenTree.chain([0]), [p + torch.tensor([gap, -gap, 0.0])])
    logits = p.log().expand(2, -1)
    num_positions = int(20 / gap)
    verdicts = [verify(draft, logits, Sampler(SamplingParams(1.0), []), position) for position in range(num_positions)]
    instead = [verdict.bonus for verdict in verdicts if not verdict.path]
    assert 20 < len(instead) < 60, "refused as often as by gap / q"
    assert set(instead) == {1}


# ---- drafts that are drawn in part


def test_greedy_follows_the_targets_token_whether_drawn_or_fixed() -> None:
    tree = TokenTree((1, 2, 3, 4), (ROOT, ROOT, 1, 1))
    for proposals in ([torch.full((10,), 0.1), None, None, torch.full((10,), 0.1)], [None] * 4):
        assert _verify(tree, [2, 0, 4, 0, 6], proposals) == Verdict((1, 3), 6)


def test_a_fixed_child_is_followed_where_the_drawn_ones_beside_it_are_refused() -> None:
    """The drawn child 0 cannot be accepted: the target never says it. The token drawn then is the fixed child's."""
    p = torch.tensor([0.0, 1.0, 0.0])
    draft = Draft(TokenTree((0, 1, 2), (ROOT, ROOT, 1)), [torch.tensor([1.0, 0.0, 0.0]), None, None])
    logits = torch.stack([p, p, torch.tensor([0.0, 0.0, 1.0]), p]).log()
    for position in range(20):
        verdict = verify(draft, logits, Sampler(SamplingParams(1.0), []), position)
        assert verdict == Verdict((1, 2), 1)


def test_a_drawn_child_that_was_refused_is_not_followed_as_if_it_were_fixed() -> None:
    """Where it is refused, the residual holds nothing but what the draft proposes too seldom."""
    p, q = torch.tensor([0.2, 0.8]), torch.tensor([0.9, 0.1])
    draft = Draft(TokenTree((0,), (ROOT,)), [q])
    logits = p.log().expand(2, -1)
    for position in range(200):
        verdict = verify(draft, logits, Sampler(SamplingParams(1.0), []), position)
        assert verdict.path == (0,) or verdict.bonus == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_beside_drawn_and_fixed_children_the_first_token_has_the_targets_distribution(order: tuple[int, int]) -> None:
    """A drawn child and a fixed one, in either order; fresh draws of the drawn one at every position."""
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    generator = torch.Generator().manual_seed(0)
    counts, num_accepted, number = torch.zeros(3), 0, 6000
    logits = p.log().expand(3, -1)
    for position in range(number):
        token = int(torch.multinomial(q, 1, generator=generator))
        nodes = [(token, q), (0, None)]
        tokens, proposals = zip(*(nodes[place] for place in order), strict=True)
        draft = Draft(TokenTree(tokens, (ROOT, ROOT)), proposals)
        verdict = verify(draft, logits, Sampler(SamplingParams(1.0), []), position)
        num_accepted += len(verdict.path)
        counts[tokens[verdict.path[0]] if verdict.path else verdict.bonus] += 1
    # Five standard deviations.
    assert ((counts / number - p).abs() < 5 * (p * (1 - p) / number).sqrt()).all()
    assert num_accepted > number / 2


def test_a_row_that_nobody_walks_to_ends_no_answer():
    """Plain decoding never sees what follows a wrong token."""
    draft = Draft(TokenTree((1, 2), (ROOT, ROOT)))
    logits = torch.zeros(3, 4)
    logits[0, 1] = 5.0
    logits[1, 3] = 5.0
    logits[2] = torch.nan
    sampler = Sampler(SamplingParams(), [])
    assert verify(draft, logits, sampler, 1) == Verdict((0,), 3)
    logits[1] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        verify(draft, logits, sampler, 1)
