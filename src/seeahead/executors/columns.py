"""Slots as rows of a state that several share: a slot's tokens lie in columns of its row, and a mask says what each new
token sees of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from seeahead.executors.slots import TreeSlot

if TYPE_CHECKING:
    from seeahead.executors.groups import Group

ALL = ""
"""Every type of layer."""
_HIDDEN = np.float32(torch.finfo(torch.float32).min)


AnySlot = TypeVar("AnySlot", bound=TreeSlot)


class ColumnSlot(TreeSlot):
    """A slot as columns of a row of a state: those committed, in their order, then those pending.

    `group`: whose state that is; None before the first token and after the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.columns = np.empty(0, np.int64)
        self.group: Group | None = None

    def leave(self) -> None:
        """The slot is not used again."""
        self.columns, self.group = self.columns[:0], None

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
class Table:
    """The parts of a pass: side by side for what treats tokens one by one, a row per slot for attention.

    `rows`: the slots of the state, which has `num_columns` before the pass. Every row grows by as many columns as the
    largest part has tokens; what is no token of its slot is hidden.
    """

    parts: Sequence[Part[ColumnSlot]]
    rows: Sequence[ColumnSlot]
    num_columns: int

    @property
    def bounds(self) -> list[int]:
        """Where each part begins side by side, and the end."""
        return [0, *accumulate(len(part.embeddings) for part in self.parts)]

    @property
    def num_new(self) -> int:
        """Columns that every row grows by."""
        return max(len(part.embeddings) for part in self.parts)

    def row(self, part: Part[ColumnSlot]) -> int:
        return next(number for number, slot in enumerate(self.rows) if slot is part.slot)

    def spread(self) -> Any:
        """[rows, new columns]: which token, counted side by side, a place holds; where none belongs, the first."""
        places = np.zeros((len(self.rows), self.num_new), np.int64)
        for part, (first, end) in zip(self.parts, pairwise(self.bounds), strict=True):
            places[self.row(part), : end - first] = np.arange(first, end)
        return places

    def gathered(self) -> Any:
        """[tokens]: the place of each token, counted row by row."""
        own = (self.row(part) * self.num_new + np.arange(len(part.embeddings)) for part in self.parts)
        return np.concatenate(list(own))

    def columns(self, part: Part[ColumnSlot]) -> Any:
        """Of the part's slot, its new tokens last."""
        new = np.arange(self.num_columns, self.num_columns + len(part.embeddings))
        return np.concatenate([part.slot.columns, new])

    def mask(self, kind: str, narrowed: Callable[[str, Tensor], Tensor]) -> Any:
        """[rows, 1, new columns, all columns], to be added to the scores of a layer of this type."""
        mask = np.full((len(self.rows), 1, self.num_new, self.num_columns + self.num_new), _HIDDEN, np.float32)
        for part in self.parts:
            own = mask[self.row(part), 0, : len(part.embeddings)]
            own[:, self.columns(part)] = np.where(part.seen(kind, narrowed).numpy(), np.float32(0), _HIDDEN)
        return mask

    def embeddings(self) -> Any:
        return _numbers([part.embeddings for part in self.parts])

    def positions(self) -> Any:
        """[axes, 1, tokens]."""
        return torch.cat([part.positions for part in self.parts], 1)[:, None].numpy()

    def addition(self, layer: int) -> Any:
        added = [part.additions for part in self.parts]
        pairs = zip(added, self.parts, strict=True)
        return _numbers([torch.zeros_like(part.embeddings) if own is None else own[layer] for own, part in pairs])

    def take(self) -> None:
        """The state has the new tokens: so have the slots, as pending ones."""
        for part in self.parts:
            part.slot.columns = self.columns(part)


def _numbers(states: Sequence[Tensor]) -> Any:
    return torch.cat(list(states))[None].float().numpy()
