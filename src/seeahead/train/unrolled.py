"""A feature drafter read several tokens ahead, as it is when drafting: training-time test (Li et al. 2025, EAGLE-3).

At step s every taught slot is read with the feature that was guessed for the slot before it, after s guesses in a row:
it attends to the target's features up to the slot where these began, and to the guessed ones since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from seeahead.drafters.features import FeatureNetwork
from seeahead.executors.attention import attend, folded


@dataclass(frozen=True)
class Slate:
    """What a batch of texts is to a network. `x` [texts, slots, width]: what the layer reads, at `positions` [texts,
    slots]; `images` [texts, width]: what later text slots read of the last one, where they do.

    Of slots that are taught, which stand one after the other in each text, at (`rows`, `columns`): `embeddings`
    [taught, width] of their tokens."""

    x: Tensor
    positions: Tensor
    images: Tensor | None
    rows: Tensor
    columns: Tensor
    embeddings: Tensor


class GuessMemory:
    """Keys and values of one layer: of all slots, then of the taught ones at each step."""

    def __init__(self, columns: Tensor) -> None:
        """`columns` [texts, taught at most]: the slots that are taught."""
        self._columns = columns
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        self._keys.append(key)
        self._values.append(value)
        if len(self._keys) == 1:
            return attend(query, key, value, None)
        keys, values = torch.cat(self._keys, 2), torch.cat(self._values, 2)
        return attend(query, keys, values, folded(self._seen()[:, None], query, keys))

    def _seen(self) -> Tensor:
        """[texts, taught, all keys]: which of them a taught slot sees at this step."""
        step, (texts, number) = len(self._keys) - 1, self._columns.shape
        slots = torch.arange(self._keys[0].shape[2], device=self._columns.device)
        before = slots <= (self._columns - step)[..., None]
        before[..., 0] = True  # no row without a key, not even those that count for nothing
        own = torch.arange(number, device=self._columns.device)
        guessed = [own[None, :] == (own - step + later)[:, None] for later in range(1, step + 1)]
        return torch.cat((before, *(one.expand(texts, -1, -1) for one in guessed)), -1)


def guesses(network: FeatureNetwork, slate: Slate, ahead: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [places, width] guessed after taught slots, and which of these [places]: all, then `ahead` times those
    that as many guesses in a row lead to."""
    rows, columns = slate.rows, slate.columns
    counts = rows.bincount(minlength=len(slate.x))
    first = counts.cumsum(0) - counts
    place = torch.arange(len(rows), device=rows.device) - first[rows]
    lanes = torch.arange(int(counts.max()), device=rows.device)
    is_taught = lanes < counts[:, None]
    index = (first[:, None] + lanes).clamp_max(len(rows) - 1)  # [texts, taught at most]
    memory = GuessMemory(columns[index])
    guessed = network.decoder.run_at(slate.x, slate.positions, memory, rows, columns)
    yield guessed, torch.arange(len(rows), device=rows.device)
    lined, placed = guessed[index], slate.positions[rows, columns][index]
    images = None if slate.images is None else slate.images[:, None]
    for step in range(1, ahead + 1):
        x = network.text(slate.embeddings[index], lined.roll(1, 1), images)
        lined = network.decoder.run(x, placed, memory)
        taught = place >= step
        yield lined[is_taught & (lanes >= step)], taught.nonzero()[:, 0]
