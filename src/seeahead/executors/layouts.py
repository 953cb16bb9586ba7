"""How a captured pass lays out keys, and what each of its rows sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeahead.executors.regions import RegionCache, RegionSlot, power_of_two

ROWS = (1, 2, 4, 8, 16, 32, 64)
"""Of captured passes."""


class Sizes(NamedTuple):
    """Of a pass: rows, lines of numbers that say what these see, columns that they look at; whether others will have
    the same, so that it is captured."""

    rows: int
    lines: int
    columns: int
    is_fixed: bool


class Rows(NamedTuple):
    """What the new rows of one slot see: two numbers [new] and lines of more [lines, new], as its layout reads them."""

    low: Tensor
    high: Tensor
    lines: Tensor


class Layout:
    """How a pass lays out its keys, and what rows see of these: all slots look at the same columns, and masks hide what
    is not theirs.

    Each key is read once, whosever it is: on a GPU that is what a pass over few rows costs."""

    name = "graphs"
    is_alone = False
    """Whether a pass has one slot, from column 0 on."""

    def sizes(self, slots: Sequence[RegionSlot], num_new: int) -> Sizes:
        lines, columns = max(slot.num_pending for slot in slots), max(slot.end for slot in slots)
        rows = next((rows for rows in ROWS if rows >= max(num_new, lines)), None)
        return Sizes(num_new, lines, columns, False) if rows is None else Sizes(rows, rows, power_of_two(columns), True)

    def rows(self, slot: RegionSlot, number: int, num_lines: int) -> Rows:
        """From its first to its last committed column, and of the pending ones those that the lines say."""
        first = torch.full((number,), slot.first)
        return Rows(first, first + slot.length, slot.visible(number).T)

    def visible(self, rows: Rows, num_columns: int) -> Tensor:
        """[1, rows, keys in the order of the layout]."""
        columns, first, end = torch.arange(num_columns, device=rows.low.device), rows.low[:, None], rows.high[:, None]
        place, most = columns - end, len(rows.lines) - 1
        pending = rows.lines.T.gather(1, place.clamp(0, most)).bool() & (place >= 0) & (place <= most)
        return (pending | ((columns >= first) & (columns < end)))[None]

    @staticmethod
    def bounds(rows: Rows, num_columns: int) -> Tensor:
        """[2]: columns that any row sees lie from the first to before the second."""
        return torch.stack([rows.low.amin(), (rows.high.amax() + len(rows.lines)).clamp_max(num_columns)])

    def attend(
        self,
        cache: RegionCache,
        lines: Tensor,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        scaling: float | None = None,
        **settings: Any,
    ) -> tuple[Tensor, None]:
        """`attending.Attention`, with `Rows.lines` of all rows.

        Heads that share keys become rows: transformers would copy the keys for each."""
        _, heads, rows, width = query.shape
        if cache.kernels is not None and rows <= cache.kernels.MOST_ROWS:
            scale = width**-0.5 if scaling is None else scaling
            mixed = cache.kernels.attention(query[0], key[0], value[0], attention_mask[0, 0], cache.bounds, scale)
            return mixed[None], None
        num_shared = heads // key.shape[1]
        folded, mask = query.reshape(1, key.shape[1], num_shared * rows, -1), attention_mask.repeat(1, 1, num_shared, 1)
        mixed = F.scaled_dot_product_attention(folded, key, value, mask, scale=scaling)
        return mixed.reshape(1, heads, rows, -1).transpose(1, 2), None

    def most_nodes(self, slot: RegionSlot) -> int | None:
        return None
