"""Runs a family's language model as an OpenVINO graph; images and embeddings stay with transformers.

All slots lie in one state of one graph: a slot is a list of columns, and a mask hides the others from its tokens. What
is dropped stays in its columns until more is dropped than is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import Scores, Slot, TreeInputs, Want
from seeahead.executors.columns import ALL, ColumnSlot, Part, Row
from seeahead.executors.converted import arithmetic, check_installed, converted, put_states, request_of, states_of
from seeahead.executors.embedded import EmbeddedExecutor, EmbeddedFamily
from seeahead.executors.reading import as_read, looked_up

_SLACK = 128
"""Dropped columns that are never worth a copy of the state."""


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
        self._slots: WeakSet[ColumnSlot] = WeakSet()
        self._lock = threading.RLock()
        self._layers: tuple[int, ...] = ()
        self._request = request_of(path, precision)
        self._num_columns = 0

    def follow(self) -> None:
        raise ModelError("the model was changed after it was converted to OpenVINO; load it again")

    def is_current(self) -> bool:
        """Always: whoever changes weights in place loads the model again."""
        return True

    def separate(self) -> bool:
        """No: slots share the graph's state, or nothing runs."""
        return False

    def open(self, capacity: int) -> ColumnSlot:
        slot = ColumnSlot()
        with self._lock:
            self._slots.add(slot)
        return slot

    def close(self, slot: Slot) -> None:
        own = self._own(slot)
        own.columns = own.columns[:0]  # the set is left alone: somebody may be walking through it

    def _own(self, slot: Slot) -> ColumnSlot:
        assert isinstance(slot, ColumnSlot), "a slot is used with the executor that opened it"
        return slot

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        parts = [self._tree_part(tree) for tree in trees]
        bounds = [0, *accumulate(len(part.embeddings) for part in parts)]
        logits, features = self._run(parts, range(bounds[-1]), want)
        return Scores(logits, features).split(bounds)

    def _tree_part(self, tree: TreeInputs) -> Part[ColumnSlot]:
        slot, number, words = self._own(tree.slot), len(tree.parents), tree.tokens
        slot.add(tree.parents)
        ids = words if isinstance(words, Tensor) else torch.tensor(list(words), dtype=torch.int64)
        given = words if isinstance(words, Tensor) else looked_up(self.family.model, ids)
        return Part(slot, given, self._positions(torch.tensor(slot.positions(number))), {ALL: slot.visible(number)})

    def _run(
        self, parts: Sequence[Part[ColumnSlot]], rows: Sequence[int], want: Want
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """New prompts are read beside the state and then join it: their rows would attend over all columns, since a
        mask spares no arithmetic."""
        with self._lock:
            self._tell(want.layers)
            held = [slot for slot in self._slots if len(slot.columns)]
            if held and not any(len(part.slot.columns) for part in parts):
                beside = self._request.get_compiled_model().create_infer_request()
                results = self._infer(beside, Row(parts, 0), rows, want)
                num_new = sum(len(part.embeddings) for part in parts)
                self._rebuild(held, states_of(beside))
                for part in parts:
                    part.slot.columns = part.slot.columns + self._num_columns
                self._num_columns += num_new
                return results
            self._make_room(held)
            row = Row(parts, self._num_columns)
            results = self._infer(self._request, row, rows, want)
            self._num_columns += row.bounds[-1]
            return results

    def _infer(self, request: Any, row: Row, rows: Sequence[int], want: Want) -> tuple[Tensor, dict[int, Tensor]]:
        positions, narrowed = row.positions(), self.family.visible_in
        given = {
            "embeddings": row.embeddings(),
            "positions": positions if self._num_axes > 1 else positions[0],
            "rows": np.array(rows, np.int64),
            "order": np.zeros(1, np.int32),
            **{f"mask.{index}": row.mask(kind, narrowed) for index, kind in enumerate(self._kinds)},
            **{f"addition.{index}": row.addition(index) for index in range(self._num_additions)},
        }
        results = request.infer(given, share_inputs=True, share_outputs=True)
        row.take()
        features = {layer: self._copy(results[f"hidden.{layer}"]) for layer in want.layers if layer}
        if 0 in want.layers:
            features[0] = as_read(self.family.model, torch.from_numpy(given["embeddings"])[0])
        own = {layer: hidden.to(self._computes_in) for layer, hidden in features.items()}
        return self._copy(results["logits"]), own

    @staticmethod
    def _copy(result: Any) -> Tensor:
        """The next pass writes into the same memory."""
        return torch.from_numpy(np.array(result))[0]

    def _tell(self, layers: Sequence[int]) -> None:
        """A graph that also tells these hidden states; what the old one holds moves over."""
        missing = set(layers) - {-1, 0, *self._layers}
        if missing:
            states = states_of(self._request)
            self._layers = (*self._layers, *sorted(missing))
            self._request = request_of(self._path, self.precision, self._layers)
            if self._num_columns:
                put_states(self._request, states)

    def _make_room(self, held: Sequence[ColumnSlot]) -> None:
        """Drop columns that nobody holds, where these are many."""
        num_held = sum(len(slot.columns) for slot in held)
        if num_held == 0:
            self._request.reset_state()
            self._num_columns = 0
        elif self._num_columns - num_held > max(_SLACK, num_held // 4):
            self._rebuild(held)

    def _rebuild(self, held: Sequence[ColumnSlot], added: Mapping[str, Any] | None = None) -> None:
        """The state anew: the columns of the slots `held`, then those of the states `added`."""
        order = np.concatenate([slot.columns for slot in held])
        states = {name: values[:, :, order] for name, values in states_of(self._request).items()}
        if added is not None:
            states = {name: np.concatenate([values, added[name]], 2) for name, values in states.items()}
        put_states(self._request, states)
        self._num_columns = len(order)
        for slot, end in zip(held, accumulate(len(slot.columns) for slot in held), strict=True):
            slot.columns = np.arange(end - len(slot.columns), end)
