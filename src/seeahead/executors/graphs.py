"""Runs a family's language model as CUDA graphs: a captured pass has no launches, which are most of an eager one.

Every pass over trees is a function of one tensor of numbers: tokens, positions, columns, and what each row sees. It is
captured once for so many rows and columns. On a CPU the same function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.compat import attention_of
from seeahead.errors import ModelError
from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.attending import attention_by
from seeahead.executors.capture import Captured, on_device
from seeahead.executors.embedded import EmbeddedExecutor, Part, obstacles_of
from seeahead.executors.language import Language, state_shapes
from seeahead.executors.layouts import ROWS, Layout, Rows, Sizes
from seeahead.executors.reading import FamilyLike, looked_up
from seeahead.executors.regions import RegionCache, Regions, RegionSlot

if TYPE_CHECKING:
    from seeahead.executors.kernel_parts import KernelParts

Results = tuple[Tensor, dict[int, Tensor]]
"""Logits, and the hidden states wanted, by layer, of the rows of a pass."""


class GraphsExecutor(EmbeddedExecutor[RegionSlot]):
    """The language model of a family as an `Executor`."""

    slot_type = RegionSlot
    most_read = 2048

    def __init__(
        self,
        family: FamilyLike,
        layout: Layout | None = None,
        make_parts: Callable[[Language], KernelParts] | None = None,
    ) -> None:
        """Raises ModelError for a model that cannot run so. `make_parts`: kernels for parts of the language model."""
        model = family.model
        for reason in _obstacles(family):
            raise ModelError(f"{type(model).__name__} does not run as graphs: {reason}; use executor transformers")
        super().__init__(family, family.dtype)
        self._layout = Layout() if layout is None else layout
        self.name, self._make_parts = self._layout.name if make_parts is None else "kernels", make_parts
        with torch.inference_mode(), family.alone():
            self._regions = Regions(state_shapes(model), family.dtype, family.device)
        self._layers: tuple[int, ...] = ()
        self._num_columns = 0
        self._is_alone = self._layout.is_alone
        self.follow()

    @property
    def limits(self) -> Limits:
        # Parts of a prompt have other bits than the whole.
        return replace(super().limits, max_rows=ROWS[-1], whole_prompts=self._layout.is_alone)

    def follow(self) -> None:
        self._language = Language(self.family.model, self._kinds)
        with torch.inference_mode(), self.family.alone(), on_device(self.family.device):
            self._parts = None if self._make_parts is None else self._make_parts(self._language)
        self._forget()
        self._weights = self._places()

    def _forget(self) -> None:
        """Memory that graphs have shared is gone with the last of them, so the next ones share another."""
        self._captured: dict[Sizes, Captured[Results]] = {}
        is_captured = self.family.device.type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if is_captured else None
        self._stream = torch.cuda.Stream(self.family.device) if is_captured else None

    def is_current(self) -> bool:
        """Whether the weights lie where captured passes read them."""
        return self._weights == self._places()

    def _places(self) -> int:
        return hash(tuple(weight.data_ptr() for weight in self._language.parameters()))

    def separate(self) -> bool:
        self._is_alone = True
        return True

    def open(self, capacity: int) -> RegionSlot:
        with self.family.alone():
            return self._regions.open(capacity)

    def close(self, slot: Slot) -> None:
        self._own(slot).room = 0  # no more: this may run at any time, while somebody looks for columns

    @torch.inference_mode()
    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        with self.family.alone():  # a pass of another answer may move the columns, and knows their number by the slot
            self._regions.keep(self._own(slot), path)

    def cut(self, slot: Slot, length: int) -> None:
        with self.family.alone():
            super().cut(slot, length)

    def _read_part(self, prompt: PromptInputs, want: Want) -> Scores:
        with self.family.alone():
            return super()._read_part(prompt, want)

    def ready(self, inputs: ModelInputs) -> ModelInputs:
        made = super().ready(inputs)
        return replace(made, indivisible=inputs.length) if self.limits.whole_prompts else made

    def most_nodes(self, slot: Slot) -> int | None:
        most = [super().most_nodes(slot), self._layout.most_nodes(self._own(slot))]
        return min((one for one in most if one is not None), default=None)

    def _run(self, part: Part[RegionSlot], want: Want) -> Results:
        """A pass over a prompt, which is never captured: it has the size of this."""
        slot, device = part.slot, self.family.device
        with self.family.alone(), on_device(device):
            self._regions.make_room(slot, slot.length + len(part.embeddings), at_front=self._layout.is_alone)
            start = slot.first + slot.length
            end = start + len(part.embeddings)
            narrowed, added = self.family.visible_in, part.additions
            masks = [self.family.additive_mask(part.seen(kind, narrowed)[None]) for kind in self._kinds]
            cache = RegionCache(self._regions, torch.arange(start, end, device=device), (slot.first, end))
            last, before = self._language.states(
                part.embeddings[None],
                self._given(part.positions.to(device)),
                masks,
                [] if added is None else list(added[:, None]),
                cache,
            )
            hidden = {layer: (last if layer == -1 else before[layer])[0] for layer in want.layers}
            return self._language.logits(last[0, -1:]), hidden

    def _given(self, positions: Tensor) -> Tensor:
        """[axes, new] as the model takes them."""
        return positions[:, None] if self._num_axes > 1 else positions

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        if (self._is_alone or self.family.passes_alone) and len(trees) > 1:
            return [self.forward([tree], want)[0] for tree in trees]
        slots, counts = [self._own(tree.slot) for tree in trees], [len(tree.parents) for tree in trees]
        with self.family.alone(), on_device(self.family.device):
            for slot, tree in zip(slots, trees, strict=True):
                slot.add(tree.parents)
            for slot in slots:
                self._regions.make_room(slot, slot.length + slot.num_pending, at_front=self._layout.is_alone)
            sizes = self._layout.sizes(slots, sum(counts))
            self._regions.reserve(sizes.columns)
            logits, hidden = self._passed(trees, self._numbers(trees, slots, sizes), sizes, want)
            bounds = [0, *accumulate(counts)]
            # The next pass writes into the same memory.
            features = {layer: hidden[layer][: bounds[-1]].clone() for layer in want.layers}
            return Scores(logits[: bounds[-1]].clone(), features).split(bounds)

    def _numbers(self, trees: Sequence[TreeInputs], slots: Sequence[RegionSlot], sizes: Sizes) -> Tensor:
        """What `_scored` reads, on the host: lines of tokens, positions on each axis, columns, and what rows see."""
        axes = self._num_axes
        numbers = torch.zeros(4 + axes + sizes.lines, sizes.rows, dtype=torch.int64)
        numbers[1 + axes] = self._regions.num_columns  # where rows without a token write
        first = 0
        for tree, slot in zip(trees, slots, strict=True):
            count = len(tree.parents)
            own = numbers[:, first : first + count]
            if not isinstance(tree.tokens, Tensor):
                own[0] = torch.tensor(list(tree.tokens))
            own[1 : 1 + axes] = self._positions(torch.tensor(slot.positions(count)))
            own[1 + axes] = torch.arange(slot.end - count, slot.end)
            rows = self._layout.rows(slot, count, sizes.lines)
            own[2 + axes], own[3 + axes] = rows.low, rows.high
            own[4 + axes : 4 + axes + len(rows.lines)] = rows.lines
            first += count
        # Rows without a token see what the last one sees that has one: they widen nothing.
        numbers[2 + axes : 4 + axes, first:] = numbers[2 + axes : 4 + axes, first - 1 : first]
        return numbers

    def _passed(self, trees: Sequence[TreeInputs], numbers: Tensor, sizes: Sizes, want: Want) -> Results:
        device, model = self.family.device, self.family.model
        if any(isinstance(tree.tokens, Tensor) for tree in trees):
            known = [
                tree.tokens if isinstance(tree.tokens, Tensor) else looked_up(model, torch.tensor(list(tree.tokens)))
                for tree in trees
            ]
            embeddings = torch.cat([one.to(device) for one in known])
            padded = F.pad(embeddings, (0, 0, 0, sizes.rows - len(embeddings)))[None]
            return self._scored(sizes, want.layers, numbers.to(device), padded)
        if not sizes.is_fixed:
            return self._scored(sizes, want.layers, numbers.to(device))
        return self._captured_pass(sizes, want.layers, numbers)(numbers)

    def _captured_pass(self, sizes: Sizes, layers: Sequence[int], numbers: Tensor) -> Captured[Results]:
        wanted = tuple(sorted({*self._layers, *layers}))
        if (wanted, self._regions.num_columns) != (self._layers, self._num_columns):
            # Others are not asked for again, or look for keys and values where they no longer lie.
            self._forget()
            self._layers, self._num_columns = wanted, self._regions.num_columns
        if sizes not in self._captured:
            function = partial(self._scored, sizes, wanted)
            try:
                self._captured[sizes] = Captured(function, numbers, self.family.device, self._pool, self._stream)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # what a model does on the host in the middle of a pass
                reason = str(error).strip().partition("\n")[0][:200]
                raise ModelError(
                    f"{type(self.family.model).__name__} cannot be captured as a CUDA graph: {reason}; "
                    "run it with executor transformers"
                ) from error
        return self._captured[sizes]

    def _scored(
        self, sizes: Sizes, layers: Sequence[int], numbers: Tensor, embeddings: Tensor | None = None
    ) -> Results:
        """A pass over trees as a function of `numbers` [lines, rows]; `embeddings` [1, rows, width] take the place of
        tokens."""
        family, axes = self.family, self._num_axes
        positions, columns = numbers[1 : 1 + axes], numbers[1 + axes]
        rows = Rows(numbers[2 + axes], numbers[3 + axes], numbers[4 + axes :])
        visible = self._layout.visible(rows, sizes.columns)
        masks = [family.additive_mask(family.visible_in(kind, visible)) for kind in self._kinds]
        parts = self._parts
        kernels = () if parts is None else (parts.kernels, Layout.bounds(rows, sizes.columns))
        cache = RegionCache(self._regions, columns, (0, sizes.columns), *kernels)
        read = looked_up(family.model, numbers[:1]) if embeddings is None else embeddings
        with self._attending(cache, rows.lines), nullcontext() if parts is None else parts.in_use():
            last, before = self._language.states(read, self._given(positions), masks, (), cache)
            hidden = {layer: (last if layer == -1 else before[layer])[0] for layer in layers}
            return self._language.logits(last[0]), hidden

    def _attending(self, cache: RegionCache, lines: Tensor) -> AbstractContextManager[None]:
        """Models with an attention of their own, which caps scores or has sinks, keep it."""
        config = self.family.text_config
        if attention_of(config) == "eager":
            return nullcontext()
        return attention_by(config, partial(self._layout.attend, cache, lines))


def kernels_executor(family: FamilyLike) -> GraphsExecutor:
    """Captured passes whose linear layers, norms, rotary positions and attention are Triton kernels.

    Raises ModelError where these do not compile."""
    if find_spec("triton") is not None:
        from seeahead.executors import kernel_parts, kernels

        with on_device(family.device):
            has_kernels = kernels.work_on(family.device, family.dtype)
        if has_kernels:
            return GraphsExecutor(family, make_parts=kernel_parts.KernelParts)
    raise ModelError(
        f"executor kernels needs a GPU and the Triton that torch ships for it, which do not run on {family.device} "
        "here; use graphs"
    )


def _obstacles(family: FamilyLike) -> Iterator[str]:
    yield from obstacles_of(family)
    if {weight.device for weight in family.model.get_decoder().parameters()} - {family.device}:
        yield "its weights lie on several devices"
