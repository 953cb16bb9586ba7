"""Embeddings of a prompt: its words' own, and visual ones at the placeholders, in every family."""

import pytest
import torch

from seeahead.executor import Want
from seeahead.session import Session
from tests.lossless.cases import FAMILIES, image_counts, prompt, target


@pytest.mark.parametrize("model_type", FAMILIES)
@torch.inference_mode()
def test_words_are_the_tables_and_images_are_not(model_type):
    family, inputs = target(model_type), prompt(model_type, image_counts(model_type)[0])
    scores = Session(family.executor, 64).prefill(inputs, Want(embeddings=True))
    assert not scores.features
    found, table = scores.embeddings, family.executor.embed(inputs.token_ids)[0]
    placeholders = torch.isin(inputs.token_ids[0], torch.tensor(sorted(family.image_token_ids)))
    torch.testing.assert_close(found[~placeholders], table[~placeholders])
    is_own = (found - table).abs().amax(-1) < 1e-6
    assert bool(placeholders.any()) == bool(image_counts(model_type)[0])
    # Markers are words as well; of the placeholders themselves none is.
    assert not is_own[placeholders].any() or is_own[placeholders].float().mean() < 0.5
