"""Lets a model write answers in batches: to prompts with pictures or without, resumable, within a time limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor, LogitsProcessor, LogitsProcessorList

from seeahead.data.prompts import Prompt

Row = dict[str, Any]  # one JSON line: batch, seconds, text, question, ids
TOP = 8  # target probabilities kept per written token


@dataclass(frozen=True)
class Written:
    """Token ids the model wrote (end token included) and, per token, its most likely ids with probabilities."""

    ids: list[int]
    top_ids: list[list[int]]
    top_shares: list[list[float]]


class Recorder(LogitsProcessor):
    """Keeps the most likely tokens of every step while generate runs."""

    def __init__(self) -> None:
        self.ids: list[Tensor] = []
        self.shares: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        values, ids = scores.topk(TOP, dim=-1)
        shares = (values.float() - scores.float().logsumexp(-1, keepdim=True)).exp()
        self.ids.append(ids.to(torch.int32))
        self.shares.append(shares)
        return scores


def prepared(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, prompts: Sequence[Prompt]
) -> dict[str, Tensor]:
    """Prompts that have equally many pictures, as one batch."""
    pictures = [picture for prompt in prompts for picture in prompt.pictures] or None
    inputs = processor(
        text=[prompt.text for prompt in prompts],
        images=pictures,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return dict(inputs)


@torch.inference_mode()
def write_batch(model: Any, inputs: Mapping[str, Tensor], max_new_tokens: int, sampled: bool = False) -> list[Written]:
    """Answers to prompts that are padded on the left."""
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    recorder = Recorder()
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=sampled,
        top_k=0 if sampled else None,
        logits_processor=LogitsProcessorList([recorder]),
    )
    new = output[:, inputs["input_ids"].shape[1] :]
    top_ids, shares = torch.stack(recorder.ids, 1), torch.stack(recorder.shares, 1)
    written = []
    for row, ids in enumerate(new.tolist()):
        end = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
        rounded = [[round(value, 4) for value in step] for step in shares[row, :end].tolist()]
        written.append(Written(ids[:end], top_ids[row, :end].tolist(), rounded))
    return written


def write_all(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    draw: Callable[[int], list[Prompt]],
    path: Path,
    minutes: float,
    max_new_tokens: int,
    report: Callable[[str], None],
) -> list[Row]:
    """Appends one JSON line per answer to `path` until the minutes are used or `draw(batch number)` returns nothing.

    The time used so far is stored with each line, so that a restart goes on where the last run stopped."""
    rows: list[Row] = []
    if path.is_file():
        lines = path.read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.endswith("}")]
    number = 1 + max((row["batch"] for row in rows), default=-1)
    before = max((row["seconds"] for row in rows), default=0.0)
    started = time.monotonic()
    with path.open("a", encoding="utf-8") as handle:
        while before + time.monotonic() - started < 60 * minutes and (prompts := draw(number)):
            inputs = prepared(model, processor, prompts)
            written = write_batch(model, inputs, max_new_tokens)
            seconds = round(before + time.monotonic() - started, 1)
            for prompt, answer in zip(prompts, written, strict=True):
                row: Row = {"batch": number, "seconds": seconds, "text": prompt.text, "ids": answer.ids}
                row["question"] = prompt.turn.question
                rows.append(row)
                handle.write(json.dumps(row) + "\n")
            handle.flush()
            if number % 5 == 0:
                tokens = sum(len(answer.ids) for answer in written)
                report(f"{path.stem}: {len(rows)} answers, {seconds:.0f} s, {tokens} tokens in this batch")
            number += 1
    return rows
