"""Ensembles: rows of one batch are the views alone, members keep their own ids, wrong settings are said in one line."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from seeahead.drafters import make_drafter
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.tabed import make_tabed
from seeahead.drafters.views_drafter import ViewsDrafter
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs, Scores
from seeahead.models.adapter import AdapterConfig, ImageAdapter
from seeahead.executors.llama import Decoder, DecoderConfig
from seeahead.prompt import Message, Prompt
from seeahead.sampling import SamplingParams
from seeahead.testing import answer, assert_same_answer
from seeahead.tree import ROOT, Verdict

NUM_TOKENS, IMAGE, WIDTH = 40, 30, 12
PROMPT = [5, *[IMAGE] * 9, 6, *[IMAGE] * 9, 7]
LIMITS = GrowthLimits(depth=3, width=2, num_nodes=5, min_probability=0.0)
PICTURES = Prompt((Message("user", (Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8)), "What?")),), ("a b", "c"))


class _Words:
    """A tokenizer of single characters."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(letter) % 29 for letter in text])

    def get_vocab(self):
        return {}


def _decoder(seed=11, context=128):
    decoder = Decoder(DecoderConfig(NUM_TOKENS, 16, 32, 2, 2, 1, 8, context)).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.6, generator=generator)
    return decoder


TARGET = _decoder(1)
TARGET.processor = _Words()


def _vision(context=128):
    adapter = ImageAdapter(AdapterConfig(WIDTH, 16, 8, 9)).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.6, generator=generator)
    return VisionDrafter(_decoder(context=context), limits=LIMITS, adapter=adapter)


def _views(views, context=128, **settings):
    return ViewsDrafter(_vision(context), views, **settings).bound_to(TARGET)


def _assignment(tokens=PROMPT, prompt=PICTURES, temperature=0.0):
    embeddings = torch.randn(len(tokens), WIDTH, generator=torch.Generator().manual_seed(0))
    inputs, params = ModelInputs(torch.tensor([tokens])), SamplingParams(temperature)
    return Assignment(inputs, frozenset([IMAGE]), NUM_TOKENS, params, 30, embeddings=embeddings, prompt=prompt)


@torch.inference_mode()
@pytest.mark.parametrize("views", ["MT", "TP", "MTC", "MTCP"])
def test_rows_of_one_batch_are_the_views_alone(views):
    """Ragged prompts, several rounds, trees: to 1e-5 in float32."""
    joint = _views(views).voice(_assignment())
    alone = [_views(view).voice(_assignment()) for view in views]
    assert len({len(view.ids) for view in joint._views}) > 1, "prompts of one length would prove little"
    answer = [8]
    for _ in range(4):
        batches = [joint.read(answer)]
        singles = [torch.cat([voice.read(answer) for voice in alone])]
        for tokens, parents in (([1, 2], [ROOT, ROOT]), ([3, 4], [0, 1])):
            batches.append(joint.score(tokens, parents))
            singles.append(torch.cat([voice.score(tokens, parents) for voice in alone]))
        for batch, single in zip(batches, singles, strict=True):
            torch.testing.assert_close(batch, single, rtol=1e-5, atol=1e-5)
        scores = Scores(torch.zeros(1, 3, NUM_TOKENS))
        for voice in (joint, *alone):
            voice.observe([1, 3], Verdict((0, 1), 9), scores)
        answer += [2, 4, 9]


@torch.inference_mode()
def test_rows_are_read_anew_where_a_context_ends():
    drafting = EnsembleDrafter((_views("MT", context=40),), limits=LIMITS).start(_assignment())
    answer = [1]
    for token in range(25):
        draft = drafting.propose(answer, 5)
        assert len(draft.tree) == 5
        drafting.observe(Verdict((), token), Scores(torch.randn(1, 6, NUM_TOKENS)))
        answer.append(token)


@pytest.mark.parametrize("context", [8, 24, 32])
def test_an_ensemble_deeper_than_its_members_stays_within_their_contexts(context):
    shallow = GrowthLimits(1, 1, 1, 0.0)
    members = (LanguageDrafter(_decoder(3, context), limits=shallow), LanguageDrafter(_decoder(4), limits=shallow))
    drafter = EnsembleDrafter(members, limits=GrowthLimits(9, 2, 20, 0.0))
    inputs = ModelInputs(torch.tensor([[5, 6, 7, 8]]))
    drafted = answer(TARGET, inputs, drafter, max_new_tokens=40)
    assert_same_answer(drafted, answer(TARGET, inputs, max_new_tokens=40))
    assert any(step.num_drafted for step in drafted.steps) == (context > 8)
    bound = drafter.bound_to(TARGET)
    assert bound.bound_to(TARGET) is bound


def test_a_view_shows_what_its_letter_says():
    joint = _views("MTCP", pooled=4).voice(_assignment())
    image, text, caption, pooled = joint._views
    assert [len(view.visual) for view in joint._views] == [18, 0, 0, 8]
    assert len(image.ids) == 3 + 18
    assert len(pooled.ids) == 3 + 8
    newline = ord("\n") % 29
    assert text.ids == [5, newline, 6, newline, 7]
    first, second = ([ord(letter) % 29 for letter in f"image: {told}"] for told in ("a b", "c"))
    assert caption.ids == [5, *first, 6, *second, 7]


@torch.inference_mode()
def test_without_pictures_all_views_are_one():
    drafter = EnsembleDrafter((_views("MT"), LookupDrafter()), "static", weights=(0.5, 0.2, 0.3), limits=LIMITS)
    drafting = drafter.start(_assignment([5, 6, 7]))
    drafting.propose([8], 5)
    assert drafting.voice.weighing.trace[0] == pytest.approx([0.7, 0.3])


@torch.inference_mode()
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_all_weight_on_one_view_drafts_as_that_view(weights):
    joint = EnsembleDrafter((_views("MT"),), "static", weights=weights, limits=LIMITS).start(_assignment())
    alone = EnsembleDrafter((_views("MT"[weights.index(1.0)]),), limits=LIMITS).start(_assignment())
    assert joint.propose([8], 5).tree == alone.propose([8], 5).tree


@torch.inference_mode()
def test_weights_move_to_who_was_right():
    drafting = EnsembleDrafter((_views("MT"),), limits=GrowthLimits(3, 1, 3, 0.0)).start(_assignment())
    text_only = EnsembleDrafter((_views("T"),), limits=GrowthLimits(3, 1, 3, 0.0)).start(_assignment())
    answer = [8]
    for _ in range(4):
        drafting.propose(answer, 3)
        # The target says what the text-only view expects.
        said = text_only.propose(answer, 3).tree.tokens[0]
        verdict = Verdict((), said)
        scores = Scores(torch.nn.functional.one_hot(torch.tensor([[said] * 4]), NUM_TOKENS) * 20.0)
        drafting.observe(verdict, scores)
        text_only.observe(verdict, scores)
        answer.append(said)
    trace = drafting.voice.weighing.trace
    assert trace[0].tolist() == [0.5, 0.5]
    assert trace[-1][1] > trace[-1][0]


@torch.inference_mode()
def test_members_keep_their_own_ids():
    """Trimmed vocabularies that differ, and the target's own ids, meet over the tokens that one of them knows."""

    def trimmed(seed, ids):
        config = DecoderConfig(len(ids), 16, 32, 1, 2, 1, 8, 64)
        decoder = Decoder(config).eval()
        generator = torch.Generator().manual_seed(seed)
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.6, generator=generator)
        return LanguageDrafter(decoder, DraftVocabulary(torch.tensor(ids), 0), LIMITS)

    one, two, lookup = trimmed(1, [0, 3, 9, 12]), trimmed(2, [0, 9, 20, 33, 35]), LookupDrafter(min_match=1)
    drafter = EnsembleDrafter((one, two, lookup), "static", limits=LIMITS).bound_to(TARGET)
    assignment = _assignment([5, 33, 9, 6, 33])
    drafting = drafter.start(assignment)
    logits = drafting.voice.read([33])[0]
    known = [0, 3, 9, 12, 20, 33, 35]
    assert drafting.voice.ids.to_target(range(len(known))) == known
    expected = torch.zeros(len(known))
    for member in (one, two):
        q = member.voice(assignment).read([33])[0].softmax(-1)
        for token, share in zip(member.vocabulary.target_ids.tolist(), q, strict=True):
            expected[known.index(token)] += share / 3
    # What followed 33 before, the newest first: 33 itself, then 9.
    expected[known.index(33)] += 2 / 9
    expected[known.index(9)] += 1 / 9
    torch.testing.assert_close(logits.exp(), expected)
    assert set(drafting.propose([33, 9], 5).tree.tokens) <= set(known)


def test_captions_are_asked_for_where_none_are_given():
    told = []
    writer = lambda images: told.append(len(images)) or ["one", "two"]  # noqa: E731
    voice = _views("MC", captions=writer).voice(_assignment(prompt=Prompt(PICTURES.messages)))
    assert told == [2]
    assert voice._views[1].ids[1:10] == [ord(letter) % 29 for letter in "image: on"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _views("MTX"), r"views 'MTX' are none; give letters of M \(the image\)"),
        (lambda: _views("MM"), "each at most once"),
        (lambda: _views("M", captions="some"), "captions 'some' are none; allowed are given and own"),
        (lambda: EnsembleDrafter((_views("MT"),), "best"), "unknown rule 'best' for weights; allowed are grid, kl"),
        (lambda: EnsembleDrafter(()), "an ensemble needs members"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(0.5,)), "1 weights were given for 2 members"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(0.5, 0.6)), r"weights 0.5\+0.6 do not sum to one"),
        (lambda: EnsembleDrafter((_views("MT"),), weights=(1.5, -0.5)), "give shares from 0 to 1"),
        (lambda: _views("C").voice(_assignment(prompt=Prompt(PICTURES.messages))), "a caption for each of the 2 pict"),
        (lambda: _views("C").voice(_assignment(prompt=None)), "view C needs the pictures themselves"),
        (
            lambda: _views("C", captions="own").voice(_assignment()),
            "captions=own needs a target with its processor",
        ),
        (lambda: EnsembleDrafter((LanguageDrafter(Decoder(DecoderConfig(5000, 16, 32, 1, 2, 1, 8, 64))),)).bound_to(
            TARGET), "5000 tokens are not the target's 40"),
    ],
)  # fmt: skip
def test_wrong_settings_are_said(make, message):
    with pytest.raises(DrafterError, match=message):
        make()


def test_an_ensemble_is_made_from_the_settings_behind_its_name():
    made = make_tabed(
        {"views": "MTP", "pooled": "2", "members": "lookup", "rule": "static", "weights": "0.4+0.3+0.2+0.1"}
        | {"chain": "5"},
        lambda name: LookupDrafter() if name == "lookup" else _vision(),
        "tabed:…",
    )  # fmt: skip
    views, lookup = made.members
    assert (views.views, views.pooled, lookup) == ("MTP", 2, LookupDrafter())
    assert (made.rule, made.weights, made.limits.depth, made.limits.width) == ("static", (0.4, 0.3, 0.2, 0.1), 5, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tabed", "the vision drafter needs a model made for this target"),
        ("tabed:views=none", "an ensemble needs members"),
        ("tabed:views=none,members=none", "'none' cannot be a member of an ensemble"),
        ("tabed:vision=lookup", "'lookup' is no vision drafter"),
        ("tabed:views=none,members=lookup,weights=half", "'half' in drafter .* is no number"),
        ("tabed:views=none,members=lookup,colour=1", "has no setting 'colour'"),
    ],
)
def test_what_is_no_ensemble_is_said(spec, message):
    with pytest.raises(DrafterError, match=message):
        make_drafter(spec, device=torch.device("cpu"), dtype=torch.float32)
