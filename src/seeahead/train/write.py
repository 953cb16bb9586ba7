"""Lets a model write answers in batches: to prompts with pictures or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from seeahead.cache import batch_cache
from seeahead.compat import cache_argument
from seeahead.stopping import end_tokens_of
from seeahead.train.quick_attention import is_plain, quick_attention

TOP = 8  # target probabilities kept per written token


@dataclass(frozen=True)
class Written:
    """Token ids the model wrote (end token included) and, per token, its most likely ids with probabilities."""

    ids: list[int]
    top_ids: list[list[int]]
    top_shares: list[list[float]]


@dataclass
class Notes:
    """What rows of a batch said: `ids` [rows], `top_ids` and `shares` [rows, k] per step; `rows`: which were asked."""

    rows: list[Tensor]
    ids: list[Tensor]
    top_ids: list[Tensor]
    shares: list[Tensor]

    def likeliest(self, logits: Tensor) -> None:
        values, ids = logits.topk(TOP, dim=-1)
        self.top_ids.append(ids.to(torch.int32))
        self.shares.append((values.float() - logits.float().logsumexp(-1, keepdim=True)).exp())

    def whole(self, parts: Sequence[Tensor]) -> Tensor:
        """One tensor [rows, steps, ...] of a part per step, which has the rows then asked; 0 for the others."""
        joined = parts[0].new_zeros(len(self.rows[0]), len(parts), *parts[0].shape[1:])
        for step, (rows, part) in enumerate(zip(self.rows, parts, strict=True)):
            joined[rows, step] = part
        return joined


@torch.inference_mode()
def write_batch(
    model: Any, inputs: Mapping[str, Tensor], max_new_tokens: int, sampled: bool = False
) -> tuple[list[Written], Notes]:
    """Answers to prompts that are padded on the left; `sampled`: drawn at temperature 1 from all tokens."""
    write = _write_shrinking if is_plain(model) else _write_by_generate
    with quick_attention(model):
        notes = write(model, inputs, max_new_tokens, sampled)
    ids, top_ids, shares = (notes.whole(parts) for parts in (notes.ids, notes.top_ids, notes.shares))
    written, last = [], end_tokens_of(model.generation_config)
    for row, said in enumerate(ids.tolist()):
        end = next((place + 1 for place, token in enumerate(said) if token in last), len(said))
        rounded = [[round(value, 4) for value in step] for step in shares[row, :end].tolist()]
        written.append(Written(said[:end], top_ids[row, :end].tolist(), rounded))
    return written, notes


def _write_shrinking(model: Any, inputs: Mapping[str, Tensor], max_new_tokens: int, sampled: bool) -> Notes:
    """Rows that have ended leave the batch, a quarter of it at a time: a long answer does not hold up the others."""
    notes, ends = (
        Notes([], [], [], []),
        torch.tensor(sorted(end_tokens_of(model.generation_config)), device=model.device),
    )
    mask = inputs["attention_mask"]
    rows, cache = torch.arange(len(mask), device=mask.device), batch_cache()
    cached = {cache_argument(model.forward): cache}
    fed = {**inputs, "position_ids": (mask.cumsum(-1) - 1).clamp_min(0)}
    for _ in range(max_new_tokens):
        logits = model(**fed, **cached, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        tokens = logits.softmax(-1).multinomial(1)[:, 0] if sampled else logits.argmax(-1)
        notes.rows.append(rows)
        notes.ids.append(tokens)
        notes.likeliest(logits)
        alive = ~torch.isin(tokens, ends)
        if not alive.any():
            break
        if 4 * int(alive.sum()) <= 3 * len(rows):
            cache.batch_select_indices(alive.nonzero()[:, 0])
            rows, mask, tokens = rows[alive], mask[alive], tokens[alive]
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        fed = {
            "input_ids": tokens[:, None],
            "attention_mask": mask,
            "position_ids": mask.sum(-1, keepdim=True) - 1,
        }
    return notes


class _Watcher(LogitsProcessor):
    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.notes.likeliest(scores)
        self.notes.rows.append(torch.arange(len(scores), device=scores.device))
        return scores


def _write_by_generate(model: Any, inputs: Mapping[str, Tensor], max_new_tokens: int, sampled: bool) -> Notes:
    """For models whose positions or caches are of their own kind."""
    notes = Notes([], [], [], [])
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=sampled,
        top_k=0 if sampled else None,
        logits_processor=LogitsProcessorList([_Watcher(notes)]),
    )
    notes.ids = list(output[:, inputs["input_ids"].shape[1] :].unbind(1))
    return notes
