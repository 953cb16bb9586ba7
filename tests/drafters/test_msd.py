"""The msd drafter: what stands in its slots, at the borders of pictures above all, and where its guesses go."""

import pytest
import torch

from seeahead.drafters.features import FeatureDrafter, Slots, shifted
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Feedback, run_alone
from seeahead.errors import DrafterError, ModelError
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.target import Target
from seeahead.tree import ROOT
from tests.drafters.contexts import NUM_TOKENS, context, drawn

WIDTH, IMAGE = 16, 30
PROMPTS = {
    "in the middle": [5, 6, IMAGE, IMAGE, IMAGE, 7, 8],
    "first": [IMAGE, IMAGE, 7, 8],
    "last": [5, 6, IMAGE, IMAGE],
    "two": [5, IMAGE, IMAGE, 6, IMAGE, IMAGE, IMAGE, 7],
    "none": [5, 6, 7],
}


def network(**options):
    return drawn(MsdNetwork(LlamaShape(1, WIDTH, 24, 1, 2, 1, 8, 256), MsdOptions(**options)), 3, 0.4)


def target():
    return Target(drawn(Llama(LlamaShape(NUM_TOKENS, WIDTH, 24, 1, 2, 1, 8, 256)), 5, 0.4))


def drafter(**options):
    vocabulary = DraftVocabulary(torch.arange(0, NUM_TOKENS, 2), unknown_draft_id=0)
    return FeatureDrafter.on(target(), network(**options), vocabulary, name="msd", limits=TreeLimits(3, 2, 5, 0.0))


def given(prompt, seed=0):
    """Embeddings and features of a prompt, as a target would give them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, len(prompt), WIDTH, generator=generator).unbind(0)


def start(made, prompt, embeddings, features):
    return made.start(context(prompt, 9, frozenset([IMAGE]), features={-1: features}, embeddings=embeddings))


@torch.inference_mode()
def first_logits(made, prompt, embeddings, features):
    return run_alone(start(made, prompt, embeddings, features).model.read())


@torch.inference_mode()
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_slot_j_holds_token_j_plus_1_and_only_text_is_joined_with_a_feature(prompt):
    made = network()
    embeddings, features = given(prompt)
    newest = torch.full((WIDTH,), 0.5)
    following, is_visual = shifted(embeddings, torch.tensor(prompt) == IMAGE, newest[None])
    x = made.begin(Slots(following, features, is_visual)).x
    for slot, token in enumerate([*prompt[1:], 9]):
        embedding = newest if slot == len(prompt) - 1 else embeddings[slot + 1]
        joined = made.fc(torch.cat((embedding, features[slot])))
        torch.testing.assert_close(x[slot], embedding if token == IMAGE else joined)


@torch.inference_mode()
def test_a_feature_at_a_visual_slot_changes_nothing_and_an_embedding_there_does():
    made, prompt = drafter(), PROMPTS["two"]
    embeddings, features = given(prompt)
    before = first_logits(made, prompt, embeddings, features)
    for slot in range(len(prompt)):
        following_is_visual = slot + 1 < len(prompt) and prompt[slot + 1] == IMAGE
        other = features.clone()
        other[slot] += 1.0
        assert torch.equal(before, first_logits(made, prompt, embeddings, other)) == following_is_visual
    for place in range(1, len(prompt)):  # the very first token stands in no slot
        other = embeddings.clone()
        other[place] += 1.0
        assert not torch.equal(before, first_logits(made, prompt, other, features))


@torch.inference_mode()
def test_coupled_a_feature_counts_at_every_slot():
    made, prompt = drafter(is_decoupled=False), PROMPTS["two"]
    embeddings, features = given(prompt)
    before = first_logits(made, prompt, embeddings, features)
    for slot in range(len(prompt)):
        other = features.clone()
        other[slot] += 1.0
        assert not torch.equal(before, first_logits(made, prompt, embeddings, other))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 8),
        ({"visual": "pooled", "num_tokens": 2}, 7),
        ({"visual": "query"}, 5),
        ({"visual": "dropped"}, 3),
    ],
)
def test_pictures_may_take_fewer_slots(options, length):
    prompt = PROMPTS["two"]
    drafting = start(drafter(**options), prompt, *given(prompt))
    run_alone(drafting.model.read())
    assert drafting.model._session.length == length


@torch.inference_mode()
def test_what_was_guessed_is_forgotten_and_accepted_tokens_are_read_with_the_targets_features():
    made, prompt = drafter(), PROMPTS["in the middle"]
    embeddings, features = given(prompt)
    drafting = start(made, prompt, embeddings, features)
    draft = drafting.propose(5)
    assert len(draft.tree.tokens) == 5
    path = [node for node, parent in enumerate(draft.tree.parents) if parent == ROOT][:1]
    told = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(7))  # of the root, and of what is accepted
    said = Feedback((draft.tree.tokens[path[0]], 12), torch.zeros(2, NUM_TOKENS), {-1: told})
    drafting.accept(said)
    after = run_alone(drafting.model.read())

    # The same, read in one go: features of the root and of the accepted token follow those of the prompt.
    afresh = start(made, prompt, embeddings, features)
    afresh.accept(said)
    torch.testing.assert_close(after, run_alone(afresh.model.read()), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_drafted_tokens_are_words_of_the_vocabulary_and_never_pictures():
    made, prompt = drafter(), PROMPTS["last"]
    draft = start(made, prompt, *given(prompt)).propose(5)
    assert all(token % 2 == 0 and token != IMAGE for token in draft.tree.tokens)


def test_a_target_of_another_width_or_vocabulary_is_refused():
    vocabulary = DraftVocabulary(torch.arange(0, NUM_TOKENS, 2), unknown_draft_id=0)
    narrow = Target(Llama(LlamaShape(NUM_TOKENS, 8, 24, 1, 1, 1, 8, 256)))
    with pytest.raises(DrafterError, match=r"features of width 16.*has width 8.*lookup"):
        FeatureDrafter.on(narrow, network(), vocabulary, name="msd")
    few = Target(Llama(LlamaShape(20, WIDTH, 24, 1, 2, 1, 8, 256)))
    with pytest.raises(DrafterError, match="map reaches token 38, the target has 20; take"):
        FeatureDrafter.on(few, network(), vocabulary, name="msd")


def test_unknown_options_are_refused():
    with pytest.raises(ModelError, match=r"visual is .*; allowed: full, pooled, query, dropped"):
        MsdOptions.from_json({"visual": "some"})
