"""A layout in which a row's bits do not depend on what else is in its pass, so that 16-bit answers are identical too.

A row gets the bits that plain decoding gives it. All passes have as many rows; of each row the last keys are gathered
in the order of its own path, from a place on that its position alone decides; and so many columns are looked at as its
position alone decides. So what rounds differently in another order is never summed in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seeahead.compat import attention_of
from seeahead.errors import ModelError
from seeahead.executors.graphs import GraphsExecutor
from seeahead.executors.layouts import Layout, Rows, Sizes
from seeahead.executors.reading import FamilyLike
from seeahead.executors.regions import RegionCache, RegionSlot, power_of_two

ROWS = 16
"""Of every pass: a root and as many nodes as drafts have."""
_BLOCK = 16
"""A row's own keys begin at a multiple of this."""


class Exact(Layout):
    """Keys before a row's last block are looked at where they lie, its block and its path as `Rows.lines` say."""

    name = "exact"
    is_alone = True

    def sizes(self, slots: Sequence[RegionSlot], num_new: int) -> Sizes:
        """Passes that are too large, which nobody asks of a target, have sizes of their own, and bits too."""
        columns = power_of_two(slots[0].length + 1)
        fits = slots[0].num_pending <= ROWS
        rows, reach = (ROWS, ROWS) if fits else (num_new, slots[0].num_pending)
        return Sizes(rows, _BLOCK + reach, columns, fits)

    def rows(self, slot: RegionSlot, number: int, num_lines: int) -> Rows:
        """How many columns come before its own keys; how many of these it sees; in which columns they lie."""
        ancestors = slot.ancestors(number)
        own = torch.tensor([slot.length + len(nodes) for nodes in ancestors])
        before = ((own - 1 - (num_lines - _BLOCK)) // _BLOCK * _BLOCK).clamp_min(0)
        columns = torch.full((num_lines, number), slot.first)
        for row, (start, nodes) in enumerate(zip(before.tolist(), ancestors, strict=True)):
            committed = list(range(slot.first + start, slot.first + slot.length))
            path = [*committed, *(slot.first + slot.length + node for node in nodes)]
            columns[: len(path), row] = torch.tensor(path)
        return Rows(before, own - before, columns)

    def visible(self, rows: Rows, num_columns: int) -> Tensor:
        device = rows.low.device
        before = torch.arange(num_columns, device=device) < rows.low[:, None]
        own = torch.arange(len(rows.lines), device=device) < rows.high[:, None]
        return torch.cat([before, own], 1)[None]

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
        """As transformers' eager attention rounds: scores and weights in the model's type, the softmax in 32 bits."""
        _, heads, rows, width = query.shape
        kv_heads, num_columns = key.shape[1:3]
        num_lines = len(lines)
        own_keys, own_values = (
            states.index_select(1, lines.T.reshape(-1)).view(kv_heads, rows, num_lines, -1)
            for states in cache.regions.states(cache.newest)
        )
        folded = query.view(kv_heads, -1, rows, width)
        before = (folded.flatten(1, 2) @ key[0].mT).view(kv_heads, -1, rows, num_columns)
        own = (folded.transpose(1, 2) @ own_keys.mT).transpose(1, 2)
        scores = torch.cat([before, own], -1) * (width**-0.5 if scaling is None else scaling) + attention_mask[0]
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        before = (weights[..., :num_columns].flatten(1, 2) @ value[0]).view(kv_heads, -1, rows, value.shape[3])
        own = (weights[..., num_columns:].transpose(1, 2) @ own_values).transpose(1, 2)
        return (before + own).reshape(1, heads, rows, -1).transpose(1, 2), None

    def most_nodes(self, slot: RegionSlot) -> int | None:
        """Up to the end of the columns looked at: a row beyond would look at twice as many in plain decoding."""
        return min(ROWS, power_of_two(slot.length + 1) - slot.length) - 1


_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def exact_executor(family: FamilyLike) -> GraphsExecutor:
    """Raises ModelError for models in which other rows, or an attention of their own, have a say in a row's bits."""
    config = family.text_config
    reason = None
    if any(getattr(config, name, None) for name in _EXPERTS):
        reason = "experts see as many rows as choose them"
    elif attention_of(config) == "eager":
        reason = "its attention is 'eager', which may cap scores or have sinks (if it has none, load it with 'sdpa')"
    if reason is not None:
        raise ModelError(
            f"{type(family.model).__name__} does not run on executor exact: {reason}; use graphs or transformers"
        )
    return GraphsExecutor(family, Exact())
