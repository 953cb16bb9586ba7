"""What a slot brings to a pass of an executor on embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from seeahead.executors.slots import TreeSlot

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
