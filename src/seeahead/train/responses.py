"""The target's own responses, which a drafter learns best from: a folder of batches, each written whole or not at all.

A batch is `00000.jsonl`, a line per response, and `00000.safetensors` with what is kept beside. Files of other names
are left alone. A batch is sound or it is not there: what a full disk or a copy broke off is found when the folder is
opened, not in the middle of a training; a run that was cut off goes on with the next batch.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path
from typing import Annotated

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seeahead.checked import checked, flag, real, several
from seeahead.drafters.language import runs
from seeahead.drafters.vision import pooled
from seeahead.errors import InputError, escaped
from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.prompt import Prompt
from seeahead.provenance import write_text
from seeahead.train.examples import MARK, SLOT, Example
from seeahead.train.generation import GenerationSettings, written_by
from seeahead.train.loop import Report, TrainingStoppedError, is_out_of_memory, save_tensors

_BATCH = re.compile(r"\d{5,}\.jsonl")
_WINDOW = 8
"""Batches whose prompts are sorted together."""
_MOST_REASONS = 3
Exchange = tuple[Prompt, str | None]
"""What is asked, and the answer that somebody else gave to it, where there is one: it tells how long to expect ours."""


class LeftOut:
    """What cannot be learned from, counted by its reason: one bad image does not end a night."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        self._reasons[escaped(reason, 200)] += 1

    def __str__(self) -> str:
        """How many, and the commonest reasons; nothing where there are none."""
        if not self._reasons:
            return ""
        told = [f"{number} since {reason}" for reason, number in self._reasons.most_common(_MOST_REASONS)]
        more = len(self._reasons) - _MOST_REASONS
        end = f"; and {more} more reasons" if more > 0 else ""
        return f"{self._reasons.total()} left out: {'; '.join(told)}{end}"

    def report(self, report: Callable[[str], None], what: str) -> None:
        """One line, where there are any."""
        if told := str(self):
            report(f"{what}: {told}")


@dataclass(frozen=True)
class StoredResponse:
    """One line. `view`: the prompt's ids, SLOT or MARK where a visual embedding is kept; `ids`: the response's; the
    target's likeliest tokens and their probabilities for each of these."""

    seconds: Annotated[float, real(0, 1e9)]
    is_sampled: Annotated[bool, flag()]
    view: Annotated[tuple[int, ...], several("ids", 0)]
    ids: Annotated[tuple[int, ...], several("ids")]
    top_ids: Annotated[tuple[tuple[int, ...], ...], several("ids")]
    top_shares: Annotated[tuple[tuple[float, ...], ...], several("shares")]


class TargetResponses:
    """Writes a folder of batches, and reads it."""

    def __init__(self, folder: Path, family: Family, settings: GenerationSettings, report: Report) -> None:
        self.folder, self.family, self.settings, self.report = folder, family, settings, report
        self.left_out = LeftOut()

    def write(self, exchanges: Iterable[Exchange]) -> None:
        """Lets the target respond, window by window, until all is answered or the minutes are used up.

        Questions that the target does not take are left out; how many is reported at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        spent, batches = self._sound_seconds(), self._batches(exchanges)
        # Encoding a window takes seconds: only while there is time to answer it.
        for number in count():
            batch = next(batches, None) if spent < 60 * self.settings.minutes else None
            if batch is None:
                break
            if not (self.folder / name_of(number)).is_file():
                spent += self._write_batch(number, batch)
        self.left_out.report(self.report, "own answers")

    def _batches(self, exchanges: Iterable[Exchange]) -> Iterator[list[ModelInputs]]:
        """Prompts whose responses may be equally long; the same prompts give the same batches.

        A batch takes as long as its longest response. Windows, since images of thousands of prompts would not fit into
        memory."""
        size, waiting = self.settings.batch_size, iter(exchanges)
        for number in count():
            known: list[tuple[int, int, ModelInputs]] = []
            window = list(islice(waiting, size * _WINDOW))
            if not window:
                return
            for prompt, given in window:
                inputs, most = self._encoded(prompt), 8 * self.settings.max_new_tokens  # characters
                if inputs is not None:
                    known.append((most if given is None else len(given), inputs.length, inputs))
            ordered = [inputs for *_, inputs in sorted(known, key=lambda entry: entry[:2])]
            batches = [ordered[first : first + size] for first in range(0, len(ordered), size)]
            # So that whatever ends the writing, or samples every fourth batch, meets long and short ones alike.
            random.Random(f"window {number}").shuffle(batches)
            yield from batches

    def _encoded(self, prompt: Prompt) -> ModelInputs | None:
        """None for a prompt that the target refuses, or that leaves no room for a response."""
        longest = self.family.max_length
        try:
            inputs = self.family.encode(prompt)
        except InputError as error:
            self.left_out.add(str(error))
            return None
        if longest is not None and inputs.length + self.settings.max_new_tokens > longest:
            self.left_out.add(f"question and answer are longer than the target's context of {longest} tokens")
            return None
        return inputs

    def _write_batch(self, number: int, batch: list[ModelInputs]) -> float:
        """Returns the seconds it took."""
        started, settings = time.monotonic(), self.settings
        is_sampled = settings.sampled_every > 0 and number % settings.sampled_every == settings.sampled_every - 1
        try:
            written = written_by(self.family, batch, settings, seed=number if is_sampled else None)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingStoppedError(
                f"own answers: out of memory at batch {number}; lower batch_size under [writing] (now "
                f"{settings.batch_size}), and delete {self.folder} or choose another --answers"
            ) from None
        rows, stored = list[dict[str, object]](), dict[str, Tensor]()
        for inputs, answer in zip(batch, written, strict=True):
            if answer is None:
                self.left_out.add("the target's answer is empty")
                continue
            view, visual = self._view(inputs, answer.embeddings)
            if len(visual):
                stored[str(len(rows))] = _on_disk(visual)
            if answer.features is not None:
                stored[features_of(len(rows))] = _on_disk(answer.features)
            rows.append({"view": view, "ids": answer.ids, "top_ids": answer.top_ids, "top_shares": answer.top_shares})
        seconds, path = round(time.monotonic() - started, 2), self.folder / name_of(number)
        if stored:
            save_tensors(stored, path.with_suffix(".safetensors"))
        lines = [json.dumps({"seconds": seconds, "is_sampled": is_sampled, **row}) for row in rows]
        write_text(path, "\n".join(lines) + "\n")
        num_tokens = sum(len(answer.ids) for answer in written if answer is not None)
        pace = f"{num_tokens / seconds:.0f} tokens/s, {sum(value.nbytes for value in stored.values()) / 1e6:.0f} MB"
        self.report(f"own answers: batch {number}, {len(rows)} answers, {pace}")
        return seconds

    def _view(self, inputs: ModelInputs, embeddings: Tensor) -> tuple[list[int], Tensor]:
        """The prompt's ids with SLOT (or MARK) per visual embedding that is kept, and those [slots, width]."""
        view: list[int] = []
        kept = [embeddings[:0]]
        ids, images, num_visual = inputs.token_ids[0].tolist(), self.family.image_token_ids, self.settings.num_visual
        for tokens, start, is_image in runs(ids, images, markers=self.settings.features):
            if not is_image:
                view += tokens
            elif num_visual is not None:
                visual = pooled(embeddings[start : start + len(tokens)], num_visual)
                view += [SLOT if len(tokens) > 1 else MARK] * len(visual)
                kept.append(visual)
        return view, torch.cat(kept)

    def _sound_seconds(self) -> float:
        """Seconds that the batches took; every line of a batch has them. Damaged batches are taken away."""
        seconds = 0.0
        for path in batches_in(self.folder):
            rows = read_batch(path, self.settings.features)
            if rows is None:
                self.report(f"own answers: {path.name} is damaged and is written anew")
                path.unlink()
            else:
                seconds += rows[0].seconds
        return seconds

    def examples(self, num_visual: int | None = None) -> list[Example]:
        """Everything written so far, with at most `num_visual` embeddings of an image (0: all that are there; None:
        none). Raises InputError when nothing was written."""
        found: list[Example] = []
        for path, rows in all_rows(self.folder):
            visual = {} if num_visual is None else _stored_visual(path.with_suffix(".safetensors"))
            found += [_example(row, visual.get(str(place)), num_visual or 0) for place, row in enumerate(rows)]
        if not found:
            reason = f" ({self.left_out})" if str(self.left_out) else ""
            raise InputError(
                f"no answers in {self.folder}; the target wrote nothing within the minutes allowed{reason}"
            )
        return found


# ---- a folder on disk


def name_of(number: int) -> str:
    """Of a batch's file."""
    return f"{number:05d}.jsonl"


def batches_in(folder: Path) -> list[Path]:
    """The files of batches in a folder, in order."""
    return sorted(path for path in folder.glob("*.jsonl") if _BATCH.fullmatch(path.name))


def features_of(place: int) -> str:
    """Name of a row's features in its batch's file: [tokens - 1, width], at every position but the last."""
    return f"{place} features"


def read_batch(path: Path, features: bool = False) -> list[StoredResponse] | None:
    """The responses of a batch; None where it is damaged, or lacks what is kept beside them."""
    try:
        rows = [checked(StoredResponse, json.loads(line), path.name) for line in path.read_text("utf-8").splitlines()]
        if not rows or any(not len(row.ids) == len(row.top_ids) == len(row.top_shares) for row in rows):
            return None
        seen = {str(place): sum(token < 0 for token in row.view) for place, row in enumerate(rows)}
        wanted = {name: number for name, number in seen.items() if number}
        if features:
            wanted |= {features_of(place): len(row.view) + len(row.ids) - 1 for place, row in enumerate(rows)}
        if wanted:
            with safe_open(path.with_suffix(".safetensors"), "pt") as stored:
                names = wanted.keys() & set(stored.keys())
                if {name: stored.get_slice(name).get_shape()[0] for name in names} != wanted:
                    return None
    except (OSError, ValueError, RecursionError, SafetensorError):
        return None
    return rows


def all_rows(folder: Path) -> Iterator[tuple[Path, list[StoredResponse]]]:
    """Every batch of a folder. Raises InputError for one that is damaged."""
    for path in batches_in(folder):
        rows = read_batch(path)
        if rows is None:
            raise InputError(f"{path} is damaged; delete it and start again, it is then written anew")
        yield path, rows


def _on_disk(values: Tensor) -> Tensor:
    return values.to("cpu", torch.bfloat16).contiguous()


def _stored_visual(file: Path) -> dict[str, Tensor]:
    """Visual embeddings of a batch's rows; features, which are large, are left on disk."""
    if not file.is_file():
        return {}
    with safe_open(file, "pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys() if name.isdigit()}  # noqa: SIM118


def _example(row: StoredResponse, visual: Tensor | None, num_visual: int) -> Example:
    """`visual` [slots and marks, width]; None leaves all of these out."""
    view: list[int] = []
    kept: list[Tensor] = []
    place = 0
    for special, group in groupby(row.view, lambda token: min(token, 0)):
        tokens = list(group)
        if special == 0:
            view += tokens
        elif visual is not None:
            own = visual[place : place + len(tokens)]
            place += len(tokens)
            if special == SLOT:
                kept.append(pooled(own, num_visual))
                view += [SLOT] * len(kept[-1])
    return Example((*view, *row.ids), len(view), row.top_ids, row.top_shares, torch.cat(kept) if kept else None)
