"""Runs a family's language model as an OpenVINO graph; images and embeddings stay with transformers.

A slot holds blocks of pages that all slots share, so a pass serves any number of them side by side, each after what it
holds. What is dropped is given back, and an accepted path is moved into its columns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import NOTHING, Limits, PromptInputs, Scores, Slot, TreeInputs, Want, Widths, together
from seeahead.executors.compiled import Graphs, arithmetic, fixed_sizes, has_choice
from seeahead.executors.converted import check_installed, converted
from seeahead.executors.embedded import EmbeddedExecutor, Part, obstacles_of
from seeahead.executors.hooks import has_global_hooks, num_hooks
from seeahead.executors.language import StateShape
from seeahead.executors.pages import PagedSlot, Pages
from seeahead.executors.reading import FamilyLike, as_read, looked_up
from seeahead.executors.row_steps import LONG, row_steps
from seeahead.executors.sequences import Fed, Run, fed_prompt, fed_tree, filler, tables
from seeahead.tree import ROOT


class OpenVinoExecutor(EmbeddedExecutor[PagedSlot]):
    """The language model of a family as an `Executor`."""

    slot_type = PagedSlot

    def __init__(
        self, family: FamilyLike, precision: str = "float32", progress: Callable[[str, float], None] | None = None
    ) -> None:
        """`precision` of the weights (`conversion.PRECISIONS`). Converts the model, or finds it converted.

        Raises ModelError for a model that does not convert, and where OpenVINO is missing."""
        check_installed(precision)
        for reason in _obstacles(family):
            raise ModelError(
                f"{type(family.model).__name__} does not run on OpenVINO: {reason}; use executor transformers"
            )
        kinds = (torch.bfloat16, torch.float32) if precision == "bfloat16" else (torch.float32,)
        if next(family.model.get_decoder().parameters()).dtype not in kinds:
            allowed = " or ".join(str(kind).removeprefix("torch.") for kind in kinds)
            raise ModelError(f"executor openvino in {precision} converts models in {allowed}; load the model in that")
        super().__init__(family, arithmetic(precision))
        self.precision = precision
        self.name = f"openvino {precision}"
        path = converted(family.model, precision, self._kinds, self._num_additions, self._num_axes, progress)
        self._step, self._sizes, self._long_rows = 1, tuple[int, ...](), 0
        self._lock = threading.RLock()
        self._graphs = Graphs(path, precision)
        kind, size = self._graphs.of(0).page  # of any number
        facts = self._graphs.facts
        shapes = [StateShape(one.num_key_heads, width) for one in facts for width in (one.key_width, one.value_width)]
        # numpy has no bfloat16.
        self._pages = Pages(shapes, size, np.uint16 if kind == "bf16" else np.float32)
        self._widths, self._spare = Widths(self.limits), list[int]()
        self._window = max(one.window for one in facts)
        may, slot = has_choice(path, precision), self.open(LONG)
        known = row_steps(path.parent, partial(self._seconds, slot), has_choice=may, progress=progress)
        self.close(slot)
        self._step, self._long_rows = known.step, known.long_rows
        self._sizes = fixed_sizes(path, known.step, known.long_rows)
        self._graphs.fix(self._sizes, known.long_rows)
        self._widths = Widths(self.limits)

    def _seconds(self, slot: PagedSlot, size: int, in_32_bits: bool) -> float:
        """Of a pass over so many tokens, in a graph for any number; of a long one as of a prompt's."""
        self._graphs.long_rows = int(in_32_bits)  # more than one
        tree = TreeInputs(slot, [0] * size, range(ROOT, size - 1))
        started = perf_counter()
        with torch.inference_mode():
            [fed] = self._fed([tree])
            fed.tells_last = size == LONG
            self._pass([fed], NOTHING)
        seconds = perf_counter() - started
        self.commit(slot, ())
        return seconds

    @property
    def limits(self) -> Limits:
        return replace(super().limits, row_step=self._step, fixed_rows=self._sizes, long_rows=self._long_rows)

    def follow(self) -> None:
        raise ModelError("the model was changed after it was converted to OpenVINO; load it again")

    def is_current(self) -> bool:
        """Always: whoever changes weights in place loads the model again."""
        return True

    def separate(self) -> bool:
        """No: all slots share the pages of one graph."""
        return False

    def open(self, capacity: int) -> PagedSlot:
        return PagedSlot(self._pages)

    def close(self, slot: Slot) -> None:
        with self._lock:
            self._own(slot).cut(0)

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        with self._lock:
            super().commit(slot, path)

    def cut(self, slot: Slot, length: int) -> None:
        with self._lock:
            super().cut(slot, length)

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        with self._lock:
            return [Scores(*found) for found in self._pass(self._fed(trees), want)]

    def _fed(self, trees: Sequence[TreeInputs]) -> list[Fed]:
        fed = []
        for tree, given in zip(trees, self._embeddings(trees), strict=True):
            slot, number = self._own(tree.slot), len(tree.parents)
            slot.add(tree.parents)
            slot.remember(given, self._positions(torch.tensor(slot.positions(number))))
            fed.append(fed_tree(slot, number, self._window))
        return fed

    def _embeddings(self, trees: Sequence[TreeInputs]) -> list[Tensor]:
        """What the language model is given for each tree; the words of all are looked up at once."""
        words = [list(tree.tokens) for tree in trees if not isinstance(tree.tokens, Tensor)]
        ids = torch.tensor([word for own in words for word in own], dtype=torch.int64)
        found = iter(looked_up(self.family.model, ids).split([len(own) for own in words]))
        return [tree.tokens if isinstance(tree.tokens, Tensor) else next(found) for tree in trees]

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        """As many prompts in one pass as have `most_read` tokens together: tables keep their attention apart."""
        ready, scores = [self._readied(prompt) for prompt in prompts], list[Scores]()
        for place in together([prompt.inputs.length for prompt in ready], self.most_read):
            is_one = len(ready[place]) == 1
            scores += super().prefill(ready[place], want) if is_one else self._side_by_side(ready[place], (), want)[0]
        return scores

    @torch.inference_mode()
    def mixed(
        self, prompts: Sequence[PromptInputs], trees: Sequence[TreeInputs], want: Want
    ) -> tuple[list[Scores], list[Scores]]:
        """In one pass up to `most_read` tokens of prompts: a step beside a prompt takes little more than the prompt."""
        ready = [self._readied(prompt) for prompt in prompts]
        if sum(prompt.inputs.length for prompt in ready) > self.most_read:
            return self.prefill(ready, want), self.forward(trees, want)
        return self._side_by_side(ready, trees, want)

    def _side_by_side(
        self, prompts: Sequence[PromptInputs], trees: Sequence[TreeInputs], want: Want
    ) -> tuple[list[Scores], list[Scores]]:
        with self._lock:
            parts = [self._prompt_part(prompt) for prompt in prompts]
            read = [fed_prompt(part, self.family.visible_in) for part in parts]
            checked = self._fed(trees)
            if _may_share(read, checked):
                found = self._pass([*read, *checked], want)
            else:
                found = [*self._pass(read, want), *self._pass(checked, want)]
        done = [self._taken(part, want, *own) for part, own in zip(parts, found[: len(parts)], strict=True)]
        return done, [Scores(*own) for own in found[len(parts) :]]

    def _run(self, part: Part[PagedSlot], want: Want) -> tuple[Tensor, dict[int, Tensor]]:
        with self._lock:
            fed = fed_prompt(part, self.family.visible_in)
            if len(fed.rows) <= max(self._sizes, default=0) and fed.runs[0].types is None:
                fed.tells_last = False  # as a tree, for which there is a graph
            [(logits, features)] = self._pass([fed], want)
            return logits[-1:], features

    def _pass(self, fed: Sequence[Fed], want: Want) -> list[tuple[Tensor, dict[int, Tensor]]]:
        """Of each of these the logits of the rows that have some, and the hidden states wanted of all rows."""
        self._graphs.tell(want.layers)
        firsts = [0, *accumulate(sum(len(run.embeddings) for run in one.runs) for one in fed)]
        rows = [first + row for first, one in zip(firsts[:-1], fed, strict=True) for row in one.rows]
        told = [first + row for first, one in zip(firsts[:-1], fed, strict=True) for row in one.told]
        runs, number = [run for one in fed for run in one.runs], len(told)
        if any(one.tells_last for one in fed):
            self._widths.forget()
            width = self._graphs.divisible(firsts[-1])
        else:
            width = self._widths.width(firsts[-1])[0]
            told += [0] * (width - number)
        if width > firsts[-1]:
            runs.append(filler(self._pages, self._spare, runs[0], width - firsts[-1]))
        embeddings = torch.cat([run.embeddings for run in runs])[:, None].float()
        graph = self._graphs.of(width, all_told=len(told) == width)
        try:
            results = graph.infer({**self._inputs(runs, embeddings, told), **tables(runs)}, self._pages)
            for one in fed:
                one.settle()
        finally:
            for one in fed:
                one.release()
        features = {
            layer: torch.from_numpy(results[graph.places[f"hidden.{layer}"]][rows, 0]).to(self._computes_in)
            for layer in want.layers
            if layer
        }
        if 0 in want.layers:
            features[0] = as_read(self.family.model, embeddings[rows, 0]).to(self._computes_in)
        # The next pass writes into the same memory.
        logits = torch.from_numpy(np.array(results[graph.places["logits"]][:number, 0]))
        return _split(fed, logits, features)

    def _inputs(self, runs: Sequence[Run], embeddings: Tensor, told: Sequence[int]) -> dict[str, Any]:
        positions = torch.cat([run.positions for run in runs], 1)[..., None]
        inputs = {
            "embeddings": embeddings.numpy(),
            "positions": (positions if self._num_axes > 1 else positions[0]).numpy(),
            "rows": np.array(told, np.int64),
        }
        for number in range(self._num_additions):
            added = [
                torch.zeros_like(run.embeddings) if run.additions is None else run.additions[number] for run in runs
            ]
            inputs[f"addition.{number}"] = torch.cat(added)[:, None].float().numpy()
        return inputs


def _may_share(prompts: Sequence[Fed], trees: Sequence[Fed]) -> bool:
    """Whether they go into one pass: attention knows trees, or tokens that see each other both ways."""
    has_types = any(run.types is not None for one in prompts for run in one.runs)
    return not (has_types and any(run.tree is not None for one in trees for run in one.runs))


def _split(fed: Sequence[Fed], logits: Tensor, features: dict[int, Tensor]) -> list[tuple[Tensor, dict[int, Tensor]]]:
    """What a pass says of each of these, one after the other."""
    own = logits.split([len(one.told) for one in fed])
    hidden = {layer: states.split([len(one.rows) for one in fed]) for layer, states in features.items()}
    return [(told, {layer: parts[place] for layer, parts in hidden.items()}) for place, told in enumerate(own)]


def _obstacles(family: FamilyLike) -> Iterator[str]:
    yield from obstacles_of(family)
    parts = (family.model, *family.model.get_decoder().modules(), *family.model.get_output_embeddings().modules())
    if has_global_hooks() or any(map(num_hooks, parts)):  # which a graph that was made before has not
        yield "something is hooked to it, or a forward was replaced"
    if family.passes_alone:
        yield "its rotary factors change along a text"
    if family.device.type != "cpu":
        yield "it does not lie on the CPU"
    if getattr(family.model, "hf_quantizer", None) is not None:
        yield "its checkpoint is quantised"
