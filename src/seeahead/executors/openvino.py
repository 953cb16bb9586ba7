"""Runs a family's language model as an OpenVINO graph; images and embeddings stay with transformers.

A slot is a list of columns in a row of a graph's state, and a mask hides the others from its tokens. What is dropped
stays in its columns until more is dropped than is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.columns import ALL, ColumnSlot, Part, Table
from seeahead.executors.converted import arithmetic, check_installed, compiled, converted
from seeahead.executors.groups import Graph, Group, grouped
from seeahead.executors.reading import Reader, as_read, language_inputs, looked_up

_PART = 512
"""Tokens of a prompt in one pass, where it may be cut: a mask grows with their number times all tokens."""
_VISIBLE = "visible."


class OpenVinoFamily(Reader, Protocol):
    """What is asked of a family."""

    text_config: Any
    vocab_size: int
    max_length: int | None
    can_cut: bool
    reads_places: ClassVar[bool]
    device: torch.device

    @property
    def width(self) -> int: ...
    @property
    def layer_types(self) -> tuple[str, ...]: ...
    def check_length(self, length: int) -> None: ...
    def indivisible(self, inputs: ModelInputs) -> int: ...
    def most_nodes(self, position: int) -> int | None: ...
    def prompt_positions(self, inputs: ModelInputs) -> Tensor | None: ...
    def positions(self, positions: Tensor) -> Tensor: ...
    def visible_in(self, kind: str, visible: Tensor) -> Tensor: ...


class OpenVinoExecutor:
    """The language model of a family as an `Executor`."""

    def __init__(
        self, family: OpenVinoFamily, precision: str = "float32", progress: Callable[[str, float], None] | None = None
    ) -> None:
        """`precision` of the weights (`conversion.PRECISIONS`). Converts the model, or finds it converted.

        Raises ModelError for a model that does not convert, and where OpenVINO is missing."""
        check_installed(precision)
        if family.reads_places or family.device.type != "cpu":
            reason = "its layers read places off the cache" if family.reads_places else "it does not lie on the CPU"
            raise ModelError(
                f"{type(family.model).__name__} does not run on OpenVINO: {reason}; use executor transformers"
            )
        if next(family.model.get_decoder().parameters()).dtype != torch.float32:
            raise ModelError("executor openvino converts models in float32; load the model with dtype float32")
        self.family, self.precision = family, precision
        self.name = f"openvino {precision}"
        visual = getattr(family.model.config, "vision_config", None)
        self._num_additions = len(getattr(visual, "deepstack_visual_indexes", None) or ())
        self._num_axes = len(family.positions(torch.zeros(1, 1)))
        self._kinds = family.layer_types
        path = converted(family.model, precision, self._kinds, self._num_additions, self._num_axes, progress)
        self._path, self._computes_in = path, arithmetic(precision)
        self._lock = threading.RLock()
        self._graph = Graph(compiled(path, precision, (), is_single=True), frozenset(), is_single=True)

    @property
    def limits(self) -> Limits:
        family = self.family
        return Limits(family.vocab_size, family.max_length, family.width, family.device, self._computes_in)

    def embed(self, tokens: Tensor) -> Tensor:
        with torch.inference_mode():
            return as_read(self.family.model, looked_up(self.family.model, tokens)).to(self.limits.dtype)

    def head_rows(self, tokens: Tensor) -> Tensor:
        head: Any = self.family.model.get_output_embeddings()
        rows: Tensor = head.weight.detach()[tokens].to(self.limits.dtype)
        return rows

    def follow(self) -> None:
        raise ModelError("the model was changed after it was converted to OpenVINO; load it again")

    def is_current(self) -> bool:
        """Always: whoever changes weights in place loads the model again."""
        return True

    def separate(self) -> bool:
        """No: slots share the graph's state, or nothing runs."""
        return False

    def open(self, capacity: int) -> ColumnSlot:
        return ColumnSlot()

    def close(self, slot: Slot) -> None:
        assert isinstance(slot, ColumnSlot)
        slot.leave()

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        assert isinstance(slot, ColumnSlot)
        slot.commit(path)

    def cut(self, slot: Slot, length: int) -> None:
        assert isinstance(slot, ColumnSlot)
        slot.cut(length)

    def most_nodes(self, slot: Slot) -> int | None:
        assert isinstance(slot, ColumnSlot)
        return self.family.most_nodes(slot.length + slot.shift)

    @torch.inference_mode()
    def ready(self, inputs: ModelInputs) -> ModelInputs:
        family = self.family
        family.check_length(inputs.length)
        read, positions = language_inputs(family, inputs), family.prompt_positions(inputs)
        shift = torch.zeros(1, dtype=torch.int64)
        if positions is None:
            positions = family.positions(torch.arange(inputs.length)[None])
        else:
            positions = positions[-3:]  # a fourth row, where there is one, comes first and counts tokens
            shift[0] = int(positions.max()) + 1 - inputs.length
        positions = positions.reshape(self._num_axes, inputs.length)
        extras = {"inputs_embeds": read.embeddings, "positions": positions.T[None], "shift": shift}
        if read.additions is not None:
            extras["additions"] = read.additions.transpose(0, 1)[None]
        extras |= {f"{_VISIBLE}{kind}": visible for kind, visible in read.visible.items()}
        indivisible = family.indivisible(inputs) if read.visible or not family.can_cut else 0
        return ModelInputs(inputs.token_ids, extras, indivisible)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        return [self._read(prompt, want) for prompt in prompts]

    def _read(self, prompt: PromptInputs, want: Want) -> Scores:
        """In a pass of its own: a prompt keeps the processor busy, and beside others it would attend over theirs."""
        slot, inputs = prompt.slot, prompt.inputs
        assert isinstance(slot, ColumnSlot), "a slot is used with the executor that opened it"
        self.family.check_length(slot.length + inputs.length)
        if not slot.length and "inputs_embeds" not in inputs.extras:
            inputs = self.ready(inputs)
        is_causal = not any(name.startswith(_VISIBLE) for name in inputs.extras)
        bounds = [0, *(range(_PART, inputs.length, _PART) if is_causal else ()), inputs.length]
        parts = [inputs if len(bounds) == 2 else inputs.part(*pair) for pair in pairwise(bounds)]
        done = [self._read_part(replace(prompt, inputs=part), want) for part in parts]
        features = {layer: torch.cat([part.features[layer] for part in done]) for layer in want.layers}
        embedded = [part.embeddings for part in done if part.embeddings is not None]
        return Scores(done[-1].logits, features, torch.cat(embedded) if embedded else None)

    def _read_part(self, prompt: PromptInputs, want: Want) -> Scores:
        part = self._prompt_part(prompt)
        number = len(part.embeddings)
        logits, features = self._run([part], [number - 1], want, alone=True)
        part.slot.length += number
        embedded = as_read(self.family.model, part.embeddings) if want.embeddings else None
        return Scores(logits, features, embedded)

    def _prompt_part(self, prompt: PromptInputs) -> Part:
        slot, extras, length = prompt.slot, prompt.inputs.extras, prompt.inputs.length
        assert isinstance(slot, ColumnSlot)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        embeddings = extras.get("inputs_embeds")
        if embeddings is None:  # words after what was read before
            places = torch.arange(slot.length, slot.length + length) + slot.shift
            return Part(slot, self._looked_up(prompt.inputs.token_ids[0]), self._positions(places), {ALL: causal})
        if "shift" in extras:
            slot.shift = int(extras["shift"][0])
        given = {name: value for name, value in extras.items() if name.startswith(_VISIBLE)}
        visible = {name[len(_VISIBLE) :]: value[:length, :length] for name, value in given.items()}
        added = extras.get("additions")
        additions = None if added is None else added[0].transpose(0, 1)
        return Part(slot, embeddings[0], extras["positions"][0].T, {ALL: causal, **visible}, additions)

    def _looked_up(self, tokens: Tensor) -> Tensor:
        return looked_up(self.family.model, tokens)

    def _positions(self, places: Tensor) -> Tensor:
        """[axes, tokens], as the graph takes them, of words at `places` [tokens]."""
        return self.family.positions(places[None]).reshape(self._num_axes, len(places))

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        parts = [self._tree_part(tree) for tree in trees]
        bounds = [0, *accumulate(len(part.embeddings) for part in parts)]
        logits, features = self._run(parts, range(bounds[-1]), want)
        return Scores(logits, features).split(bounds)

    def _tree_part(self, tree: TreeInputs) -> Part:
        slot, number, words = tree.slot, len(tree.parents), tree.tokens
        assert isinstance(slot, ColumnSlot), "a slot is used with the executor that opened it"
        slot.add(tree.parents)
        given = words if isinstance(words, Tensor) else self._looked_up(torch.tensor(list(words), dtype=torch.int64))
        return Part(slot, given, self._positions(torch.tensor(slot.positions(number))), {ALL: slot.visible(number)})

    def _run(
        self, parts: Sequence[Part], rows: Sequence[int], want: Want, *, alone: bool = False
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits of `rows` of all parts side by side, and the hidden states wanted of all tokens.

        Afterwards the slots have the columns of their new tokens, as pending ones."""
        with self._lock:
            group = self._group_of([part.slot for part in parts], want, alone=alone)
            table = Table(parts, group.slots, group.num_columns)
            inputs = self._inputs(table, rows)
            results = group.run(inputs, table.rows, table.num_new)
            table.take()
            features = {layer: self._copy(results[f"hidden.{layer}"]) for layer in want.layers if layer}
            if 0 in want.layers:
                features[0] = as_read(self.family.model, torch.from_numpy(inputs["embeddings"])[0])
            own = {layer: hidden.to(self._computes_in) for layer, hidden in features.items()}
            return self._copy(results["logits"]), own

    def _inputs(self, table: Table, rows: Sequence[int]) -> dict[str, Any]:
        positions, narrowed = table.positions(), self.family.visible_in
        return {
            "embeddings": table.embeddings(),
            "positions": positions if self._num_axes > 1 else positions[0],
            "rows": np.array(rows, np.int64),
            "spread": table.spread(),
            "gathered": table.gathered(),
            **{f"mask.{index}": table.mask(kind, narrowed) for index, kind in enumerate(self._kinds)},
            **{f"addition.{index}": table.addition(index) for index in range(self._num_additions)},
        }

    @staticmethod
    def _copy(result: Any) -> Tensor:
        """The next pass writes into the same memory."""
        return torch.from_numpy(np.array(result))[0]

    def _group_of(self, slots: Sequence[ColumnSlot], want: Want, *, alone: bool) -> Group:
        """Where all of these slots are, with a graph that tells what is wanted."""
        layers, group = frozenset(want.layers) - {-1, 0}, slots[0].group
        if group is not None and all(slot.group is group for slot in slots):
            serves = group.graph.serves(layers, len(slots))
            if serves and group.suits(slots, alone=alone):
                return group
        if not self._graph.serves(layers, len(slots)):
            layers, is_single = layers | self._graph.layers, self._graph.is_single and len(slots) == 1
            self._graph = Graph(compiled(self._path, self.precision, layers, is_single=is_single), layers, is_single)
        return grouped(self._graph, slots)
