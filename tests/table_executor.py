"""A target that is a table: logits looked up by the last two tokens. Its answers can be enumerated exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.tree import ROOT


class TableSlot:
    """Holds the tokens themselves, so that a wrong roll-back shows in what follows."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.pending: list[list[int]] = []

    @property
    def length(self) -> int:
        return len(self.tokens)


class TableExecutor:
    """`table` [vocabulary, vocabulary, vocabulary]: logits after (token before last, last token)."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.limits = Limits(len(table), None, 0, torch.device("cpu"))

    @classmethod
    def random(cls, vocab_size: int = 6, seed: int = 0, spread: float = 1.5) -> TableExecutor:
        generator = torch.Generator().manual_seed(seed)
        return cls(spread * torch.randn(vocab_size, vocab_size, vocab_size, generator=generator))

    def open(self, capacity: int) -> TableSlot:
        return TableSlot()

    def close(self, slot: Slot) -> None:
        """Nothing is held."""

    def most_nodes(self, slot: Slot) -> int | None:
        return None

    def ready(self, inputs: ModelInputs) -> ModelInputs:
        return inputs

    def cut(self, slot: Slot, length: int) -> None:
        assert isinstance(slot, TableSlot)
        del slot.tokens[length:]

    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        found = []
        for prompt in prompts:
            assert isinstance(prompt.slot, TableSlot)
            prompt.slot.tokens += prompt.inputs.token_ids[0].tolist()
            found.append(Scores(self.after(prompt.slot.tokens)[None]))
        return found

    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        return [Scores(torch.stack([self.after(path) for path in _paths(tree)])) for tree in trees]

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        assert isinstance(slot, TableSlot)
        if path:
            kept = slot.pending[path[-1]]
            assert len(kept) == len(slot.tokens) + len(path), "what is committed is no path of the pending nodes"
            slot.tokens = kept
        slot.pending = []

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        return self.table[tokens[-2] if len(tokens) > 1 else 0, tokens[-1]].clone()


def _paths(tree: TreeInputs) -> list[list[int]]:
    """Everything before and at each new node; recorded as pending."""
    slot = tree.slot
    assert isinstance(slot, TableSlot)
    first = len(slot.pending)
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        slot.pending.append([*(slot.tokens if parent == ROOT else slot.pending[parent]), int(token)])
    return slot.pending[first:]
