"""The vision drafter: where the pictures stand in its prompt, and that it looks at them."""

import pytest
import torch

from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.views import runs
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.executors.llama import Decoder, DecoderConfig
from seeahead.models.adapter import AdapterConfig, ImageAdapter
from seeahead.sampling import SamplingParams
from seeahead.tree import Verdict

IMAGES = frozenset([30, 31, 32])
"""30 is the placeholder, 31 and 32 the markers around."""
PROMPT = [5, 31, *[30] * 4, 32, 6, 31, *[30] * 9, 32, 7]


def _drafter(num_tokens: int = 0, context: int = 64) -> VisionDrafter:
    generator = torch.Generator().manual_seed(11)
    decoder = Decoder(DecoderConfig(40, 16, 32, 2, 2, 1, 8, context)).eval()
    adapter = ImageAdapter(AdapterConfig(12, 16, 8, num_tokens)).eval()
    for parameter in (*decoder.parameters(), *adapter.parameters()):
        torch.nn.init.normal_(parameter, std=0.6, generator=generator)
    return VisionDrafter(decoder, limits=GrowthLimits(3, 2, 5, 0.0), adapter=adapter)


def _assignment(seed: int = 0, width: int = 12, max_new_tokens: int = 30) -> Assignment:
    embeddings = torch.randn(len(PROMPT), width, generator=torch.Generator().manual_seed(seed))
    inputs = ModelInputs(torch.tensor([PROMPT]))
    return Assignment(inputs, IMAGES, 40, SamplingParams(0.0), max_new_tokens, embeddings=embeddings)


def test_runs_of_placeholders_are_pictures_and_markers_are_left_out():
    assert list(runs(PROMPT, IMAGES)) == [
        ([5], 0, False),
        ([30] * 4, 2, True),
        ([6], 7, False),
        ([30] * 9, 9, True),
        ([7], 19, False),
    ]


@pytest.mark.parametrize(("num_tokens", "length"), [(0, 3 + 4 + 9), (4, 3 + 4 + 4), (1, 3 + 1 + 1)])
def test_a_picture_takes_as_many_slots_as_the_adapter_makes_of_it(num_tokens, length):
    assert _drafter(num_tokens).start(_assignment()).voice._session.length == length


@torch.inference_mode()
def test_it_reads_words_and_pictures_in_their_order():
    drafter, assignment = _drafter(4), _assignment()
    drafting = drafter.start(assignment)
    word, seen = drafter.executor.embedding.weight, assignment.embeddings
    first, second = drafter.adapter.read(seen[2:6]), drafter.adapter.read(seen[9:18])
    expected = torch.cat([word[5:6], first, word[6:7], second, word[7:8]])
    voice = drafting.voice
    (view,) = voice._views
    torch.testing.assert_close(voice._inputs([view], len(view.ids)).extras["inputs_embeds"][0], expected)
    late = view.extended((), len(view.ids) - 3)
    torch.testing.assert_close(voice._inputs([late], len(late.ids)).extras["inputs_embeds"][0], expected[3:])


@torch.inference_mode()
def test_another_picture_makes_another_draft():
    drafts = {_drafter().start(_assignment(seed)).propose([8], 5).tree.tokens for seed in range(4)}
    assert len(drafts) > 1


@torch.inference_mode()
def test_pictures_that_no_longer_fit_its_context_are_forgotten():
    drafting = _drafter(context=24).start(_assignment())
    answer = [1]
    for token in range(30):
        assert len(drafting.propose(answer, 5).tree) == 5
        drafting.observe(Verdict((), token), None)
        answer.append(token)


def test_a_target_of_another_width_is_refused():
    with pytest.raises(DrafterError, match="of width 12, the target's have 20"):
        _drafter().start(_assignment(width=20))
