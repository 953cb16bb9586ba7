"""The proof before the first answer: it holds for every family, and deliberate faults are refused."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from seeahead import proof
from seeahead.errors import ModelError
from seeahead.executors.llama import Llama
from seeahead.executors.slots import SlotCache, TorchSlot
from seeahead.executors.transformers import TransformersExecutor
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.testing import tiny_model
from tests.lossless.cases import FAMILIES, image_counts, prompt, target


def findings(model_type):
    family = target(model_type)
    prompts = proof.prompts_for(family)
    if image_counts(model_type)[0]:
        prompts.append(("an image", prompt(model_type, 1)))
    return proof.prove(family, prompts)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_it_holds(model_type):
    held = proof.require(findings(model_type))
    assert len(held) >= (6 if image_counts(model_type)[0] else 3)
    assert max(finding.error for finding in held) < 1e-4


def empty_cache(monkeypatch):
    """A release renames the argument: the model swallows ours and starts anew at every pass."""
    run, score = TransformersExecutor._run, Llama.score

    def without(self, want, cache, *, attention_mask=None, **arguments):
        mask = attention_mask
        if mask is not None:
            new = arguments["input_ids"].shape[1]
            kinds = mask if isinstance(mask, dict) else {None: mask}
            kinds = {kind: one[..., -new:] for kind, one in kinds.items()}
            mask = kinds if isinstance(mask, dict) else kinds[None]
        empty = SlotCache(self.family.text_config.num_hidden_layers, 8)
        return run(self, want, empty, attention_mask=mask, **arguments)

    def fused_without(self, trees, want):
        (slot,) = trees.slots
        kept, slot.cache = slot.cache, deepcopy(slot.cache)
        slot.cache.keep(0, [])
        visible = None if trees.visible is None else trees.visible[..., -trees.tokens.shape[1] :]
        scores = score(self, replace(trees, visible=visible), want)
        slot.cache = kept
        kept.extend(trees.tokens.shape[1])
        return scores

    monkeypatch.setattr(TransformersExecutor, "_run", without)
    monkeypatch.setattr(Llama, "score", fused_without)


def mask_off_by_one(monkeypatch):
    visible = TorchSlot.visible

    def shifted(self, number):
        mask = visible(self, number).clone()
        mask[..., :-1] |= mask[..., 1:]  # whoever is seen, is seen with the one before
        return mask

    monkeypatch.setattr(TorchSlot, "visible", shifted)


def depth_not_added(monkeypatch):
    positions = TorchSlot.positions
    monkeypatch.setattr(TorchSlot, "positions", lambda self, number: [min(positions(self, number))] * number)


def rows_ignored(monkeypatch):
    keep = SlotCache.keep
    monkeypatch.setattr(SlotCache, "keep", lambda self, start, rows: keep(self, start, range(len(rows))))


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


@pytest.mark.parametrize("model_type", ["llava", "qwen3_vl", "llama"])
def test_a_whole_pass_makes_logits_of_the_tokens_that_are_compared_alone(model_type):
    """Of a long prompt and a vocabulary of 256,000 tokens all of them are gigabytes."""
    family, rows = family_for(tiny_model(model_type)), []
    inputs, tokens = family.text_inputs(torch.tensor([[5, 6, 7, 8, 9]])), [50, 60, 70]
    with torch.inference_mode():
        whole = family.model(input_ids=inputs.extended(tokens, family.answer_type).token_ids, use_cache=False).logits
    head = family.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, given, logits: rows.append(logits.shape[1]))
    found = proof.whole_pass(family, inputs, tokens, 2)
    handle.remove()
    assert rows == [2]
    torch.testing.assert_close(found, whole[0, -2:], atol=1e-5, rtol=1e-5)
