"""Runs a family's language model as an OpenVINO graph; images and embeddings stay with transformers.

All slots lie in one state of one graph: a slot is a list of columns, and a mask hides the others from its tokens. What
is dropped stays in its columns until more is dropped than is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.columns import ALL, ColumnSlot, Part, Row
from seeahead.executors.converted import arithmetic, check_installed, converted, put_states, request_of, states_of
from seeahead.executors.reading import Reader, as_read, language_inputs, looked_up

_PART = 512
"""Tokens of a prompt in one pass, where it may be cut: a mask grows with their number times all tokens."""
_SLACK = 128
"""Dropped columns that are never worth a copy of the state."""
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
        self._slots: WeakSet[ColumnSlot] = WeakSet()
        self._lock = threading.RLock()
        self._layers: tuple[int, ...] = ()
        self._request = request_of(path, precision)
        self._num_columns = 0

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
        slot = ColumnSlot()
        with self._lock:
            self._slots.add(slot)
        return slot

    def close(self, slot: Slot) -> None:
        assert isinstance(slot, ColumnSlot)
        slot.columns = slot.columns[:0]  # the set is left alone: somebody may be walking through it

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
        ready = []
        for prompt in prompts:
            assert isinstance(prompt.slot, ColumnSlot), "a slot is used with the executor that opened it"
            self.family.check_length(prompt.slot.length + prompt.inputs.length)
            is_read = prompt.slot.length or "inputs_embeds" in prompt.inputs.extras
            ready.append(prompt if is_read else replace(prompt, inputs=self.ready(prompt.inputs)))
        if sum(prompt.inputs.length for prompt in ready) <= _PART:
            return self._read(ready, want)
        return [self._read_long(prompt, want) for prompt in ready]

    def _read_long(self, prompt: PromptInputs, want: Want) -> Scores:
        inputs = prompt.inputs
        is_causal = not any(name.startswith(_VISIBLE) for name in inputs.extras)
        bounds = [0, *(range(_PART, inputs.length, _PART) if is_causal else ()), inputs.length]
        parts = [replace(prompt, inputs=inputs.part(*pair)) for pair in pairwise(bounds)]
        done = [self._read([part], want)[0] for part in parts]
        features = {layer: torch.cat([part.features[layer] for part in done]) for layer in want.layers}
        embedded = [part.embeddings for part in done if part.embeddings is not None]
        return Scores(done[-1].logits, features, torch.cat(embedded) if embedded else None)

    def _read(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        parts = [self._prompt_part(prompt) for prompt in prompts]
        ends = list(accumulate(len(part.embeddings) for part in parts))
        logits, features = self._run(parts, [end - 1 for end in ends], want)
        found = []
        for number, (part, bounds) in enumerate(zip(parts, pairwise([0, *ends]), strict=True)):
            part.slot.length += len(part.embeddings)
            own = {layer: hidden[slice(*bounds)] for layer, hidden in features.items()}
            embedded = as_read(self.family.model, part.embeddings) if want.embeddings else None
            found.append(Scores(logits[number][None], own, embedded))
        return found

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

    def _run(self, parts: Sequence[Part], rows: Sequence[int], want: Want) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits of `rows` of all parts side by side, and the hidden states wanted of all tokens.

        Afterwards the slots have the columns of their new tokens, as pending ones. New prompts are read beside the
        state and then join it: their rows would attend over all columns, since a mask spares no arithmetic."""
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
