"""A drafter that lacks a few of the target's tokens: they are read as another one, and answers stay the target's."""

import pytest
import torch

from seeahead.drafters.base import DraftIds
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import DraftContext
from seeahead.executor import ModelInputs
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.sampling import SamplingParams
from seeahead.target import Target
from seeahead.testing import SelfDrafter, answer, tiny_family, tiny_inputs
from tests.drafters.contexts import feedback

NUM_OWN = 150
ADDED = range(NUM_OWN, 160)
"""Ids of the target that the drafter has no embedding for."""
WIDE = TreeLimits(depth=3, width=8, num_nodes=30, min_probability=0.0)
SAMPLED = SamplingParams(temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def target():
    return tiny_family("smolvlm")


@pytest.fixture(scope="module")
def small():
    return Target.of(tiny_family("llama", vocab_size=NUM_OWN))


@pytest.fixture(scope="module")
def inputs():
    """Words, a picture, and every added token among them; the last one is added too."""
    given = tiny_inputs("smolvlm", num_images=1)
    return ModelInputs(torch.cat([given.token_ids, torch.tensor([list(ADDED)])], 1), given.extras)


def saying_added_tokens(seed=0):
    """A target every third word of whose answers, about, is an added one."""
    family = tiny_family("smolvlm", seed)
    with torch.no_grad():
        family.model.get_output_embeddings().weight[list(ADDED)] *= 3
    return family


def drafters(small):
    yield LanguageDrafter(small, limits=WIDE)
    yield LanguageDrafter(small, limits=TreeLimits(3, 1, 3, 0.0), draws=True)
    yield EnsembleDrafter((LanguageDrafter(small), LookupDrafter(min_match=1)), limits=WIDE)
    yield EnsembleDrafter((LanguageDrafter(small), LookupDrafter(min_match=1)), limits=WIDE, draws=True)
    inner = EnsembleDrafter((LanguageDrafter(small), LookupDrafter(min_match=1)))
    yield EnsembleDrafter((inner, LookupDrafter(min_match=1)), limits=WIDE)


@pytest.mark.parametrize("params", [SamplingParams(0.0), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("speaks", [tiny_family, saying_added_tokens], ids=["in the prompt", "in the answer"])
def test_a_target_with_added_tokens_says_the_same_with_a_fixed_draft(speaks, params, small, inputs):
    target = saying_added_tokens() if speaks is saying_added_tokens else tiny_family("smolvlm")
    plain = answer(target, inputs, params=params, max_new_tokens=40)
    assert (speaks is saying_added_tokens) <= bool(set(plain.token_ids) & set(ADDED))
    for drafter in drafters(small):
        if params.is_greedy or not drafter.draws:
            drafted = answer(target, inputs, drafter, params=params, max_new_tokens=40)
            assert drafted.token_ids == plain.token_ids


def test_a_drawn_draft_is_padded_to_the_targets_tokens_and_verified(small, inputs):
    target = saying_added_tokens()
    for drafter in drafters(small):
        if drafter.draws:
            drafted = answer(target, inputs, drafter, params=SAMPLED, max_new_tokens=40)
            assert len(drafted.token_ids) == 40
            assert set(drafted.token_ids) & set(ADDED)
    draws = LanguageDrafter(small, limits=TreeLimits(3, 1, 3, 0.0), draws=True)
    with torch.inference_mode():
        draft = started(draws, inputs, SAMPLED, ADDED[0], 60).propose(3)
    proposals = torch.stack(draft.proposals)
    assert proposals.shape == (3, 160)
    assert not proposals[:, NUM_OWN:].any()


def test_an_ensemble_of_a_trimmed_and_a_smaller_vocabulary_runs(small, inputs):
    """The trimmed one knows tokens that the smaller one lacks."""
    target = saying_added_tokens()
    torch.manual_seed(0)
    decoder = Llama(LlamaShape(60, 32, 48, 2, 2, 1, 16, 512)).eval()
    trimmed = LanguageDrafter(Target(decoder), DraftVocabulary(torch.arange(40, 160, 2), unknown_draft_id=0))
    for members in ((LanguageDrafter(small), trimmed), (trimmed, LanguageDrafter(small))):
        drafted = answer(target, inputs, EnsembleDrafter(members, limits=WIDE), max_new_tokens=30)
        assert drafted.token_ids == answer(target, inputs, max_new_tokens=30).token_ids


def test_as_many_ids_as_the_joint_vocabulary_are_still_the_targets_own_ids(inputs):
    """A member of the target's ids, just as many as the trimmed vocabulary has."""
    target, equal = saying_added_tokens(), Target.of(tiny_family("llama", vocab_size=60))
    torch.manual_seed(0)
    decoder = Llama(LlamaShape(60, 32, 48, 2, 2, 1, 16, 512)).eval()
    trimmed = LanguageDrafter(Target(decoder), DraftVocabulary(torch.arange(40, 160, 2), unknown_draft_id=0))
    model = EnsembleDrafter((LanguageDrafter(equal), trimmed)).model(context(inputs, SamplingParams(0.0)))
    q = torch.eye(60)[None, 50:51]
    (ours,) = model._to_ours[0](q)
    assert ours[0].argmax() == 5  # token 50 is the sixth even one from 40 on
    assert ours.sum() == 1
    assert target.vocab_size > equal.vocab_size


def context(inputs, params, first=60):
    return DraftContext(inputs, first, frozenset([4, 5, 6]), 160, params, 40)


def started(drafter, inputs, params, *said):
    """A drafting that has read nothing yet, of an answer that begins with what was `said`."""
    drafting = drafter.start(context(inputs, params, said[0]))
    drafting.accept(feedback(*said[1:], num_tokens=160))
    return drafting


@torch.inference_mode()
def test_what_is_kept_after_a_roll_back_is_what_would_be_read_anew(small, inputs):
    """Added tokens count in positions like all others."""
    drafter = LanguageDrafter(small, limits=TreeLimits(3, 2, 5, 0.0))
    greedy, said = SamplingParams(0.0), [60]
    drafting = drafter.start(context(inputs, greedy))
    generator = torch.Generator().manual_seed(0)
    for number in range(8):
        tree = drafting.propose(5).tree
        assert tree.tokens == started(drafter, inputs, greedy, *said).propose(5).tree.tokens
        accepted = tree.path_to(int(torch.randint(-1, len(tree), (1,), generator=generator)))
        bonus = ADDED[number % len(ADDED)] if number % 2 else 70
        new = [*(tree.tokens[node] for node in accepted), bonus]
        drafting.accept(feedback(*new, num_tokens=160))
        said += new


def test_added_tokens_are_read_as_the_drafters_end_of_text_and_never_change_their_number(small, inputs):
    ids = LanguageDrafter(small).ids(context(inputs, SamplingParams(0.0)))
    assert ids.to_draft([0, NUM_OWN - 1, NUM_OWN, 159]) == [0, NUM_OWN - 1, *[small.end_token_ids[0]] * 2]
    nothing_known = DraftIds(None, NUM_OWN, context(inputs, SamplingParams(0.0)))
    assert nothing_known.to_draft([159, 3]) == [0, 3]


def test_a_drafter_that_is_the_target_reads_every_token_as_it_is(target, inputs):
    drafted = answer(target, inputs, SelfDrafter(target.executor), max_new_tokens=12)
    assert drafted.token_ids == answer(target, inputs, max_new_tokens=12).token_ids
