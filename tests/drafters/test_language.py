"""The language drafter keeps its place in the answer, in small contexts too, and drafts only what it may."""

from types import SimpleNamespace

import pytest
import torch

from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.target import Target
from seeahead.testing import answer, assert_same_answer
from tests.drafters.contexts import context, drawn, feedback, with_words
from tests.lossless.cases import language, prompt, target, trimmed_language

LIMITS = TreeLimits(depth=3, width=2, num_nodes=5, min_probability=0.0)


def _decoder(vocab_size: int = 40, longest: int = 64) -> Llama:
    return drawn(Llama(LlamaShape(vocab_size, 16, 32, 2, 2, 1, 8, longest)), 11)


def _language(vocab_size: int = 40, longest: int = 64) -> Target:
    return Target(_decoder(vocab_size, longest))


def _fresh(drafter: LanguageDrafter, prompt: list[int], answer: list[int]) -> tuple[int, ...]:
    """What a drafter that reads everything anew proposes."""
    drafting = drafter.start(context(prompt, answer[0]))
    drafting.accept(feedback(*answer[1:]))
    return drafting.propose(5).tree.tokens


@torch.inference_mode()
def test_what_it_keeps_between_rounds_is_what_it_would_read_anew() -> None:
    drafter = LanguageDrafter(_language(), limits=LIMITS)
    prompt, answer = [5, 6, 7], [8]
    drafting = drafter.start(context(prompt))
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        tree = drafting.propose(5).tree
        assert tree.tokens == _fresh(drafter, prompt, answer)
        accepted = tree.path_to(int(torch.randint(-1, len(tree), (1,), generator=generator)))
        said = [*(tree.tokens[node] for node in accepted), 9]
        drafting.accept(feedback(*said))
        answer += said


@torch.inference_mode()
def test_an_answer_longer_than_its_context_is_still_drafted() -> None:
    drafter = LanguageDrafter(_language(longest=24), limits=LIMITS)
    drafting = drafter.start(context(list(range(20)), first=1))
    for token in range(30):
        assert len(drafting.propose(5).tree) == 5
        drafting.accept(feedback(token))


@pytest.mark.parametrize("depth", [1, 3, 20])
@pytest.mark.parametrize("longest", [1, 2, 3, 4, 7, 12, 23, 40])
def test_a_context_too_small_for_the_tree_leaves_plain_steps(longest: int, depth: int) -> None:
    target, inputs = _decoder(), ModelInputs(torch.tensor([[5, 6, 7, 8]]))
    drafter = LanguageDrafter(_language(longest=longest), limits=TreeLimits(depth, 2, 30, 0.0))
    drafted = answer(target, inputs, drafter, max_new_tokens=40)
    assert_same_answer(drafted, answer(target, inputs, max_new_tokens=40))
    is_drafted = any(step.num_drafted for step in drafted.steps)
    assert is_drafted or longest < 2 * depth + 2
    assert not is_drafted or longest > depth


@torch.inference_mode()
def test_pictures_and_padding_are_never_drafted() -> None:
    drafter = LanguageDrafter(_language(vocab_size=48), limits=TreeLimits(1, 48, 99, 0.0))
    tree = drafter.start(context([3, 4], first=5, images=frozenset([7, 8]))).propose(99).tree
    assert set(tree.tokens) == set(range(40)) - {7, 8}


@torch.inference_mode()
def test_a_trimmed_vocabulary_speaks_the_targets_ids() -> None:
    vocabulary = DraftVocabulary(torch.tensor([0, 3, 9, 12, 13, 20, 33]), unknown_draft_id=0)
    drafter = LanguageDrafter(_language(vocab_size=7), vocabulary, limits=LIMITS, draws=True)
    drafter.check(_language())
    draft = drafter.start(context([3, 5, 9], first=12, temperature=1.0)).propose(3)
    assert set(draft.tree.tokens) <= {0, 3, 9, 12, 13, 20, 33}
    assert len(draft.tree) == 3
    for node in range(3):
        proposal = draft.proposal(node)
        assert proposal is not None
        assert proposal.shape == (40,)
        torch.testing.assert_close(proposal.sum(), torch.tensor(1.0))


def test_another_vocabulary_is_refused_with_the_way_out() -> None:
    with pytest.raises(DrafterError, match=r"5000 tokens are not the target's 40.*lookup"):
        LanguageDrafter(_language(vocab_size=5000)).check(_language())
    ours = with_words(_decoder(), SimpleNamespace(get_vocab=lambda: {str(i): i for i in range(40)}))
    theirs = with_words(_decoder(), SimpleNamespace(get_vocab=lambda: {str(i): 39 - i for i in range(40)}))
    with pytest.raises(DrafterError, match="not the target's 40"):
        LanguageDrafter(ours).check(theirs)
    LanguageDrafter(ours).check(ours)
    # Words that agree one by one say more than sizes: a target may have added any number of its own.
    more = with_words(_decoder(700), SimpleNamespace(get_vocab=lambda: {str(i): i for i in range(700)}))
    LanguageDrafter(ours).check(more)
    vocabulary = DraftVocabulary(torch.tensor([0, 99]), 0)
    with pytest.raises(DrafterError, match="reaches token 99"):
        LanguageDrafter(_language(vocab_size=2), vocabulary).check(_language())


@pytest.mark.parametrize("drafter", [language, trimmed_language])
def test_of_a_prompt_of_images_alone_the_answer_is_all_there_is_to_read(drafter):
    family, inputs = target("llava"), prompt("llava", 1, 0)
    drafted = answer(family, inputs, drafter(), max_new_tokens=12)
    assert_same_answer(drafted, answer(family, inputs, max_new_tokens=12))
    assert any(step.num_drafted for step in drafted.steps)
