"""Slots as columns of one state that all of them share: what each new token sees is said by a mask over all columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from seeahead.executors.slots import TreeSlot

ALL = ""
"""Every type of layer."""
_HIDDEN = np.float32(torch.finfo(torch.float32).min)


AnySlot = TypeVar("AnySlot", bound=TreeSlot)


class ColumnSlot(TreeSlot):
    """A slot as columns of a state: those committed, in their order, then those pending."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = np.empty(0, np.int64)

    def commit(self, path: Sequence[int]) -> None:
        committed, pending = np.split(self.columns, [self.length])
        self.columns = np.concatenate([committed, pending[list(path)]])
        super().commit(path)

    def cut(self, length: int) -> None:
        self.columns = self.columns[:length]
        super().cut(length)


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


@dataclass(frozen=True)
class Row:
    """The parts of a pass side by side, after `num_columns` that the state has."""

    parts: Sequence[Part[ColumnSlot]]
    num_columns: int

    @property
    def bounds(self) -> list[int]:
        """Where each part begins, and the end."""
        return [0, *accumulate(len(part.embeddings) for part in self.parts)]

    @property
    def columns(self) -> list[Any]:
        """Of each part's slot, its new tokens last."""
        places = pairwise(self.num_columns + bound for bound in self.bounds)
        own = (part.slot.columns for part in self.parts)
        return [np.concatenate([old, np.arange(*new)]) for old, new in zip(own, places, strict=True)]

    def mask(self, kind: str, narrowed: Callable[[str, Tensor], Tensor]) -> Any:
        """[1, 1, new, all columns], to be added to the scores of a layer of this type."""
        bounds = self.bounds
        mask = np.full((1, 1, bounds[-1], self.num_columns + bounds[-1]), _HIDDEN, np.float32)
        for part, (first, end), columns in zip(self.parts, pairwise(bounds), self.columns, strict=True):
            mask[0, 0, first:end, columns] = np.where(part.seen(kind, narrowed).numpy().T, np.float32(0), _HIDDEN)
        return mask

    def embeddings(self) -> Any:
        return _numbers([part.embeddings for part in self.parts])

    def positions(self) -> Any:
        """[axes, 1, new]."""
        return torch.cat([part.positions for part in self.parts], 1)[:, None].numpy()

    def addition(self, layer: int) -> Any:
        added = [part.additions for part in self.parts]
        pairs = zip(added, self.parts, strict=True)
        return _numbers([torch.zeros_like(part.embeddings) if own is None else own[layer] for own, part in pairs])

    def take(self) -> None:
        """The state has the new tokens: so have the slots, as pending ones."""
        for part, columns in zip(self.parts, self.columns, strict=True):
            part.slot.columns = columns


def _numbers(states: Sequence[Tensor]) -> Any:
    return torch.cat(list(states))[None].float().numpy()
