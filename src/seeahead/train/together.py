"""Responses to many prompts in step, for a GPU: a pass over a thousand rows takes it hardly longer than one over one.

Only for targets whose language model is a plain Llama, which our own decoder runs; others answer slot by slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import ModelInputs
from seeahead.executors.attention import attend
from seeahead.executors.llama import Llama
from seeahead.executors.reading import language_inputs
from seeahead.families.base import Family
from seeahead.train.examples import TOP

_PREFILLED = 1 << 16
"""Tokens of prompts that are read in one pass."""
_CHECKED = 8
"""Steps after which it is asked whether all have ended, for which a GPU waits."""
_ALIGNED = 16
"""Columns that attention kernels like to read together."""


@dataclass(frozen=True)
class Written:
    """By row. `prompts`, `embeddings` [rows, tokens, width]: last hidden states and what the first layer read, of which
    the first `lengths` are a prompt's. By step and row: `ids`, `top_ids` and `top_shares` [.., k], `features`
    [.., width], the hidden states that the step read. All on the host."""

    lengths: list[int]
    prompts: Tensor
    embeddings: Tensor
    ids: Tensor
    top_ids: Tensor
    top_shares: Tensor
    features: Tensor


@dataclass(frozen=True)
class _Prompts:
    """Prompts of some rows, each causal: what stands behind a shorter one is seen by nothing before it.

    `held` [layers, 2, rows, kv heads, columns, width of a head]: keys and values of all rows."""

    held: Tensor
    rows: slice

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        for place, states in enumerate((key, value)):
            self.held[index, place, self.rows, :, : states.shape[2]] = states
        return attend(query, key, value, None)


@dataclass(frozen=True)
class _Next:
    """One token more of every row, in the same `column`; `seen` [rows, columns] is what a row attends to."""

    held: Tensor
    seen: Tensor
    column: int

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, heads, _, width = query.shape
        layer, kv_heads, end = self.held[index], key.shape[1], self.seen.shape[1]
        for place, states in enumerate((key, value)):
            layer[place, :, :, self.column] = states[:, :, 0]
        keys, values = layer[:, :, :, :end].unbind(0)
        # Heads that share keys become rows: nothing is copied for each of them.
        shared = query.reshape(rows, kv_heads, heads // kv_heads, width)
        found = F.scaled_dot_product_attention(shared, keys, values, self.seen[:, None, None])
        return found.reshape(query.shape)


@torch.inference_mode()
def write_together(
    family: Family, decoder: Llama, prompts: Sequence[ModelInputs], most: int, seed: int | None
) -> Written:
    """At most `most` tokens for each, greedy or, with a `seed`, drawn at temperature 1 from all tokens.

    After its end token a row goes on with what nobody reads. Raises ModelError for numbers that are not finite."""
    lengths = [prompt.length for prompt in prompts]
    embedded = _embedded(family, prompts, lengths)
    device, (num_rows, longest, _) = embedded.device, embedded.shape
    num_columns, shape = -(-(longest + most) // _ALIGNED) * _ALIGNED, decoder.config
    kept = (2, num_rows, shape.num_key_value_heads, num_columns, shape.head_dim)
    held = embedded.new_zeros(shape.num_hidden_layers, *kept)
    read = _read(decoder, embedded, held)
    places = torch.tensor(lengths, device=device)
    seen = torch.arange(num_columns, device=device) < places[:, None]
    ends = torch.tensor(family.end_token_ids, device=device)
    noise = None if seed is None else torch.Generator(device).manual_seed(seed)
    hidden, steps = read[torch.arange(num_rows, device=device), places - 1], list[tuple[Tensor, ...]]()
    has_ended = torch.zeros(num_rows, dtype=torch.bool, device=device)
    for step in range(most):
        logits = decoder.head(hidden).float()
        values, top = logits.topk(TOP, dim=-1)
        shares = (values - logits.logsumexp(-1, keepdim=True)).exp()
        if noise is not None:  # Gumbel's way to draw
            logits -= torch.empty_like(logits).exponential_(generator=noise).log_()
        chosen = logits.argmax(-1)
        steps.append((chosen.int(), top.int(), shares, hidden))
        has_ended |= torch.isin(chosen, ends)
        if step + 1 == most or (step % _CHECKED == 0 and bool(has_ended.all())):
            break
        column = longest + step
        seen[:, column] = True
        end = -(-(column + 1) // _ALIGNED) * _ALIGNED
        memory = _Next(held, seen[:, :end], column)
        hidden = decoder.run(decoder.embed(chosen[:, None]), (places + step)[:, None], memory)[:, 0]
    if not bool(torch.stack([shares.isfinite().all() for _, _, shares, _ in steps]).all()):
        raise ModelError("the target's numbers are not finite; load it in another dtype, or get its weights again")
    ids, top_ids, top_shares, features = (torch.stack(column).cpu() for column in zip(*steps, strict=True))
    return Written(lengths, read.cpu(), embedded.cpu(), ids, top_ids, top_shares, features)


def _read(decoder: Llama, embedded: Tensor, held: Tensor) -> Tensor:
    """Last hidden states [rows, tokens, width] of the prompts; their keys and values go into `held`."""
    num_rows, longest, _ = embedded.shape
    at_once, parts = max(1, _PREFILLED // longest), list[Tensor]()
    positions = torch.arange(longest, device=embedded.device)[None]
    for first in range(0, num_rows, at_once):
        rows = slice(first, min(first + at_once, num_rows))
        parts.append(decoder.run(embedded[rows], positions, _Prompts(held, rows)))
    return torch.cat(parts)


def _embedded(family: Family, prompts: Sequence[ModelInputs], lengths: Sequence[int]) -> Tensor:
    """What the first layer reads [rows, tokens, width], zeros behind the shorter ones."""
    parts = [prompt.extras for prompt in prompts if prompt.extras]
    shapes = {_shape_of_one(name, value) for part in parts for name, value in part.items()}
    if None in shapes or len(shapes) > 1:
        read = [language_inputs(family, prompt).embeddings[0] for prompt in prompts]
        return torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
    ids = torch.full((len(prompts), max(lengths)), family.end_token_ids[0], device=family.device)
    for row, prompt in enumerate(prompts):
        ids[row, : prompt.length] = prompt.token_ids[0]
    extras = {"pixel_values": torch.cat([part["pixel_values"] for part in parts])} if parts else {}
    return language_inputs(family, ModelInputs(ids, extras)).embeddings


def _shape_of_one(name: str, value: Tensor) -> torch.Size | None:
    """Of an image among pixels that may stand one after the other, whichever prompt they belong to."""
    return value.shape[1:] if name == "pixel_values" and value.ndim == 4 else None
