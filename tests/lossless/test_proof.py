"""The proof before the first answer: it holds for every family, and deliberate faults are refused."""

import pytest
import torch

from seeahead import proof
from seeahead.cache import SessionCache
from seeahead.errors import ModelError
from seeahead.families.base import Family
from seeahead.session import Session
from seeahead.testing import VISION_FAMILIES
from tests.lossless.cases import FAMILIES, plain_type, prompt, target


def findings(model_type):
    family = target(model_type)
    prompts = proof.prompts_for(family)
    if plain_type(model_type) in VISION_FAMILIES:
        prompts.append(("an image", prompt(model_type, 1)))
    return proof.prove(family, prompts)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_it_holds(model_type):
    held = proof.require(findings(model_type))
    assert len(held) >= (6 if plain_type(model_type) in VISION_FAMILIES else 3)
    assert max(finding.error for finding in held) < 1e-4


def empty_cache(monkeypatch):
    """A release renames the argument: the model swallows ours and starts anew at every pass."""
    forward = Family.forward

    def without(self, tokens, positions, visible, cache, *rest, **more):
        mask = None if visible is None else visible[..., -tokens.shape[1] :]
        return forward(
            self, tokens, positions, mask, SessionCache(self.text_config.num_hidden_layers, 8), *rest, **more
        )

    monkeypatch.setattr(Family, "forward", without)


def mask_off_by_one(monkeypatch):
    visible = Session._visible

    def shifted(self, first):
        mask = visible(self, first).clone()
        mask[..., :-1] |= mask[..., 1:]  # whoever is seen, is seen with the one before
        return mask

    monkeypatch.setattr(Session, "_visible", shifted)


def depth_not_added(monkeypatch):
    forward = Family.forward

    def flat(self, tokens, positions, *rest, **more):
        return forward(self, tokens, positions.amin(-1, keepdim=True).expand_as(positions).clone(), *rest, **more)

    monkeypatch.setattr(Family, "forward", flat)


def rows_ignored(monkeypatch):
    keep = SessionCache.keep
    monkeypatch.setattr(SessionCache, "keep", lambda self, start, rows: keep(self, start, range(len(rows))))


def window_by_column(monkeypatch):
    visible_in = Family.visible_in

    def by_column(self, kind, visible):
        if kind != "sliding_attention":
            return visible_in(self, kind, visible)
        columns = torch.arange(visible.shape[-1], device=visible.device)
        own = columns[-visible.shape[-2] :, None]
        return visible & (columns > own - self.text_config.sliding_window)

    monkeypatch.setattr(Family, "visible_in", by_column)


@pytest.mark.parametrize(
    ("fault", "families", "told"),
    [
        (empty_cache, ("llava", "qwen3_vl", "gemma3", "llama fused"), "a tree after text"),
        (mask_off_by_one, ("llava", "qwen2_vl", "idefics3", "qwen3"), "a tree after text"),
        (depth_not_added, ("llava", "qwen2_5_vl", "internvl", "mistral"), "a tree after text"),
        (rows_ignored, ("llava_next", "qwen2_vl", "gemma3", "llama"), "a second tree, after a commit, after text"),
        (window_by_column, ("llava_next", "qwen2_vl", "gemma3", "mistral"), "tree.* after"),
    ],
)
def test_a_fault_is_refused(fault, families, told, monkeypatch):
    fault(monkeypatch)
    for model_type in families:
        with pytest.raises(ModelError, match=told) as caught:
            proof.require(findings(model_type))
        assert "\n" not in str(caught.value)
