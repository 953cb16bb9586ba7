"""The vision drafter: where the pictures stand in its prompt, and that it looks at them."""

import pytest
import torch

from seeahead.drafters.language import runs
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, VisionDrafter
from seeahead.drafting import DraftContext, run_alone
from seeahead.errors import DrafterError
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.target import Target
from tests.drafters.contexts import context, drawn, feedback

IMAGES = frozenset([30, 31, 32])
"""30 is the placeholder, 31 and 32 the markers around."""
PROMPT = [5, 31, *[30] * 4, 32, 6, 31, *[30] * 9, 32, 7]


def _drafter(num_tokens: int = 0, longest: int = 64) -> VisionDrafter:
    decoder = Llama(LlamaShape(40, 16, 32, 2, 2, 1, 8, longest))
    adapter = ImageAdapter(AdapterConfig(12, 16, 8, num_tokens))
    drawn(torch.nn.ModuleList([decoder, adapter]), 11)
    return VisionDrafter(Target(decoder), limits=TreeLimits(3, 2, 5, 0.0), adapter=adapter)


def _context(seed: int = 0, width: int = 12, first: int = 8) -> DraftContext:
    embeddings = torch.randn(len(PROMPT), width, generator=torch.Generator().manual_seed(seed))
    return context(PROMPT, first, IMAGES, embeddings=embeddings)


def test_runs_of_placeholders_are_pictures_and_markers_are_left_out():
    assert list(runs(PROMPT, IMAGES)) == [
        ([5], 0, False),
        ([30] * 4, 2, True),
        ([6], 7, False),
        ([30] * 9, 9, True),
        ([7], 19, False),
    ]


@pytest.mark.parametrize(("num_tokens", "length"), [(0, 3 + 4 + 9), (4, 3 + 4 + 4), (1, 3 + 1 + 1)])
@torch.inference_mode()
def test_a_picture_takes_as_many_slots_as_the_adapter_makes_of_it(num_tokens, length):
    model = _drafter(num_tokens).start(_context()).model
    assert not model._sessions, "the prompt is read once the answer's first token is out"
    run_alone(model.read())
    (session,) = model._sessions
    assert session.length == length + 1


@torch.inference_mode()
def test_it_reads_words_and_pictures_in_their_order():
    drafter, given = _drafter(4), _context()
    model = drafter.start(given).model
    word, seen = drafter.language.executor.embedding.weight, given.embeddings
    first, second = drafter.adapter.read(seen[2:6]), drafter.adapter.read(seen[9:18])
    expected = torch.cat([word[5:6], first, word[6:7], second, word[7:8]])
    (view,) = model._views
    torch.testing.assert_close(model._inputs(view).extras["inputs_embeds"][0], expected)
    late = view[3:]
    torch.testing.assert_close(model._inputs(late).extras["inputs_embeds"][0], expected[3:])


@torch.inference_mode()
def test_another_picture_makes_another_draft():
    drafts = {_drafter().start(_context(seed)).propose(5).tree.tokens for seed in range(4)}
    assert len(drafts) > 1


@torch.inference_mode()
def test_pictures_that_no_longer_fit_its_context_are_forgotten():
    drafting = _drafter(longest=24).start(_context(first=1))
    for token in range(30):
        assert len(drafting.propose(5).tree) == 5
        drafting.accept(feedback(token))


def test_a_target_of_another_width_is_refused():
    with pytest.raises(DrafterError, match="of width 12, the target's have 20"):
        _drafter().start(_context(width=20))
