"""The target's own responses, which a drafter learns best from: a folder of batches, each written whole or not at all.

A batch is `00000.jsonl`, a line per response, and `00000.safetensors` with what is kept beside; `all.txt` says that
there are no more. Files of other names are left alone. A batch is sound or it is not there: what a full disk or a copy
broke off is found when the folder is opened, not in the middle of a training; a run that was cut off goes on with the
next batch.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, groupby, islice
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seeahead.checked import checked, flag, real, several
from seeahead.drafters.language import runs
from seeahead.drafters.vision import pooled
from seeahead.errors import InputError, SeeaheadError, counted, escaped
from seeahead.executor import FEATURES, ModelInputs
from seeahead.executors.tensor_files import write_tensors
from seeahead.families.base import Family
from seeahead.prompt import Prompt
from seeahead.provenance import write_text
from seeahead.train.encoding import Encoded, encoded, num_workers
from seeahead.train.examples import MARK, SLOT, Example
from seeahead.train.generation import written_by
from seeahead.train.loop import room_for
from seeahead.train.recipe import GenerationSettings
from seeahead.train.stage import Report

_BATCH = re.compile(r"\d{5,}\.jsonl")
_ALL = "all.txt"
"""Says, once every question is asked, how many batches that were, and what was left out."""
_WINDOW = 8
"""Batches whose prompts are sorted together."""
Exchange = tuple[Prompt, str | None]
"""What is asked, and the answer that somebody else gave to it, where there is one: it tells how long to expect ours."""


class LeftOut(Counter[str]):
    """What cannot be learned from, counted by its reason: one bad image does not end a night."""

    def add(self, reason: object) -> None:
        self[escaped(str(reason), 200)] += 1

    def __str__(self) -> str:
        """How many, and the commonest reasons; nothing where there are none."""
        told = [f"{number} since {reason}" for reason, number in self.most_common(3)]
        if len(self) > 3:
            told.append(f"and {len(self) - 3} more reasons")
        return f"{self.total()} left out: {'; '.join(told)}" if told else ""

    def report(self, report: Callable[[str], None], what: str) -> None:
        """One line, where there are any."""
        if self:
            report(f"{what}: {self}")


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

    def __init__(
        self,
        folder: Path,
        family: Family,
        settings: GenerationSettings,
        report: Report,
        layers: Sequence[int] = FEATURES,
    ) -> None:
        """`layers`: whose hidden states are stored, where any are."""
        self.folder, self.family, self.settings, self.report = folder, family, settings, report
        self.layers = tuple(layers) if settings.features else ()
        self.left_out = LeftOut()

    def write(self, exchanges: Iterable[Exchange]) -> None:
        """Lets the target respond, window by window, until all is answered or the minutes are used up.

        Questions that the target does not take are left out; how many is reported at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Every line has its batch's.
        seconds = [sum(row.seconds for row in rows[:1]) for _, rows in self.sound_batches()]
        told = self.folder / _ALL
        all_told, _, line = (told.read_text("utf-8", "replace") if told.is_file() else "").partition("\n")
        if all_told == str(len(seconds)):  # no image needs to be opened
            if line:
                self.report(f"own answers: {line}")
            return
        spent, batches = sum(seconds), self._batches(exchanges)
        # Encoding a window takes seconds: only while there is time to answer it.
        for number in count():
            if spent >= 60 * self.settings.minutes:
                break
            if (batch := next(batches, None)) is None:
                if number:  # else the reason is to be told again
                    with suppress(OSError, SeeaheadError):  # a folder that others read may be no place to write to
                        write_text(told, f"{number}\n{self.left_out}")
                break
            path = self.folder / f"{number:05d}.jsonl"
            if not path.is_file():
                spent += self._write_batch(number, batch, path)
        self.left_out.report(self.report, "own answers")

    def _batches(self, exchanges: Iterable[Exchange]) -> Iterator[list[ModelInputs]]:
        """Prompts whose responses may be equally long; the same prompts give the same batches.

        A batch takes as long as its longest response. Windows, since images of thousands of prompts would not fit into
        memory."""
        size, waiting = self.settings.batch_size, iter(exchanges)
        unknown = 8 * self.settings.max_new_tokens  # characters
        for number in count():
            window = list(islice(waiting, size * _WINDOW))
            if not window:
                return
            prompts, given = zip(*window, strict=True)
            every = encoded(self.family, prompts, num_workers(self.family.device))
            known = [
                (unknown if answer is None else len(answer), inputs.length, inputs)
                for answer, inputs in zip(given, every, strict=True)
                if self._is_taken(inputs)
            ]
            ordered = [inputs for *_, inputs in sorted(known, key=lambda entry: entry[:2])]
            batches = [ordered[first : first + size] for first in range(0, len(ordered), size)]
            # So that whatever ends the writing, or samples every fourth batch, meets long and short ones alike.
            random.Random(f"window {number}").shuffle(batches)
            yield from batches

    def _is_taken(self, inputs: Encoded) -> TypeGuard[ModelInputs]:
        """Not a prompt that the target refuses, nor one that leaves no room for a response."""
        try:
            if isinstance(inputs, InputError):
                raise inputs
            check_length(self.family, inputs.length + self.settings.max_new_tokens)
            self.family.check_length(inputs.length)
        except InputError as error:
            self.left_out.add(error)
            return False
        return True

    def _write_batch(self, number: int, batch: list[ModelInputs], path: Path) -> float:
        """Returns the seconds it took."""
        started, settings = time.monotonic(), self.settings
        is_sampled = settings.sampled_every > 0 and number % settings.sampled_every == settings.sampled_every - 1
        with room_for(
            f"own answers: out of memory at batch {number}; lower batch_size under [writing] (now "
            f"{settings.batch_size}), and delete {self.folder} or choose another --answers"
        ):
            seed = number if is_sampled else None
            written = written_by(self.family, batch, settings.max_new_tokens, self.layers, seed=seed)
        rows, stored = list[dict[str, Any]](), dict[str, Tensor]()
        for inputs, trace in zip(batch, written, strict=True):
            if trace.embeddings is None:
                self.left_out.add("the target's answer is empty")
                continue
            view, visual = self._view(inputs, trace.embeddings)
            kept = {str(len(rows)): visual}
            kept |= {features_of(len(rows), layer): states for layer, states in trace.features.items()}
            stored |= {name: value.to("cpu", torch.bfloat16) for name, value in kept.items() if len(value)}
            rows.append({"view": view, **trace.row()})
        seconds = round(time.monotonic() - started, 2)
        if stored:
            write_tensors({path.with_suffix(".safetensors"): stored})
        lines = [json.dumps({"seconds": seconds, "is_sampled": is_sampled, **row}) for row in rows]
        write_text(path, "\n".join(lines) + "\n")
        pace = sum(len(row["ids"]) for row in rows) / max(seconds, 0.01)
        size = sum(value.nbytes for value in stored.values()) / 1e6
        self.report(f"own answers: batch {number}, {counted(len(rows), 'answer')}, {pace:.0f} tokens/s, {size:.0f} MB")
        return seconds

    def _view(self, inputs: ModelInputs, embeddings: Tensor) -> tuple[list[int], Tensor]:
        """The prompt's ids with SLOT (or MARK) per visual embedding that is kept, and those [slots, width]."""
        view: list[int] = []
        kept = [embeddings[:0]]
        ids, images, num_visual = inputs.token_ids[0].tolist(), self.family.image_token_ids, self.settings.num_visual
        for tokens, start, is_image in runs(ids, images, markers=True):  # which keep images beside one another apart
            if not is_image:
                view += tokens
            elif num_visual is not None:
                visual = pooled(embeddings[start : start + len(tokens)], num_visual)
                view += [SLOT if len(tokens) > 1 else MARK] * len(visual)
                kept.append(visual)
        return view, torch.cat(kept)

    def sound_batches(self) -> Iterator[tuple[Path, list[StoredResponse]]]:
        """What is in the folder, in order. Damaged batches are taken away."""
        for path in batches_in(self.folder):
            rows = _kept(path, _written(path), self.layers)
            if rows is None:
                self.report(f"own answers: {path.name} is damaged and is written anew")
                path.unlink()
            else:
                yield path, rows

    def examples(self, num_visual: int | None = None) -> list[Example]:
        """Everything written so far, with at most `num_visual` embeddings of an image (0: all that are there; None:
        none)."""
        return [_shown(example, num_visual) for example in self._stored()]

    def feature_examples(self, longest: int) -> list[Example]:
        """Everything written with features, which stay on disk until they are drawn; nothing longer than `longest`."""
        found: list[Example] = []
        left_out = LeftOut()
        for example in self._stored():
            if len(example.ids) > longest:
                left_out.add(f"they are longer than the {longest} tokens that a feature drafter reads")
            elif len(example.learned) > 1:  # else nothing in it could have been drafted
                found.append(replace(example, top_ids=(), top_shares=()))
        left_out.report(self.report, "own answers")
        return found

    def _stored(self) -> Iterator[Example]:
        for path, rows in self.sound_batches():
            for place, row in enumerate(rows):
                stored = path.with_suffix(".safetensors"), place
                yield Example((*row.view, *row.ids), len(row.view), row.top_ids, row.top_shares, stored=stored)


def check_length(family: Family, length: int) -> None:
    """Raises InputError for a question and an answer that the target has no room for."""
    if family.max_length is not None and length > family.max_length:
        raise InputError(f"question and answer are longer than the target's context of {family.max_length} tokens")


# ---- a folder on disk


def batches_in(folder: Path) -> list[Path]:
    """The files of batches in a folder, in order."""
    return sorted(path for path in folder.glob("*.jsonl") if _BATCH.fullmatch(path.name))


def features_of(place: int, layer: int) -> str:
    """Name of a row's hidden states in its batch's file: [tokens - 1, width], at every position but the last."""
    return f"{place} features" if layer in FEATURES else f"{place} features {layer}"


def read_batch(path: Path, layers: Sequence[int] = ()) -> list[StoredResponse] | None:
    """The responses of a batch; None where it is damaged, or lacks what is kept beside them."""
    try:
        *lines, end = path.read_text("utf-8").split("\n")
        rows = [checked(StoredResponse, json.loads(line), path.name) for line in lines if line]
        if not lines or end or any(not len(row.ids) == len(row.top_ids) == len(row.top_shares) for row in rows):
            return None
        wanted = {str(place): sum(token < 0 for token in row.view) for place, row in enumerate(rows)}
        lengths = [len(row.view) + len(row.ids) - 1 for row in rows]
        wanted |= {features_of(place, layer): size for place, size in enumerate(lengths) for layer in layers}
        if any(wanted.values()):
            with safe_open(path.with_suffix(".safetensors"), "pt") as stored:
                found = {name: stored.get_slice(name).get_shape()[:1] for name in wanted.keys() & set(stored.keys())}
                if any(found.get(name, [0]) != [number] for name, number in wanted.items()):
                    return None
    except (OSError, ValueError, RecursionError, SafetensorError):
        return None
    return rows


def _written(path: Path) -> tuple[int | None, ...]:
    """When the two files of a batch were; None for one that is not there."""
    return tuple(one.stat().st_mtime_ns if one.is_file() else None for one in (path, path.with_suffix(".safetensors")))


@lru_cache(maxsize=256)
def _kept(path: Path, written: tuple[int | None, ...], layers: tuple[int, ...]) -> list[StoredResponse] | None:
    """`read_batch` once for several drafters that learn from the same answers."""
    return read_batch(path, layers)


def loaded(example: Example, layers: Sequence[int] = FEATURES) -> Example:
    """With the tensors that were left on disk: what it sees, and the hidden states of `layers`."""
    if example.stored is None or not (layers or example.has_images):
        return example
    file, row = example.stored
    stored = _opened(file, file.stat().st_mtime_ns)
    visual = stored.get_tensor(str(row)) if example.has_images else None
    features = {layer: stored.get_tensor(features_of(row, layer)) for layer in layers}
    return replace(example, stored=None, visual=visual, features=features or None)


@lru_cache(maxsize=64)
def _opened(file: Path, written: int) -> Any:
    """A batch's tensors, of which none is read yet: to open it takes as long as to read hundreds of them."""
    return safe_open(file, "pt").__enter__()


def _shown(example: Example, num_visual: int | None) -> Example:
    """As a language model reads it: at most `num_visual` embeddings of an image, None: nothing of one; no markers."""
    visual = None if num_visual is None else loaded(example, ()).visual
    view: list[int] = []
    kept: list[Tensor] = []
    place = 0
    for special, group in groupby(example.ids[: example.start], lambda token: min(token, 0)):
        tokens = list(group)
        if special == 0:
            view += tokens
        elif visual is not None:
            own = visual[place : place + len(tokens)]
            place += len(tokens)
            if special == SLOT:
                kept.append(pooled(own, num_visual or 0))
                view += [SLOT] * len(kept[-1])
    ids = (*view, *example.learned)
    return replace(example, ids=ids, start=len(view), visual=torch.cat(kept) if kept else None, stored=None)
