"""Sequences of a pass over pages: a slot's new tokens as attention takes them, after what it holds already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeahead.errors import InputError
from seeahead.executors.embedded import ALL, Part
from seeahead.executors.pages import PagedSlot, Pages


@dataclass(frozen=True)
class Run:
    """One sequence: new tokens after `past` that lie in `blocks`.

    `tree` [new, new] bool: which of the new tokens each one sees, None for all before it. `types` [new]: 1 for tokens
    in runs that see each other both ways.
    """

    past: int
    blocks: Sequence[int]
    embeddings: Tensor
    positions: Tensor
    tree: Any = None
    types: Any = None
    additions: Tensor | None = None


@dataclass
class Fed:
    """What a slot's tokens became: runs, and the row of each of its tokens, counted over these runs.

    `tells_last`: of a prompt, whose other rows have no logits. `moves`: columns of the slot, and where in other blocks
    their tokens lie after the pass. `borrowed`: these blocks.
    """

    slot: PagedSlot
    runs: list[Run]
    rows: list[int]
    tells_last: bool = False
    moves: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    borrowed: list[list[int]] = field(default_factory=list)

    @property
    def told(self) -> list[int]:
        """The rows that have logits."""
        return self.rows[-1:] if self.tells_last else self.rows

    def settle(self) -> None:
        """After the pass: every token lies in its column."""
        if self.moves:
            self.slot.pages.move([place for _, place in self.moves], [self.slot.place(one) for one, _ in self.moves])

    def release(self) -> None:
        """After the pass, whatever came of it."""
        for blocks in self.borrowed:
            self.slot.pages.drop(blocks)


def fed_prompt(part: Part[PagedSlot], narrowed: Callable[[str, Tensor], Tensor]) -> Fed:
    """Part of a prompt. `narrowed`: what is left of a mask in layers of a type (`Family.visible_in`).

    Raises InputError where its tokens see each other in a way that attention over pages cannot.
    """
    slot, number = part.slot, len(part.embeddings)
    slot.pages.hold(slot.blocks, slot.length + number)
    run = Run(slot.length, slot.blocks, part.embeddings, part.positions, None, _types(part, narrowed), part.additions)
    return Fed(slot, [run], list(range(number)), tells_last=True)


def _types(part: Part[PagedSlot], narrowed: Callable[[str, Tensor], Tensor]) -> Any:
    """1 for tokens in runs that see each other both ways; None where there are none."""
    masks = {kind: mask for kind, mask in part.visible.items() if kind != ALL} or part.visible
    seen = torch.stack(list(masks.values())).any(0)
    causal = torch.ones_like(seen).tril()
    if torch.equal(seen, causal):
        return None
    both = seen & seen.T
    is_in = both.sum(1) > 1
    starts = is_in & ~torch.cat([is_in.new_zeros(1), both.diagonal(-1)])
    group = torch.where(is_in, starts.cumsum(0), 0)
    same = (group[:, None] == group) & is_in
    are_apart = not ((group[1:] != group[:-1]) & is_in[1:] & is_in[:-1]).any()
    is_so = all(torch.equal(mask, narrowed(kind, causal[None])[0] | same) for kind, mask in masks.items())
    if not are_apart or not is_so:
        raise InputError(
            "tokens of this prompt see each other in a way that executor openvino does not know; use executor "
            "transformers"
        )
    return is_in.numpy().astype(np.int32)


def fed_tree(slot: PagedSlot, number: int, window: int) -> Fed:
    """The newest `number` pending nodes, which the slot remembers.

    Attention sees all that was read before. So pending nodes of earlier passes are read again with the new ones, from
    the first on that has a later one not descend from it. `window`: of the model's layers, 0 for none.
    """
    pending = slot.num_pending
    slot.pages.hold(slot.blocks, slot.length + pending)
    ancestors = slot.ancestors(pending)
    start = 0
    while start < pending - number and all(len(seen) > start and seen[start] == start for seen in ancestors[start:]):
        start += 1
    # The window is counted by column, which is the same along a branch only where no sibling lies between.
    is_chain = all(len(seen) == node + 1 for node, seen in enumerate(ancestors))
    if window and not is_chain and slot.length + pending > window:
        return _paths(slot, start, number)
    tree = None if is_chain else slot.visible(pending - start)[:, start:].numpy()
    run = _run(slot, slot.blocks, slice(start, pending), start, tree)
    return Fed(slot, [run], list(range(pending - start))[-number:])


def _run(slot: PagedSlot, blocks: Sequence[int], nodes: list[int] | slice, start: int, tree: Any = None) -> Run:
    assert slot.embeddings is not None, "nodes are remembered before they are read"
    assert slot.place_ids is not None
    return Run(slot.length + start, blocks, slot.embeddings[nodes], slot.place_ids[:, nodes], tree)


def _paths(slot: PagedSlot, start: int, number: int) -> Fed:
    """Every path of the tree as a sequence of its own, in blocks of its own where the slot's last one ends."""
    pages, pending, past = slot.pages, slot.num_pending, slot.length + start
    ancestors = slot.ancestors(pending)
    inner = {node for seen in ancestors for node in seen[:-1]}
    row_of, fed, first = {}, Fed(slot, [], []), 0
    for leaf in range(start, pending):
        if leaf in inner:
            continue
        nodes = [node for node in ancestors[leaf] if node >= start]
        whole = past // pages.size
        blocks = slot.blocks[:whole]
        pages.hold(blocks, past + len(nodes))
        if past % pages.size:
            pages.copy(slot.blocks[whole], blocks[whole])
        fed.borrowed.append(blocks[whole:])
        fed.runs.append(_run(slot, blocks, nodes, start))
        for place, node in enumerate(nodes):
            if node not in row_of:
                row_of[node], column = first + place, past + place
                fed.moves.append((slot.length + node, (blocks[column // pages.size], column % pages.size)))
        first += len(nodes)
    fed.rows = [row_of[node] for node in range(pending - number, pending)]
    return fed


def filler(pages: Pages, blocks: list[int], like: Run, number: int) -> Run:
    """So many rows of no slot, in `blocks` that are there for it."""
    pages.hold(blocks, number)
    embeddings = like.embeddings.new_zeros(number, like.embeddings.shape[1])
    return Run(0, blocks, embeddings, like.positions.new_zeros(len(like.positions), number))


def tables(runs: Sequence[Run]) -> dict[str, Any]:
    """The inputs of attention: see `paged_attention`."""
    sizes = [len(run.embeddings) for run in runs]
    trees: list[Any] = []
    if any(run.tree is not None for run in runs):
        seen = [np.tri(size, dtype=np.bool_) if run.tree is None else run.tree for run, size in zip(runs, sizes)]
        trees = [tree.reshape(-1) for tree in seen]
    types: list[Any] = []
    if any(run.types is not None for run in runs):
        types = [
            np.zeros(size, np.int32) if run.types is None else run.types for run, size in zip(runs, sizes, strict=True)
        ]
    return {
        "past": np.array([run.past for run in runs], np.int32),
        "begins": _begins(sizes),
        "blocks": np.concatenate([np.array(run.blocks, np.int32) for run in runs]),
        "block_begins": _begins([len(run.blocks) for run in runs]),
        "longest": np.array(max(run.past + size for run, size in zip(runs, sizes, strict=True)), np.int32),
        "types": np.concatenate(types) if types else np.zeros(0, np.int32),
        "tree": np.concatenate(trees).astype(np.uint8) if trees else np.zeros(0, np.uint8),
        "tree_begins": _begins([len(tree) for tree in trees]) if trees else np.zeros(0, np.int32),
    }


def _begins(sizes: Sequence[int]) -> Any:
    return np.array([0, *accumulate(sizes)], np.int32)
