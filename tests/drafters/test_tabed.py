"""Ensembles: rows of one batch are the views alone, members keep their own ids, wrong settings are said in one line."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from seeahead.drafters import bind
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.tabed import ViewsDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, VisionDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Feedback, run_alone
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.prompt import Message, Prompt
from seeahead.target import Target
from seeahead.testing import answer, assert_same_answer
from seeahead.tree import ROOT
from tests.drafters import tiny_folders
from tests.drafters.contexts import NUM_TOKENS, context, drawn, feedback, with_words

IMAGE, WIDTH = 30, 12
PROMPT = [5, *[IMAGE] * 9, 6, *[IMAGE] * 9, 7]
LIMITS = TreeLimits(depth=3, width=2, num_nodes=5, min_probability=0.0)
PICTURES = Prompt((Message("user", (Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8)), "What?")),), ("a b", "c"))


class _Words:
    """A tokenizer of single characters."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(letter) % 29 for letter in text])

    def get_vocab(self):
        return {}


def _decoder(seed=11, longest=128):
    return drawn(Llama(LlamaShape(NUM_TOKENS, 16, 32, 2, 2, 1, 8, longest)), seed)


TARGET = with_words(_decoder(1), _Words())


def _vision(longest=128):
    adapter = drawn(ImageAdapter(AdapterConfig(WIDTH, 16, 8, 9)), 3)
    return VisionDrafter(Target(_decoder(longest=longest)), limits=LIMITS, adapter=adapter)


def _views(views, longest=128, target=TARGET, **settings):
    return ViewsDrafter(drafter=_vision(longest), views=views, target=target, **settings)


def _context(tokens=PROMPT, prompt=PICTURES, first=8):
    embeddings = torch.randn(len(tokens), WIDTH, generator=torch.Generator().manual_seed(0))
    return context(tokens, first, frozenset([IMAGE]), embeddings=embeddings, prompt=prompt)


@torch.inference_mode()
@pytest.mark.parametrize("views", ["MT", "TP", "MTC", "MTCP"])
def test_rows_of_one_batch_are_the_views_alone(views):
    """Ragged prompts, several rounds, trees: to 1e-5 in float32."""
    joint = _views(views).model(_context())
    alone = [_views(view).model(_context()) for view in views]
    assert len({len(view) for view in joint._views}) > 1, "prompts of one length would prove little"
    for _ in range(4):
        batches = [run_alone(joint.read())]
        singles = [torch.cat([run_alone(model.read()) for model in alone])]
        for tokens, parents in (([1, 2], [ROOT, ROOT]), ([3, 4], [0, 1])):
            batches.append(run_alone(joint.expand(tokens, parents)))
            singles.append(torch.cat([run_alone(model.expand(tokens, parents)) for model in alone]))
        for batch, single in zip(batches, singles, strict=True):
            torch.testing.assert_close(batch, single, rtol=1e-5, atol=1e-5)
        for model in (joint, *alone):
            model.accept(feedback(2, 4, 9))


@torch.inference_mode()
def test_rows_are_read_anew_where_a_context_ends():
    drafting = EnsembleDrafter((_views("MT", longest=40),), limits=LIMITS).start(_context(first=1))
    for token in range(25):
        assert len(drafting.propose(5).tree) == 5
        drafting.accept(Feedback((token,), torch.randn(1, NUM_TOKENS)))


@pytest.mark.parametrize("longest", [8, 24, 32])
def test_an_ensemble_deeper_than_its_members_stays_within_their_contexts(longest):
    shallow = TreeLimits(1, 1, 1, 0.0)
    members = tuple(LanguageDrafter(Target(decoder), limits=shallow) for decoder in (_decoder(3, longest), _decoder(4)))
    drafter = EnsembleDrafter(members, limits=TreeLimits(9, 2, 20, 0.0))
    inputs = ModelInputs(torch.tensor([[5, 6, 7, 8]]))
    drafted = answer(TARGET, inputs, drafter, max_new_tokens=40)
    assert_same_answer(drafted, answer(TARGET, inputs, max_new_tokens=40))
    assert any(step.num_drafted for step in drafted.steps) == (longest > 8)


def test_a_view_shows_what_its_letter_says():
    joint = _views("MTCP", pooled=4).model(_context())
    image, text, caption, pooled = joint._views
    assert [sum(isinstance(shown, torch.Tensor) for shown in view) for view in joint._views] == [18, 0, 0, 8]
    assert len(image) == 3 + 18
    assert len(pooled) == 3 + 8
    newline = ord("\n") % 29
    assert text == [5, newline, 6, newline, 7]
    first, second = ([ord(letter) % 29 for letter in f"image: {told}"] for told in ("a b", "c"))
    assert caption == [5, *first, 6, *second, 7]


@torch.inference_mode()
def test_without_pictures_all_views_are_one():
    drafter = EnsembleDrafter((_views("MT"), LookupDrafter()), "static", weights=(0.5, 0.2, 0.3), limits=LIMITS)
    drafting = drafter.start(_context([5, 6, 7]))
    drafting.propose(5)
    assert drafting.model.weights.trace[0] == pytest.approx([0.7, 0.3])


@torch.inference_mode()
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_all_weight_on_one_view_drafts_as_that_view(weights):
    joint = EnsembleDrafter((_views("MT"),), "static", weights=weights, limits=LIMITS).start(_context())
    alone = EnsembleDrafter((_views("MT"[weights.index(1.0)]),), limits=LIMITS).start(_context())
    assert joint.propose(5).tree == alone.propose(5).tree


@torch.inference_mode()
def test_weights_move_to_who_was_right():
    drafting = EnsembleDrafter((_views("MT"),), limits=TreeLimits(3, 1, 3, 0.0)).start(_context())
    text_only = EnsembleDrafter((_views("T"),), limits=TreeLimits(3, 1, 3, 0.0)).start(_context())
    for _ in range(4):
        drafting.propose(3)
        # The target says what the text-only view expects.
        said = text_only.propose(3).tree.tokens[0]
        answered = Feedback((said,), torch.nn.functional.one_hot(torch.tensor([said]), NUM_TOKENS) * 20.0)
        drafting.accept(answered)
        text_only.accept(answered)
    trace = drafting.model.weights.trace
    assert trace[0].tolist() == [0.5, 0.5]
    assert trace[-1][1] > trace[-1][0]


@torch.inference_mode()
def test_members_keep_their_own_ids():
    """Trimmed vocabularies that differ, and the target's own ids, meet over the tokens that one of them knows."""

    def trimmed(seed, ids):
        decoder = drawn(Llama(LlamaShape(len(ids), 16, 32, 1, 2, 1, 8, 64)), seed)
        return LanguageDrafter(Target(decoder), DraftVocabulary(torch.tensor(ids), 0), limits=LIMITS)

    one, two, lookup = trimmed(1, [0, 3, 9, 12]), trimmed(2, [0, 9, 20, 33, 35]), LookupDrafter(min_match=1)
    drafter = EnsembleDrafter((one, two, lookup), "static", limits=LIMITS)
    given = _context([5, 33, 9, 6, 33], first=33)
    drafting = drafter.start(given)
    logits = run_alone(drafting.model.read())[0]
    known = [0, 3, 9, 12, 20, 33, 35]
    assert drafting.model.ids.to_target(range(len(known))) == known
    expected = torch.zeros(len(known))
    for member in (one, two):
        q = run_alone(member.model(given).read())[0].softmax(-1)
        for token, share in zip(member.vocabulary.target_ids.tolist(), q, strict=True):
            expected[known.index(token)] += share / 3
    # What followed 33 before: 33 itself and 9, each after as long a match as the other.
    expected[known.index(33)] += 1 / 6
    expected[known.index(9)] += 1 / 6
    torch.testing.assert_close(logits.exp(), expected)
    drafting.accept(feedback(9))
    assert set(drafting.propose(5).tree.tokens) <= set(known)


def test_captions_are_asked_for_where_none_are_given():
    told = []
    writer = lambda images: told.append(len(images)) or ["one", "two"]  # noqa: E731
    model = _views("MC", captions=writer).model(_context(prompt=Prompt(PICTURES.messages)))
    assert told == [2]
    assert model._views[1][1:10] == [ord(letter) % 29 for letter in "image: on"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _views("MTX"), r"views 'MTX' are not views; give letters of M \(the image\)"),
        (lambda: _views("MM"), "each at most once"),
        (lambda: _views("M", captions="some"), "captions 'some' is not a source; allowed are given and own"),
        (lambda: EnsembleDrafter((_views("MT"),), "best"), "unknown rule 'best' for weights; allowed are grid, static"),
        (lambda: EnsembleDrafter(()), "an ensemble needs members"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(0.5,)), "1 weight for 2 members"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(0.5, 0.6)), r"weights 0.5\+0.6 do not sum to one"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(1.5, -0.5)), "give shares from 0 to 1"),
        (lambda: _views("C").model(_context(prompt=Prompt(PICTURES.messages))), "a caption for each of the 2 images"),
        (lambda: _views("C").model(_context(prompt=None)), "view C needs the images themselves"),
        (
            lambda: _views("C", captions="own", target=Target(_decoder(1))).model(_context()),
            "captions=own needs a target with its processor",
        ),
    ],
)
def test_wrong_settings_are_said(make, message):
    with pytest.raises(DrafterError, match=message):
        make()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    return {kind: tiny_folders.write(kind, root / kind) for kind in tiny_folders.KINDS}


def test_an_ensemble_is_made_from_the_settings_behind_its_name(folders):
    text = "tabed:views=MTP,pooled=2,members=lookup,rule=static,weights=0.4+0.3+0.2+0.1,chain=5"
    made = bind(text, tiny_folders.target(), folders)
    views, lookup = made.members
    assert (views.views, views.pooled, lookup) == ("MTP", 2, LookupDrafter(own=folders))
    assert (made.rule, made.weights, made.limits.depth, made.limits.width) == ("static", (0.4, 0.3, 0.2, 0.1), 5, 1)
    assert made.name == text


def test_members_for_another_target_are_refused(folders):
    for kind in ("language", "msd"):
        text = f"tabed:views=none,members=lookup+{folders[kind]}"
        assert bind(text, tiny_folders.target()).num_rows == 1
        with pytest.raises(DrafterError, match="was trained for a target of 160 tokens, this one has 165"):
            bind(text, tiny_folders.target(165))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tabed", "the vision drafter needs a model made for this target"),
        ("tabed:views=none", "an ensemble needs members"),
        ("tabed:views=none,members=none", "'none' cannot be a member of an ensemble"),
        ("tabed:vision=lookup", "'lookup' is not a vision drafter"),
        ("tabed:views=none,members=lookup,weights=half", "setting weights of drafter .* is 'half'; allowed: a valid n"),
        ("tabed:views=none,members=lookup,colour=1", "has no setting 'colour'"),
        ("tabed:views=none,members=lookup,rule=kl", "unknown rule 'kl' for weights; allowed are grid, static"),
    ],
)
def test_what_is_no_ensemble_is_said(text, message):
    with pytest.raises(DrafterError, match=message):
        bind(text, TARGET)
