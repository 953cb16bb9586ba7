"""What a model's own code makes of a prompt before its language model runs: embeddings, masks, and what layers add.

The model runs as far as its language model, whose arguments are looked at; so whatever a family does with images
(places, scales, towers, masks) is done by the model itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead.executor import Limits, ModelInputs


class FamilyLike(Protocol):
    """A model and what is particular about it: a family (`families/base.py`), as executors know it."""

    model: PreTrainedModel
    text_config: Any
    vocab_size: int
    max_length: int | None
    device: torch.device
    dtype: torch.dtype
    cache_argument: str
    last_logits_only: Mapping[str, int]
    can_cut: bool
    reads_places: ClassVar[bool]

    @property
    def width(self) -> int: ...
    @property
    def layer_types(self) -> tuple[str, ...]: ...
    @property
    def passes_alone(self) -> bool: ...
    def alone(self) -> AbstractContextManager[Any]: ...
    def faults_told(self) -> AbstractContextManager[None]: ...
    def check_length(self, length: int) -> None: ...
    def indivisible(self, inputs: ModelInputs) -> int: ...
    def crosses_border(self, length: int, num_more: int) -> bool: ...
    def most_nodes(self, position: int) -> int | None: ...
    def prompt_positions(self, inputs: ModelInputs) -> torch.Tensor | None: ...
    def positions(self, positions: torch.Tensor) -> torch.Tensor: ...
    def masks(self, visible: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]: ...
    def visible_in(self, kind: str, visible: torch.Tensor) -> torch.Tensor: ...
    def additive_mask(self, visible: torch.Tensor) -> torch.Tensor: ...


class FamilyExecutor:
    """What executors of a family's model have alike; passes are their own."""

    def __init__(self, family: FamilyLike, computes_in: torch.dtype) -> None:
        self.family, self._computes_in = family, computes_in
        self.precision = str(family.dtype).removeprefix("torch.")

    @property
    def limits(self) -> Limits:
        family = self.family
        return Limits(family.vocab_size, family.max_length, family.width, family.device, self._computes_in)

    @torch.inference_mode()
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return as_read(self.family.model, looked_up(self.family.model, tokens)).to(self._computes_in)

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        head: Any = self.family.model.get_output_embeddings()
        rows: torch.Tensor = head.weight.detach()[tokens.to(self.family.device)].to(self._computes_in)
        return rows


class _Reached(Exception):  # noqa: N818
    """A pass has come to the language model."""


@dataclass(frozen=True)
class LanguageInputs:
    """A prompt as its language model takes it.

    `embeddings` [1, tokens, width]. `visible`: by type of layer ("" for all), bool [tokens, tokens], where a prompt is
    not simply causal. `additions` [layers, tokens, width]: what is added after each of the first layers.
    """

    embeddings: torch.Tensor
    visible: Mapping[str, torch.Tensor] = field(default_factory=dict)
    additions: torch.Tensor | None = None


@torch.inference_mode()
def language_inputs(family: FamilyLike, inputs: ModelInputs) -> LanguageInputs:
    """Runs the family's model up to its language model. Raises InputError for what it finds wrong with images."""
    found: list[dict[str, Any]] = []
    own = threading.get_ident()

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == own:  # the user's own code may run the model in another thread
            found.append(kwargs)
            raise _Reached

    with family.faults_told(), family.alone():
        handle = family.model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with suppress(_Reached):
                family.model(input_ids=inputs.token_ids, **inputs.extras, use_cache=False)
        finally:
            handle.remove()
    [given] = found
    embedded = given.get("inputs_embeds")
    if embedded is None:
        return LanguageInputs(looked_up(family.model, inputs.token_ids))
    masks = given.get("attention_mask")
    named = masks if isinstance(masks, Mapping) else {"": masks}
    visible = {kind: _visible(mask) for kind, mask in named.items() if mask is not None and mask.ndim == 4}
    return LanguageInputs(embedded, visible, _additions(given, embedded))


def looked_up(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """What the language model is given for words [...]: [..., width]."""
    embedded: torch.Tensor = model.get_input_embeddings()(tokens)
    return embedded


def as_read(model: PreTrainedModel, embedded: torch.Tensor) -> torch.Tensor:
    """What its first layer reads of that: Granite scales it inside."""
    return embedded * float(getattr(model.config.get_text_config(), "embedding_multiplier", 1.0))


def _visible(mask: torch.Tensor) -> torch.Tensor:
    """Masks come as booleans, or as numbers to be added."""
    return (mask if mask.dtype == torch.bool else mask == 0)[0, 0]


def _additions(given: Mapping[str, Any], embedded: torch.Tensor) -> torch.Tensor | None:
    """Deepstack: what some layers of the image tower add to the first layers of the language model."""
    states, places = given.get("deepstack_visual_embeds"), given.get("visual_pos_masks")
    if not states or places is None:
        return None
    added = embedded.new_zeros(len(states), *embedded.shape[1:])
    for row, own in zip(added, states, strict=True):
        row[places[0]] = own.to(added.dtype)
    return added
