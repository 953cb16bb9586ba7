"""The proof on the inputs that `generate` hands on, whose images it may have encoded before."""

import pytest
import torch

import seeahead
from seeahead import proof
from seeahead.testing import VISION_FAMILIES, tiny_inputs
from tests.lossless.cases import target


@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_it_holds_for_images_in_every_family(model_type, monkeypatch):
    shown, require = [], proof.require

    def watched(findings):
        held = require(findings)
        shown.extend(held)
        return held

    monkeypatch.setattr(proof, "require", watched)
    monkeypatch.setattr("seeahead.proven._path", lambda family, kind: None)
    inputs, model = tiny_inputs(model_type, 1), target(model_type).model
    mask = torch.ones_like(inputs.token_ids)
    loop = seeahead.custom_generate()
    output = model.generate(
        inputs.token_ids, attention_mask=mask, max_new_tokens=4, do_sample=False, custom_generate=loop, **inputs.extras
    )
    assert output.shape[1] == inputs.token_ids.shape[1] + 4
    assert any("an image" in finding.part for finding in shown)
    assert max(finding.error for finding in shown) < 1e-4
