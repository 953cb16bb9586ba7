"""The language drafter keeps its place in the answer, in small contexts too, and drafts only what it may."""

from types import SimpleNamespace

import pytest
import torch

from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.executors.llama import Decoder, DecoderConfig
from seeahead.sampling import SamplingParams
from seeahead.testing import answer, assert_same_answer
from seeahead.tree import Verdict

LIMITS = GrowthLimits(depth=3, width=2, num_nodes=5, min_probability=0.0)


def _decoder(vocab_size: int = 40, context: int = 64) -> Decoder:
    generator = torch.Generator().manual_seed(11)
    decoder = Decoder(DecoderConfig(vocab_size, 16, 32, 2, 2, 1, 8, context)).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.6, generator=generator)
    return decoder


def _assignment(prompt: list[int], images: frozenset[int] = frozenset(), temperature: float = 0.0) -> Assignment:
    return Assignment(ModelInputs(torch.tensor([prompt])), images, 40, SamplingParams(temperature), 30)


def _fresh(drafter: LanguageDrafter, prompt: list[int], answer: list[int]) -> tuple[int, ...]:
    """What a drafter that reads everything anew proposes."""
    return drafter.start(_assignment(prompt)).propose(answer, 5).tree.tokens


@torch.inference_mode()
def test_what_it_keeps_between_rounds_is_what_it_would_read_anew() -> None:
    drafter = LanguageDrafter(_decoder(), limits=LIMITS)
    prompt, answer = [5, 6, 7], [8]
    drafting = drafter.start(_assignment(prompt))
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        tree = drafting.propose(answer, 5).tree
        assert tree.tokens == _fresh(drafter, prompt, answer)
        accepted = tree.path_to(int(torch.randint(-1, len(tree), (1,), generator=generator)))
        drafting.observe(Verdict(accepted, 9), None)
        answer += [*(tree.tokens[node] for node in accepted), 9]


@torch.inference_mode()
def test_an_answer_longer_than_its_context_is_still_drafted() -> None:
    drafter = LanguageDrafter(_decoder(context=24), limits=LIMITS)
    drafting = drafter.start(_assignment(list(range(20))))
    answer = [1]
    for token in range(30):
        assert len(drafting.propose(answer, 5).tree) == 5
        drafting.observe(Verdict((), token), None)
        answer.append(token)


@pytest.mark.parametrize("depth", [1, 3, 20])
@pytest.mark.parametrize("context", [1, 2, 3, 4, 7, 12, 23, 40])
def test_a_context_too_small_for_the_tree_leaves_plain_steps(context: int, depth: int) -> None:
    target, inputs = _decoder(), ModelInputs(torch.tensor([[5, 6, 7, 8]]))
    drafter = LanguageDrafter(_decoder(context=context), limits=GrowthLimits(depth, 2, 30, 0.0))
    drafted = answer(target, inputs, drafter, max_new_tokens=40)
    assert_same_answer(drafted, answer(target, inputs, max_new_tokens=40))
    is_drafted = any(step.num_drafted for step in drafted.steps)
    assert is_drafted or context < 2 * depth + 2
    assert not is_drafted or context > depth


@torch.inference_mode()
def test_pictures_and_padding_are_never_drafted() -> None:
    drafter = LanguageDrafter(_decoder(vocab_size=48), limits=GrowthLimits(1, 48, 99, 0.0))
    tree = drafter.start(_assignment([3, 4], frozenset([7, 8]))).propose([5], 99).tree
    assert set(tree.tokens) == set(range(40)) - {7, 8}


@torch.inference_mode()
def test_a_trimmed_vocabulary_speaks_the_targets_ids() -> None:
    vocabulary = DraftVocabulary(torch.tensor([0, 3, 9, 12, 13, 20, 33]), unknown_draft_id=0)
    drafter = LanguageDrafter(_decoder(vocab_size=7), vocabulary, LIMITS, draws=True)
    drafter.bound_to(_decoder())
    draft = drafter.start(_assignment([3, 5, 9], temperature=1.0)).propose([12], 3)
    assert set(draft.tree.tokens) <= {0, 3, 9, 12, 13, 20, 33}
    assert draft.proposal is not None
    assert draft.proposal.shape == (3, 40)
    torch.testing.assert_close(draft.proposal.sum(-1), torch.ones(3))


def test_another_vocabulary_is_refused_with_the_way_out() -> None:
    with pytest.raises(DrafterError, match=r"5000 tokens are not the target's 40.*lookup"):
        LanguageDrafter(_decoder(vocab_size=5000)).bound_to(_decoder())
    ours, theirs = _decoder(), _decoder()
    ours.processor = SimpleNamespace(get_vocab=lambda: {str(i): i for i in range(40)})
    theirs.processor = SimpleNamespace(get_vocab=lambda: {str(i): 39 - i for i in range(40)})
    with pytest.raises(DrafterError, match="not the target's 40"):
        LanguageDrafter(ours).bound_to(theirs)
    LanguageDrafter(ours).bound_to(ours)
    vocabulary = DraftVocabulary(torch.tensor([0, 99]), 0)
    with pytest.raises(DrafterError, match="reaches token 99"):
        LanguageDrafter(_decoder(vocab_size=2), vocabulary).bound_to(_decoder())
