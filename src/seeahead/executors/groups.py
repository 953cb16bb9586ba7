"""Slots that share the state of an OpenVINO request, a row each; where a pass needs others together, it is made anew.

A slot alone has a request of its own. Slots that take part in the same passes are put into one; those that do not are
left behind, where they cost no time, and no memory that grows with the number of those that were there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from seeahead.executors.columns import ColumnSlot
from seeahead.executors.many import LEAST, FormForMany

_SLACK = 128
"""Columns of no slot that are never worth a copy of the state."""
_PATIENCE = 16
"""Passes in which a row may be idle before the others leave it."""


class Graph(NamedTuple):
    """A compiled graph that tells the hidden states of `layers`; with `is_single`, for groups of one slot."""

    model: Any
    layers: frozenset[int]
    is_single: bool
    many: FormForMany

    def serves(self, layers: frozenset[int], num_slots: int) -> bool:
        return layers <= self.layers and (num_slots == 1 or not self.is_single)


class Group:
    """Slots whose keys and values are rows of one state."""

    def __init__(self, graph: Graph, slots: Sequence[ColumnSlot]) -> None:
        self.graph, self.request = graph, graph.model.create_infer_request()
        graph.many.rest(self.request)
        self.num_columns = 0
        self._rows = [ref(slot) for slot in slots]
        self._num_idle = 0

    @property
    def slots(self) -> list[ColumnSlot]:
        """In the order of their rows."""
        return [slot for _, slot in self.held()]

    def held(self) -> list[tuple[int, ColumnSlot]]:
        """Their rows, and they."""
        slots = ((row, found()) for row, found in enumerate(self._rows))
        return [(row, slot) for row, slot in slots if slot is not None and slot.group is self]

    def suits(self, slots: Sequence[ColumnSlot], *, alone: bool) -> bool:
        """Whether the next pass, over `slots` of this group, may run as the state is. `alone`: without idle rows."""
        held = self.slots
        self._num_idle = self._num_idle + 1 if len(held) > len(slots) else 0
        longest = max(len(slot.columns) for slot in held)
        is_slack = self.num_columns - longest <= max(_SLACK, longest // 4)
        return is_slack and self._num_idle <= (0 if alone else _PATIENCE)

    @property
    def is_sparse(self) -> bool:
        """Whether more of the state is nobody's than somebody's: rows stay where nothing runs, whoever has left."""
        longest = max((len(slot.columns) for slot in self.slots), default=0)
        return len(self._rows) * self.num_columns > 2 * len(self.slots) * longest + _SLACK

    def run(self, inputs: dict[str, Any], rows: Sequence[ColumnSlot], num_new: int) -> Any:
        """A pass; of the state go on the rows of these slots, by which the `inputs` were made."""
        place = {found(): row for row, found in enumerate(self._rows)}
        if self.graph.many.is_there and len(rows) == 1 and num_new >= LEAST:
            results = self.graph.many.run(self.request, inputs, place[rows[0]])
        else:
            order = np.array([place[slot] for slot in rows], np.int32)
            results = self.request.infer({**inputs, "order": order}, share_inputs=True, share_outputs=True)
        self._rows = [ref(slot) for slot in rows]
        self.num_columns += num_new
        return results

    def states(self) -> dict[str, Any]:
        """Keys and values [rows, heads, columns, width] by name, as tensors of OpenVINO."""
        return {state.name: state.state for state in self.request.query_state()}


def _as_slice(columns: Any) -> Any:
    """A slice where they lie side by side: that is copied several times faster."""
    count, first = len(columns), int(columns[0])
    return slice(first, first + count) if int(columns[-1]) == first + count - 1 else columns


def grouped(graph: Graph, slots: Sequence[ColumnSlot]) -> Group:
    """A group of these slots, with what they hold and no other columns."""
    import openvino

    new = Group(graph, slots)
    longest = max(len(slot.columns) for slot in slots)
    if longest:
        old = {slot.group: slot.group.states() for slot in slots if slot.group is not None}
        places = {slot: (old[group], row) for group in old for row, slot in group.held()}
        for state in new.request.query_state():
            like = next(iter(old.values()))[state.name]
            _, heads, _, width = like.shape
            put = openvino.Tensor(like.element_type, openvino.Shape([len(slots), heads, longest, width]))
            rows = put.data
            for row, slot in enumerate(slots):
                count = len(slot.columns)
                rows[row, :, count:] = 0
                if count:
                    states, place = places[slot]
                    rows[row, :, :count] = states[state.name].data[place][:, _as_slice(slot.columns)]
            state.state = put
    for slot in slots:
        slot.columns, slot.group = np.arange(len(slot.columns)), new
    new.num_columns = longest
    return new


def thin_out(groups: Iterable[Group]) -> None:
    """Make sparse ones anew, as small as what their slots hold."""
    for group in groups:
        if (slots := group.slots) and group.is_sparse:
            grouped(group.graph, slots)
