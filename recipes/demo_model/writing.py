"""Answers of the demo model to its own prompts, kept line by line, so that an interrupted run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration, LlavaProcessor

from recipes.demo_model.prompts import Prompt
from seeahead.drafters.none import plain_answers
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.provenance import write_text
from seeahead.target import Target
from seeahead.train.generation import written_by

Row = dict[str, Any]  # one JSON line: batch, seconds, text, question, ids


def answered(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, prompts: Sequence[Prompt], max_new_tokens: int
) -> list[list[int]]:
    """Greedy answers to `prompts` in one batch."""
    family = family_for(model, processor)
    inputs = [_encoded(model, processor, prompt) for prompt in prompts]
    if model.device.type == "cpu":
        return plain_answers(Target.of(family), inputs, max_new_tokens)
    return [trace.ids for trace in written_by(family, inputs, max_new_tokens)]


def _encoded(model: LlavaForConditionalGeneration, processor: LlavaProcessor, prompt: Prompt) -> ModelInputs:
    inputs = dict(processor(text=[prompt.text], images=list(prompt.images) or None, return_tensors="pt"))
    token_ids = inputs.pop("input_ids")
    inputs.pop("attention_mask", None)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.device, model.dtype)
    return ModelInputs(token_ids.to(model.device), inputs)


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
        lines = path.read_text("utf-8").split("\n")[:-1]  # what was cut off is behind the last end of a line
        rows = [json.loads(line) for line in lines]
        last = rows[-1]["batch"] if rows else 0
        if sum(row["batch"] == last for row in rows) < len(draw(last)):  # it was cut off between two lines
            rows = [row for row in rows if row["batch"] != last]
        write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    number = 1 + max((row["batch"] for row in rows), default=-1)
    before = max((row["seconds"] for row in rows), default=0.0)
    started = time.monotonic()
    with path.open("a", encoding="utf-8") as handle:
        while before + time.monotonic() - started < 60 * minutes and (prompts := draw(number)):
            written = answered(model, processor, prompts, max_new_tokens)
            seconds = round(before + time.monotonic() - started, 1)
            for prompt, answer in zip(prompts, written, strict=True):
                row: Row = {"batch": number, "seconds": seconds, "text": prompt.text, "ids": answer}
                row["question"] = prompt.turn.question
                rows.append(row)
                handle.write(json.dumps(row) + "\n")
            handle.flush()
            if number % 5 == 0:
                tokens = sum(map(len, written))
                report(f"{path.stem}: {len(rows)} answers, {seconds:.0f} s, {tokens} tokens in this batch")
            number += 1
    return rows
