"""Runs any transformers decoder or vision-language model on slots, without touching its code.

One sequence goes through the model with a tree's mask and positions. Several go side by side as one row: the model's
layers see one long text, and its attention, called per slot, sees each slot's own keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from seeahead.executor import ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.fuse import FusedDecoder, fused_decoder
from seeahead.executors.packing import PackedCache, per_slot_attention
from seeahead.executors.reading import FamilyExecutor, FamilyLike, language_inputs
from seeahead.executors.rows import Packed, packed
from seeahead.executors.slots import OnTorchSlots, SlotCache, TorchSlot
from seeahead.tree import ROOT


class TransformersExecutor(OnTorchSlots, FamilyExecutor):
    """The model of a family as an `Executor`."""

    def __init__(self, family: FamilyLike) -> None:
        super().__init__(family, family.dtype)
        self._fused: FusedDecoder | None = None
        self._wants_fused = False
        self.can_pack: bool | None = None
        """Whether several slots go through the model as one row; None: not tried yet."""

    @property
    def name(self) -> str:
        return "transformers" if self._fused is None else "transformers, fused"

    def fuse(self) -> bool:
        """Let passes over trees run through fused projections where the language model is a plain Llama.

        Says whether it was. The model's weights become views of fused ones: for models that nobody else rearranges.
        What is fused stays so when the model has changed.
        """
        self._wants_fused = True
        self._fused = fused_decoder(self.family.model)
        return self._fused is not None

    def follow(self) -> None:
        self.can_pack = None
        if self._wants_fused:
            self.fuse()

    def separate(self) -> bool:
        if self._fused is None:
            self.can_pack = False
        return self._fused is None

    def is_current(self) -> bool:
        """Whether fused projections, where there are some, still are what the model's own are."""
        return self._fused is None or self._fused.is_current()

    def open(self, capacity: int) -> TorchSlot:
        return TorchSlot(self.family.text_config.num_hidden_layers, capacity)

    def most_nodes(self, slot: Slot) -> int | None:
        assert isinstance(slot, TorchSlot)
        return self.family.most_nodes(slot.length + slot.shift)

    @torch.inference_mode()
    def ready(self, inputs: ModelInputs) -> ModelInputs:
        self.family.check_length(inputs.length)
        if self._fused is None:
            return replace(inputs, indivisible=self.family.indivisible(inputs))
        indivisible = 0 if self.family.can_cut else inputs.length
        read = language_inputs(self.family, inputs).embeddings
        return ModelInputs(inputs.token_ids, {"inputs_embeds": read}, indivisible)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        for prompt in prompts:
            self.family.check_length(prompt.slot.length + prompt.inputs.length)
        if self._fused is None:
            return [self._prefill(prompt.slot, prompt.inputs, want) for prompt in prompts]
        ready = [
            prompt if "inputs_embeds" in prompt.inputs.extras else replace(prompt, inputs=self.ready(prompt.inputs))
            for prompt in prompts
        ]
        return self._fused.decoder.prefill(ready, want)

    def _prefill(self, slot: Slot, inputs: ModelInputs, want: Want) -> Scores:
        assert isinstance(slot, TorchSlot)
        family = self.family
        if slot.length:  # after the first part there are words alone, as in an answer
            words = TreeInputs(slot, inputs.token_ids[0].tolist(), range(ROOT, inputs.length - 1))
            row = packed([words], family.device)
            scores = self._pass(row, slot.cache, want, **self._last_logits(want))
            slot.commit(range(inputs.length))
            return replace(scores, logits=scores.logits[-1:].clone())  # a view would keep all of them with the answer
        extras = dict(inputs.extras)
        positions = family.prompt_positions(inputs)
        if positions is not None:
            # A fourth row, where there is one, comes first and counts tokens.
            slot.shift = int(positions[-3:].max()) + 1 - inputs.length
            extras["position_ids"] = positions
        with family.faults_told():
            scores = self._run(want, slot.cache, input_ids=inputs.token_ids, **extras, **self._last_logits(want))
        slot.length = inputs.length
        return Scores(scores.logits[-1:].clone(), scores.features, scores.embeddings)

    def _last_logits(self, want: Want) -> Mapping[str, int]:
        """What asks the model for the last logits alone. Layers that share keys then read the last token alone, where
        their hidden states are wanted too."""
        shares = bool(getattr(self.family.text_config, "num_kv_shared_layers", 0))
        return {} if shares and want.layers else self.family.last_logits_only

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        if len(trees) > 1 and self._fused is None and (self.can_pack is False or self.family.passes_alone):
            return [self.forward([tree], want)[0] for tree in trees]
        row = packed(trees, self.family.device)
        if self._fused is not None:
            return self._fused.decoder.score(row, want)
        if len(trees) == 1:
            return [self._pass(row, row.slots[0].cache, want)]
        cache, is_first = PackedCache(row), self.can_pack is None
        try:
            with self.family.alone(), per_slot_attention(self.family.text_config, cache):
                scores = self._pass(row, cache, want).split(row.bounds)
        except Exception as error:  # whatever a model's code makes of a row that it was not written for
            # Another thread may have found out meanwhile: what was a first try stays one.
            if not is_first or isinstance(error, torch.OutOfMemoryError):
                raise
            self.can_pack = False
        else:
            if self.can_pack is None:
                self.can_pack = cache.was_attended()
            if self.can_pack:
                return scores
        # Its attention cannot be called per slot: its slots run one by one, as if this pass had not been asked for.
        for slot, first, end in row.parts:
            slot.forget(end - first)
        return self.forward(trees, want)

    def _pass(self, row: Packed, cache: SlotCache | PackedCache, want: Want, **further: Any) -> Scores:
        assert row.embeddings is None, "the model itself looks tokens up"
        family = self.family
        if family.reads_places and row.visible is not None:
            # Such layers add this to the columns of their tokens.
            cache.places = row.positions[0] - torch.arange(row.bounds[-1], device=row.positions.device)
        try:
            mask = None if row.visible is None else family.masks(row.visible)
            positions = family.positions(row.positions)
            asked = {"input_ids": row.tokens, "position_ids": positions, "attention_mask": mask, **further}
            return self._run(want, cache, **asked)
        finally:
            cache.places = None

    def _run(self, want: Want, cache: SlotCache | PackedCache, **arguments: Any) -> Scores:
        family = self.family
        arguments[family.cache_argument] = cache
        # Where the parts of a decoder have other names, all its hidden states are asked for.
        has_parts = all(hasattr(family.model.get_decoder(), name) for name in ("layers", "norm"))
        asked = Want() if not has_parts else want
        with family.alone(), _kept(family.model, asked) as kept:
            outputs = family.model(use_cache=True, output_hidden_states=asked != want, **arguments)
        if asked != want:
            kept = dict(enumerate(outputs.hidden_states)) | {-1: outputs.hidden_states[-1]}
        # Of a model on several devices each layer has its own; drafters are where the first one is.
        features = {layer: kept[layer][0].to(family.device) for layer in want.layers}
        return Scores(outputs.logits[0], features, kept[0][0].to(family.device) if want.embeddings else None)


@contextmanager
def _kept(model: Any, want: Want) -> Iterator[dict[int, torch.Tensor]]:
    """The hidden states of one pass that are wanted, by layer: hooks that go with it. One pass runs at a time."""
    kept: dict[int, torch.Tensor] = {}
    layers = (*want.layers, 0) if want.embeddings else want.layers
    if not layers:
        yield kept
        return
    decoder = model.get_decoder()
    handles = [_keep(decoder, layer, kept) for layer in dict.fromkeys(layers)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _keep(decoder: Any, layer: int, kept: dict[int, torch.Tensor]) -> Any:
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept[layer] = args[0] if args else kwargs["hidden_states"]

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept[layer] = output

    if layer == -1:
        return decoder.norm.register_forward_hook(after)
    return decoder.layers[layer].register_forward_pre_hook(before, with_kwargs=True)
