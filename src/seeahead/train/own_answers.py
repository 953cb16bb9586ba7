"""The target's own answers, which a drafter learns best from: written in batches, with the likeliest tokens beside.

Every batch is two files, written whole or not at all: a run that was cut off goes on with the next batch.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import safe_open
from torch import Tensor

from seeahead.checked import flag, real, whole
from seeahead.decode import Request, run
from seeahead.drafters.views import runs
from seeahead.drafters.vision import pooled
from seeahead.drafting import DraftContext, Feedback
from seeahead.errors import InputError
from seeahead.executor import FEATURES, ModelInputs, Want
from seeahead.families.base import Family
from seeahead.prompt import Prompt
from seeahead.provenance import write_text
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.train.left_out import LeftOut
from seeahead.train.lines import MARK, SLOT, Line
from seeahead.train.loop import Report, TrainingStoppedError, is_out_of_memory, save_tensors
from seeahead.train.stored_answers import StoredAnswer, answers_in, batches_in, features_of, name_of, read_batch
from seeahead.tree import Draft

TOP = 8
"""Probabilities of the target kept per token."""
_WINDOW = 8
"""Batches whose prompts are sorted together."""
Exchange = tuple[Prompt, str | None]
"""What is asked, and the answer that somebody else gave to it, where there is one: it tells how long to expect ours."""


@dataclass(frozen=True)
class Writing:
    """How much the target writes. Every `sampled_every`-th batch is drawn at temperature 1, the others are greedy.

    `visual_tokens`: of a picture, at most so many visual embeddings are stored, as means of neighbours; 0: all; None:
    none. `features`: the target's last hidden states are stored too, and every visual embedding.
    """

    minutes: Annotated[float, real(0, 1e7)] = 20.0
    batch_size: Annotated[int, whole(1, 100_000)] = 32
    max_new_tokens: Annotated[int, whole(1, 1_000_000)] = 96
    sampled_every: Annotated[int, whole(0, 1_000_000)] = 4
    visual_tokens: Annotated[int | None, whole(0, 1_000_000)] = None
    features: Annotated[bool, flag()] = False

    @property
    def num_visual(self) -> int | None:
        return 0 if self.features else self.visual_tokens


@dataclass(frozen=True)
class Written:
    """One answer: its tokens (end token included) and, per token, the target's likeliest ids with probabilities.

    `embeddings` [prompt tokens, width]; `features` [prompt and answer tokens but the last, width], where recorded."""

    ids: list[int]
    top_ids: list[list[int]]
    top_shares: list[list[float]]
    embeddings: Tensor
    features: Tensor | None


@dataclass(frozen=True)
class _Recorder:
    """A drafter that drafts nothing and keeps what the target says to each token."""

    want: Want
    name: str = "none"

    def start(self, context: DraftContext) -> _Record:
        return _Record(context)


class _Record:
    def __init__(self, context: DraftContext) -> None:
        assert context.logits is not None
        assert context.embeddings is not None
        self._top = [_likeliest(context.logits[None])]
        self.embeddings = context.embeddings
        self._features = [context.features[-1]] if context.features else []

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        self._top.append(_likeliest(feedback.logits))
        self._features += [feedback.features[-1]] if self._features else []

    def written(self, ids: list[int]) -> Written:
        top_ids, shares = (torch.cat(parts) for parts in zip(*self._top, strict=True))
        rounded = [[round(share, 4) for share in row] for row in shares.tolist()]
        features = torch.cat(self._features) if self._features else None
        return Written(ids, top_ids.tolist(), rounded, self.embeddings, features)


def _likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, TOP] ids and probabilities."""
    values, ids = logits.topk(TOP, dim=-1)
    return ids.to(torch.int32), (values.float() - logits.float().logsumexp(-1, keepdim=True)).exp()


def written_by(
    family: Family, prompts: Sequence[ModelInputs], writing: Writing, *, seed: int | None = None
) -> list[Written | None]:
    """Answers to `prompts` in one batch, greedy or, with a `seed`, drawn at temperature 1 from all tokens; None for one
    that ends with its first token. Raises ModelError for a target whose numbers are not finite."""
    want, stop = Want(FEATURES if writing.features else (), embeddings=True), frozenset(family.end_token_ids)
    requests = []
    for place, inputs in enumerate(prompts):
        drawn = SamplingParams() if seed is None else SamplingParams(1.0, seed=(seed << 16) + place)
        rule = StopRule(writing.max_new_tokens, stop)
        request = Request(family.executor, _Recorder(want), Sampler(drawn, ()), rule, family.image_token_ids)
        request.start(inputs)
        requests.append(request)
    for request, _ in run(iter(requests), len(requests)):
        if request.error is not None:
            raise request.error
    records = [getattr(request, "drafting", None) for request in requests]
    return [
        record.written(request.answer) if isinstance(record, _Record) else None
        for request, record in zip(requests, records, strict=True)
    ]


class OwnAnswers:
    """A folder of batches `00000.jsonl` and, where pictures are kept, `00000.safetensors`."""

    def __init__(self, folder: Path, family: Family, writing: Writing, report: Report) -> None:
        self.folder, self.family, self.writing, self.report = folder, family, writing, report
        self.left_out = LeftOut()

    def write(self, exchanges: Iterable[Exchange]) -> None:
        """Lets the target answer, window by window, until all is answered or the minutes are used up.

        Questions that the target does not take are left out; how many is said at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        spent, batches = self._sound_seconds(), self._batches(exchanges)
        # Encoding a window takes seconds: only while there is time to answer it.
        for number in count():
            batch = next(batches, None) if spent < 60 * self.writing.minutes else None
            if batch is None:
                break
            if not (self.folder / name_of(number)).is_file():
                spent += self._write_one(number, batch)
        self.left_out.tell(self.report, "own answers")

    def _batches(self, exchanges: Iterable[Exchange]) -> Iterator[list[ModelInputs]]:
        """Prompts whose answers may be equally long; the same prompts give the same batches.

        A batch takes as long as its longest answer. Windows, since images of thousands of prompts would not fit into
        memory."""
        size, waiting = self.writing.batch_size, iter(exchanges)
        for number in count():
            known: list[tuple[int, int, ModelInputs]] = []
            window = list(islice(waiting, size * _WINDOW))
            if not window:
                return
            for prompt, given in window:
                inputs, most = self._encoded(prompt), 8 * self.writing.max_new_tokens  # characters
                expected = most if given is None else len(given)
                if inputs is not None:
                    known.append((expected, inputs.length, inputs))
            ordered = [inputs for *_, inputs in sorted(known, key=lambda entry: entry[:2])]
            batches = [ordered[first : first + size] for first in range(0, len(ordered), size)]
            # So that whatever ends the writing, or samples every fourth batch, meets long and short answers alike.
            random.Random(f"window {number}").shuffle(batches)
            yield from batches

    def _encoded(self, prompt: Prompt) -> ModelInputs | None:
        """None for a prompt that the target refuses, or that leaves no room for an answer."""
        longest = self.family.max_length
        try:
            inputs = self.family.encode(prompt)
        except InputError as error:
            self.left_out.add(str(error))
            return None
        if longest is not None and inputs.token_ids.shape[1] + self.writing.max_new_tokens > longest:
            self.left_out.add(f"question and answer are longer than the target's context of {longest} tokens")
            return None
        return inputs

    def _write_one(self, number: int, batch: list[ModelInputs]) -> float:
        try:
            return self._written(number, batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingStoppedError(
                f"own answers: out of memory at batch {number}; lower batch_size under [writing] (now "
                f"{self.writing.batch_size}), and delete {self.folder} or choose another --answers"
            ) from None

    def _written(self, number: int, batch: list[ModelInputs]) -> float:
        started, writing = time.monotonic(), self.writing
        is_sampled = writing.sampled_every > 0 and number % writing.sampled_every == writing.sampled_every - 1
        answers = written_by(self.family, batch, writing, seed=number if is_sampled else None)
        rows, stored = list[dict[str, Any]](), dict[str, Tensor]()
        for inputs, answer in zip(batch, answers, strict=True):
            if answer is None:
                self.left_out.add("the target's answer is empty")
                continue
            place = len(rows)
            view, visual = self._view(inputs, answer.embeddings)
            rows.append({"view": view, "ids": answer.ids, "top_ids": answer.top_ids, "top_shares": answer.top_shares})
            if len(visual):
                stored[str(place)] = on_disk(visual)
            if answer.features is not None:
                stored[features_of(place)] = on_disk(answer.features)
        seconds = round(time.monotonic() - started, 2)
        if stored:
            save_tensors(stored, (self.folder / name_of(number)).with_suffix(".safetensors"))
        lines = [json.dumps({"seconds": seconds, "is_sampled": is_sampled, **row}) for row in rows]
        write_text(self.folder / name_of(number), "\n".join(lines) + "\n")
        num_tokens = sum(len(answer.ids) for answer in answers if answer is not None)
        size = sum(value.nbytes for value in stored.values()) / 1e6
        told = f"{num_tokens / seconds:.0f} tokens/s, {size:.0f} MB"
        self.report(f"own answers: batch {number}, {len(rows)} answers, {told}")
        return seconds

    def _view(self, inputs: ModelInputs, embeddings: Tensor) -> tuple[list[int], Tensor]:
        """The prompt's ids with SLOT (or MARK) per visual embedding that is kept, and those [slots, width]."""
        view: list[int] = []
        kept = [embeddings[:0]]
        ids, images = inputs.token_ids[0].tolist(), self.family.image_token_ids
        for tokens, start, is_picture in runs(ids, images, markers=self.writing.features):
            if not is_picture:
                view += tokens
            elif (num_visual := self.writing.num_visual) is not None:
                visual = pooled(embeddings[start : start + len(tokens)], num_visual)
                view += [SLOT if len(tokens) > 1 else MARK] * len(visual)
                kept.append(visual)
        return view, torch.cat(kept)

    def _sound_seconds(self) -> float:
        """Seconds that the batches took; every line of a batch has them. Damaged batches are taken away."""
        seconds = 0.0
        for path in batches_in(self.folder):
            rows = read_batch(path, self.writing.features)
            if rows is None:
                self.report(f"own answers: {path.name} is damaged and is written anew")
                path.unlink()
            else:
                seconds += rows[0].seconds
        return seconds

    def lines(self, num_visual: int | None = None) -> list[Line]:
        """Everything written so far, with at most `num_visual` embeddings of a picture (0: all that are there; None:
        none). Raises InputError when nothing was written."""
        found: list[Line] = []
        for path, rows in answers_in(self.folder):
            visual = {} if num_visual is None else _stored_visual(path.with_suffix(".safetensors"))
            found += [_line(row, visual.get(str(place)), num_visual or 0) for place, row in enumerate(rows)]
        if not found:
            reason = f" ({self.left_out})" if len(self.left_out) else ""
            raise InputError(
                f"no answers in {self.folder}; the target wrote nothing within the minutes allowed{reason}"
            )
        return found


def on_disk(values: Tensor) -> Tensor:
    return values.to("cpu", torch.bfloat16).contiguous()


def _stored_visual(file: Path) -> dict[str, Tensor]:
    """Visual embeddings of a batch's rows; features, which are large, are left on disk."""
    if not file.is_file():
        return {}
    with safe_open(file, "pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys() if name.isdigit()}  # noqa: SIM118


def _line(row: StoredAnswer, visual: Tensor | None, num_visual: int) -> Line:
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
    return Line(
        (*view, *row.ids),
        len(view),
        row.top_ids,
        row.top_shares,
        torch.cat(kept) if kept else None,
    )
