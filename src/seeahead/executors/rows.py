"""Trees of several slots side by side, as one row of tokens: a pass costs what the tokens in it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch

from seeahead.executor import TreeInputs
from seeahead.executors.slots import TorchSlot


@dataclass(frozen=True)
class Packed:
    """The trees of one pass side by side, as one row: a pass costs what the tokens in it cost.

    `bounds`: where each slot's tokens begin, and the end. `visible` [1, tokens, longest slot] says which tokens of its
    own slot each token sees; None where there is one token, which sees all.
    """

    slots: tuple[TorchSlot, ...]
    bounds: tuple[int, ...]
    tokens: torch.Tensor
    embeddings: torch.Tensor | None
    positions: torch.Tensor
    visible: torch.Tensor | None

    @property
    def parts(self) -> Iterator[tuple[TorchSlot, int, int]]:
        """(slot, first token, end) in order."""
        for slot, (first, end) in zip(self.slots, pairwise(self.bounds), strict=True):
            yield slot, first, end


def packed(trees: Sequence[TreeInputs], device: torch.device) -> Packed:
    """Adds the trees' nodes to their slots as pending ones, and lays them side by side."""
    slots: list[TorchSlot] = []
    for tree in trees:
        assert isinstance(tree.slot, TorchSlot), "a slot is used with the executor that opened it"
        tree.slot.add(tree.parents)
        slots.append(tree.slot)
    assert len(set(map(id, slots))) == len(slots), "a slot takes part in a pass once"
    counts = [len(tree.parents) for tree in trees]
    places = [place for slot, count in zip(slots, counts, strict=True) for place in slot.positions(count)]
    positions = torch.tensor([places], device=device)
    embeddings = None
    if any(isinstance(tree.tokens, torch.Tensor) for tree in trees):
        embeddings = torch.cat([torch.as_tensor(tree.tokens) for tree in trees])[None]
        tokens = torch.zeros_like(positions)
    else:
        tokens = torch.tensor([[int(token) for tree in trees for token in tree.tokens]], device=device)
    sees_all = len(slots) == 1 and slots[0].is_chain(counts[0])
    visible = None if sees_all else _visible(slots, counts, device)
    return Packed(tuple(slots), (0, *accumulate(counts)), tokens, embeddings, positions, visible)


def _visible(slots: Sequence[TorchSlot], counts: Sequence[int], device: torch.device) -> torch.Tensor:
    longest = max(slot.length + slot.num_pending for slot in slots)
    visible = np.zeros((1, sum(counts), longest), np.bool_)  # whose writes cost a tenth of torch's
    first = 0
    for slot, count in zip(slots, counts, strict=True):
        rows = visible[0, first : first + count]
        rows[:, : slot.length] = True
        rows[:, slot.length : slot.length + slot.num_pending] = slot.visible(count).numpy()
        first += count
    return torch.from_numpy(visible).to(device)
