"""Embeddings of a prompt: its words' own, and visual ones at the placeholders, in every family."""

import pytest
import torch

from seeahead.session import Session
from tests.lossless.cases import FAMILIES, image_counts, prompt, target


@pytest.mark.parametrize("model_type", FAMILIES)
@torch.inference_mode()
def test_words_are_the_tables_and_images_are_not(model_type):
    family, inputs = target(model_type), prompt(model_type, image_counts(model_type)[0])
    scores = Session(family, 64).prefill(inputs, wants_embeddings=True)
    assert scores.features is None
    found, table = scores.embeddings[0], family.embed(inputs.token_ids)[0]
    placeholders = torch.isin(inputs.token_ids[0], torch.tensor(sorted(family.image_token_ids)))
    torch.testing.assert_close(found[~placeholders], table[~placeholders])
    is_own = (found - table).abs().amax(-1) < 1e-6
    assert bool(placeholders.any()) == bool(image_counts(model_type)[0])
    # Markers are words as well; of the placeholders themselves none is.
    assert not is_own[placeholders].any() or is_own[placeholders].float().mean() < 0.5
