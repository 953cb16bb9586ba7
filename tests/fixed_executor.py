"""An executor whose every pass has the same shapes at the same addresses, as a captured graph has them.

It proves that nothing above an executor asks for more: it raises where a shape, an address or a capacity would change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.llama import Layer
from seeahead.executors.norm import rms_norm
from seeahead.executors.slots import TorchSlot
from seeahead.executors.transformers import TransformersExecutor


class FixedSlot:
    """A row of the buffers, and the pending nodes in it."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.length = self.shift = 0
        self.depths: list[int] = []
        self.ancestors: list[list[int]] = []


class FixedExecutor:
    """A fused plain Llama, `inner`, which prefills; passes over trees run here, always over `num_rows` tokens."""

    def __init__(
        self, inner: TransformersExecutor, *, num_slots: int = 8, capacity: int = 256, num_rows: int = 40
    ) -> None:
        assert inner._fused is not None, "fuse the executor first"
        self.inner, self.net = inner, inner._fused.decoder
        self.embed, self.head_rows = inner.embed, inner.head_rows
        self.capacity, self.num_rows = capacity, num_rows
        shape, device = self.net.config, self.net.device
        size = (shape.num_hidden_layers, num_slots, shape.num_key_value_heads, capacity, shape.head_dim)
        kind = self.net.norm.dtype
        self.keys, self.values = (torch.zeros(size, device=device, dtype=kind) for _ in range(2))
        whole = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self.tokens, self.positions, self.rows, self.columns = whole, whole.clone(), whole.clone(), whole.clone()
        self.visible = torch.zeros(num_rows, capacity, dtype=torch.bool, device=device)
        self.logits = torch.zeros(num_rows, shape.vocab_size, device=device, dtype=kind)
        self.features = torch.zeros(num_rows, shape.hidden_size, device=device, dtype=kind)
        self._free = list(range(num_slots - 1))  # the last row takes what padding writes
        self._padding_row = num_slots - 1
        self._seen = self._addresses()

    @property
    def limits(self) -> Limits:
        own = self.inner.limits
        longest = self.capacity - self.num_rows
        return Limits(own.vocab_size, longest, own.width, own.device, own.dtype, self.num_rows)

    def open(self, capacity: int) -> FixedSlot:
        return FixedSlot(self._free.pop(0))

    def close(self, slot: Slot) -> None:
        assert isinstance(slot, FixedSlot)
        assert slot.row not in self._free, "a slot is closed once"
        self._free.append(slot.row)

    def most_nodes(self, slot: Slot) -> int | None:
        return None

    def ready(self, inputs: ModelInputs) -> ModelInputs:
        return replace(self.inner.ready(inputs), indivisible=inputs.length)

    def cut(self, slot: Slot, length: int) -> None:
        slot.length = length

    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        grown = [self.inner.open(prompt.inputs.length) for prompt in prompts]
        own = [PromptInputs(slot, prompt.inputs) for slot, prompt in zip(grown, prompts, strict=True)]
        scores = self.inner.prefill(own, want)
        for slot, prompt in zip(grown, prompts, strict=True):
            assert isinstance(prompt.slot, FixedSlot)
            self._copy(slot, prompt.slot)
        return scores

    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        bounds = [0]
        self.visible.zero_()
        self.visible[:, 0] = True  # padding sees something, so that its softmax is a number
        self.rows.fill_(self._padding_row)
        for buffer in (self.tokens, self.positions, self.columns):
            buffer.zero_()
        for tree in trees:
            bounds.append(self._place(tree, bounds[-1]))
        self._run()
        if self._addresses() != self._seen:
            raise RuntimeError("a buffer of the fixed executor has moved or has another shape")
        hidden = {layer: self.features.clone() for layer in want.layers}
        return Scores(self.logits.clone(), hidden).split(bounds)

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        assert isinstance(slot, FixedSlot)
        kept = torch.tensor([slot.length + node for node in path], dtype=torch.int64, device=self.keys.device)
        for buffer in (self.keys, self.values):
            buffer[:, slot.row, :, slot.length : slot.length + len(path)] = buffer[:, slot.row][:, :, kept]
        slot.length += len(path)
        slot.depths, slot.ancestors = [], []

    def _place(self, tree: TreeInputs, first: int) -> int:
        slot, end = tree.slot, first + len(tree.parents)
        assert isinstance(slot, FixedSlot)
        if end > self.num_rows or slot.length + len(slot.depths) + len(tree.parents) > self.capacity:
            raise RuntimeError(f"a pass of {end} tokens, or a slot of its length, has no place in the fixed executor")
        for row, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True), first):
            node = len(slot.depths)
            slot.depths.append(0 if parent < 0 else slot.depths[parent] + 1)
            slot.ancestors.append([*([] if parent < 0 else slot.ancestors[parent]), node])
            self.tokens[row], self.rows[row] = int(token), slot.row
            self.positions[row] = slot.length + slot.shift + slot.depths[node]
            self.columns[row] = slot.length + node
            self.visible[row, : slot.length] = True
            self.visible[row, 0] = slot.length > 0
            self.visible[row, [slot.length + seen for seen in slot.ancestors[node]]] = True
        return end

    @torch.inference_mode()
    def _run(self) -> None:
        net, shape = self.net, self.net.config
        heads, kv_heads, width = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        x = net.embed(self.tokens)
        cos, sin = net.rotation_at(self.positions)
        for index, layer in enumerate(net.layers):
            assert isinstance(layer, Layer)
            states = layer.qkv(rms_norm(x, layer.attention_norm, shape.rms_norm_eps))
            states = states.view(self.num_rows, heads + 2 * kv_heads, width)
            turned, value = states.split((heads + kv_heads, kv_heads), dim=1)
            one, other = turned.chunk(2, dim=-1)
            turned = turned * cos[:, None] + torch.cat((-other, one), dim=-1) * sin[:, None]
            query, key = turned.split((heads, kv_heads), dim=1)
            self.keys[index, self.rows, :, self.columns] = key
            self.values[index, self.rows, :, self.columns] = value
            gathered = torch.nn.functional.scaled_dot_product_attention(
                query[:, :, None],
                self.keys[index, self.rows],
                self.values[index, self.rows],
                self.visible[:, None, None],
                enable_gqa=heads > kv_heads,
            )
            x = net.after(index, x, gathered.reshape(self.num_rows, heads * width))
        self.features.copy_(rms_norm(x, net.norm, shape.rms_norm_eps))
        self.logits.copy_(net.head(self.features))

    def _copy(self, grown: TorchSlot, slot: FixedSlot) -> None:
        for index in range(self.net.config.num_hidden_layers):
            keys, values = grown.cache.layers[index].views()
            self.keys[index, slot.row, :, : grown.length] = keys[0]
            self.values[index, slot.row, :, : grown.length] = values[0]
        slot.length, slot.shift = grown.length, grown.shift

    def _addresses(self) -> list[tuple[int, torch.Size]]:
        buffers = (self.keys, self.values, self.tokens, self.positions, self.rows, self.columns, self.visible)
        return [(one.data_ptr(), one.shape) for one in (*buffers, self.logits, self.features)]
