"""Runs a family's language model as an OpenVINO graph; images and embeddings stay with transformers.

A slot is a list of columns in a row of a graph's state, and a mask hides the others from its tokens. What is dropped
stays in its columns until more is dropped than is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import Scores, Slot, TreeInputs, Want
from seeahead.executors.columns import ALL, ColumnSlot, Part, Table
from seeahead.executors.converted import arithmetic, check_installed, compiled, converted
from seeahead.executors.embedded import EmbeddedExecutor, EmbeddedFamily
from seeahead.executors.groups import Graph, Group, grouped, thin_out
from seeahead.executors.many import FormForMany
from seeahead.executors.reading import as_read, looked_up


class OpenVinoExecutor(EmbeddedExecutor[ColumnSlot]):
    """The language model of a family as an `Executor`."""

    def __init__(
        self, family: EmbeddedFamily, precision: str = "float32", progress: Callable[[str, float], None] | None = None
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
        super().__init__(family, arithmetic(precision))
        self.precision = precision
        self.name = f"openvino {precision}"
        path = converted(family.model, precision, self._kinds, self._num_additions, self._num_axes, progress)
        self._path = path
        self._lock = threading.RLock()
        self._groups = WeakSet[Group]()
        self._graph = self._compiled(frozenset(), is_single=True)

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
        self._own(slot).leave()

    def _own(self, slot: Slot) -> ColumnSlot:
        assert isinstance(slot, ColumnSlot), "a slot is used with the executor that opened it"
        return slot

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        parts = [self._tree_part(tree) for tree in trees]
        bounds = [0, *accumulate(len(part.embeddings) for part in parts)]
        logits, features = self._pass(parts, range(bounds[-1]), want, alone=False)
        return Scores(logits, features).split(bounds)

    def _tree_part(self, tree: TreeInputs) -> Part[ColumnSlot]:
        slot, number, words = self._own(tree.slot), len(tree.parents), tree.tokens
        slot.add(tree.parents)
        ids = words if isinstance(words, Tensor) else torch.tensor(list(words), dtype=torch.int64)
        given = words if isinstance(words, Tensor) else looked_up(self.family.model, ids)
        return Part(slot, given, self._positions(torch.tensor(slot.positions(number))), {ALL: slot.visible(number)})

    def _run(self, part: Part[ColumnSlot], want: Want) -> tuple[Tensor, dict[int, Tensor]]:
        return self._pass([part], [len(part.embeddings) - 1], want, alone=True)

    def _pass(
        self, parts: Sequence[Part[ColumnSlot]], rows: Sequence[int], want: Want, *, alone: bool
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
            self._graph = self._compiled(layers, is_single=is_single)
        group = grouped(self._graph, slots)
        thin_out(list(self._groups))
        self._groups.add(group)
        return group

    def _compiled(self, layers: frozenset[int], *, is_single: bool) -> Graph:
        model = compiled(self._path, self.precision, layers, is_single=is_single)
        return Graph(model, layers, is_single, FormForMany(model))
