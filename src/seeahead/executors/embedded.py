"""What executors of a language model on embeddings share; the model's own code makes these of images and words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from seeahead.executor import ModelInputs, PromptInputs, Scores, Slot, Want
from seeahead.executors.reading import FamilyExecutor, FamilyLike, as_read, language_inputs, looked_up
from seeahead.executors.slots import TreeSlot

_VISIBLE = "visible."
ALL = ""
"""Every type of layer."""
AnySlot = TypeVar("AnySlot", bound=TreeSlot)


@dataclass(frozen=True)
class Part(Generic[AnySlot]):
    """What one slot brings to a pass: `embeddings` [new, width], as the language model is given them, and `positions`
    [axes, new].

    `visible`, by type of layer or for ALL: which tokens that are not committed each new one sees [new, pending + new].
    `additions` [layers, new, width].
    """

    slot: AnySlot
    embeddings: Tensor
    positions: Tensor
    visible: Mapping[str, Tensor]
    additions: Tensor | None = None

    def seen(self, kind: str, narrowed: Callable[[str, Tensor], Tensor]) -> Tensor:
        """[new, all tokens of the slot], in a layer of this type."""
        own = self.visible.get(kind)
        pending = self.visible[ALL] if own is None else own
        seen = torch.cat([pending.new_ones(len(pending), self.slot.length), pending], 1)
        # A mask that the model made itself knows its window already.
        return narrowed(kind, seen[None])[0] if own is None else seen


def obstacles_of(family: FamilyLike) -> Iterator[str]:
    """Why the language model of a family cannot run on embeddings alone."""
    if family.reads_places:
        yield "its layers read places off the cache"
    if getattr(family.text_config, "hidden_size_per_layer_input", 0):
        yield "its layers have inputs of their own beside embeddings"
    if not all(hasattr(family.model.get_decoder(), name) for name in ("layers", "norm")):
        yield "its decoder has other parts than layers and a norm"


class EmbeddedExecutor(FamilyExecutor, ABC, Generic[AnySlot]):
    """How such an executor reads prompts; passes are its own."""

    slot_type: type[AnySlot]
    """Of the slots that it opens."""

    most_read: ClassVar[int] = 512
    """Tokens of a prompt in one pass, where it may be cut: a mask grows with their number times all tokens."""

    def __init__(self, family: FamilyLike, computes_in: torch.dtype) -> None:
        super().__init__(family, computes_in)
        visual = getattr(family.model.config, "vision_config", None)
        self._num_additions = len(getattr(visual, "deepstack_visual_indexes", None) or ())
        self._num_axes = len(family.positions(torch.zeros(1, 1)))
        self._kinds = family.layer_types

    def most_nodes(self, slot: Slot) -> int | None:
        own = self._own(slot)
        return self.family.most_nodes(own.length + own.shift)

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        self._own(slot).commit(path)

    def cut(self, slot: Slot, length: int) -> None:
        self._own(slot).cut(length)

    def _own(self, slot: Slot) -> AnySlot:
        assert isinstance(slot, self.slot_type), "a slot is used with the executor that opened it"
        return slot

    @abstractmethod
    def _run(self, part: Part[AnySlot], want: Want) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits [1, vocabulary] after the last token of a part of a prompt, and the hidden states wanted of all of
        them, which are pending afterwards."""

    @torch.inference_mode()
    def ready(self, inputs: ModelInputs) -> ModelInputs:
        family = self.family
        family.check_length(inputs.length)
        read, positions = language_inputs(family, inputs), family.prompt_positions(inputs)
        shift = torch.zeros(1, dtype=torch.int64)
        if positions is None:
            positions = family.positions(torch.arange(inputs.length)[None])
        else:
            positions = positions[-3:]  # a fourth row, where there is one, comes first and counts tokens
            shift[0] = int(positions.max()) + 1 - inputs.length
        positions = positions.reshape(self._num_axes, inputs.length).cpu()
        extras = {"inputs_embeds": read.embeddings, "positions": positions.T[None], "shift": shift}
        if read.additions is not None:
            extras["additions"] = read.additions.transpose(0, 1)[None]
        extras |= {f"{_VISIBLE}{kind}": visible for kind, visible in read.visible.items()}
        is_whole = bool(read.visible) or not family.can_cut or family.crosses_border(0, inputs.length)
        indivisible = family.indivisible(inputs) if is_whole else 0
        return ModelInputs(inputs.token_ids, extras, indivisible)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        return [self._read(prompt, want) for prompt in prompts]

    def _read(self, prompt: PromptInputs, want: Want) -> Scores:
        """In passes of its own: a prompt keeps the processor busy, and beside others it would attend over theirs."""
        inputs, begins = self._readied(prompt).inputs, self._own(prompt.slot).length
        is_whole = any(name.startswith(_VISIBLE) for name in inputs.extras)
        is_whole |= self.family.crosses_border(begins, inputs.length)
        bounds = [0, *(() if is_whole else range(self.most_read, inputs.length, self.most_read)), inputs.length]
        parts = [inputs if len(bounds) == 2 else inputs.part(*pair) for pair in pairwise(bounds)]
        done = [self._read_part(replace(prompt, inputs=part), want) for part in parts]
        features = {layer: torch.cat([part.features[layer] for part in done]) for layer in want.layers}
        embedded = [part.embeddings for part in done if part.embeddings is not None]
        return Scores(done[-1].logits, features, torch.cat(embedded) if embedded else None)

    def _readied(self, prompt: PromptInputs) -> PromptInputs:
        """With embeddings, if it begins its slot. Raises InputError where it does not fit after what the slot holds."""
        slot, inputs = self._own(prompt.slot), prompt.inputs
        self.family.check_length(slot.length + inputs.length)
        begins = not slot.length and "inputs_embeds" not in inputs.extras
        return replace(prompt, inputs=self.ready(inputs)) if begins else prompt

    def _read_part(self, prompt: PromptInputs, want: Want) -> Scores:
        part = self._prompt_part(prompt)
        return self._taken(part, want, *self._run(part, want))

    def _taken(self, part: Part[AnySlot], want: Want, logits: Tensor, features: dict[int, Tensor]) -> Scores:
        """What a pass says of a part, which the slot holds from now on."""
        part.slot.length += len(part.embeddings)
        embedded = as_read(self.family.model, part.embeddings).to(self.limits.dtype) if want.embeddings else None
        return Scores(logits, features, embedded)

    def _prompt_part(self, prompt: PromptInputs) -> Part[AnySlot]:
        slot, extras, length = self._own(prompt.slot), prompt.inputs.extras, prompt.inputs.length
        causal = torch.ones(length, length, dtype=torch.bool, device=self.family.device).tril()
        embeddings = extras.get("inputs_embeds")
        if embeddings is None:  # words after what was read before
            places = torch.arange(slot.length, slot.length + length) + slot.shift
            return Part(
                slot, looked_up(self.family.model, prompt.inputs.token_ids[0]), self._positions(places), {ALL: causal}
            )
        if "shift" in extras:
            slot.shift = int(extras["shift"][0])
        given = {name: value for name, value in extras.items() if name.startswith(_VISIBLE)}
        visible = {name[len(_VISIBLE) :]: value[:length, :length] for name, value in given.items()}
        added = extras.get("additions")
        additions = None if added is None else added[0].transpose(0, 1)
        return Part(slot, embeddings[0], extras["positions"][0].T, {ALL: causal, **visible}, additions)

    def _positions(self, places: Tensor) -> Tensor:
        """[axes, tokens], as the model takes them, of words at `places` [tokens]."""
        return self.family.positions(places[None]).reshape(self._num_axes, len(places))
