"""The interface behind which a model runs: an executor owns slots and serves lists of trees.

A slot is one sequence's keys and values. Above an executor nobody knows masks, positions, padding or caches: a pass is
asked for with tokens and parents, and answered with logits and the hidden states that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch


class Want(NamedTuple):
    """Which hidden states a pass returns beside logits; nothing else is kept.

    `layers`: what follows a layer, counted from 1 (0: embeddings); -1 is after the last norm, what the head reads.
    `embeddings`, of a prompt: what its first layer read, with visual embeddings at an image's placeholders.
    """

    layers: tuple[int, ...] = ()
    embeddings: bool = False

    def __or__(self, other: Want) -> Want:
        return Want(tuple(dict.fromkeys((*self.layers, *other.layers))), self.embeddings or other.embeddings)


NOTHING = Want()
"""Logits alone."""

FEATURES = (-1,)
"""The layers of drafters on the target's last hidden states."""


@dataclass(frozen=True)
class ModelInputs:
    """A prompt as the model takes it: ids [1, length] and what else its forward wants (pixels, grids, type ids).

    The Llama executor takes `inputs_embeds` [1, length, width] among the extras in the place of embeddings of its ids.
    `indivisible`: so many of the first tokens are read in one pass; those after them may be read in parts.
    """

    token_ids: torch.Tensor
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    indivisible: int = 0

    @property
    def length(self) -> int:
        return self.token_ids.shape[1]

    @property
    def shows_images(self) -> bool:
        """Whether something of an image is there, and not tokens alone that may stand for one."""
        others = ((name, value) for name, value in self.extras.items() if name != "position_ids")
        return any(not runs_along(name, value, self.token_ids) for name, value in others)

    def has_any(self, tokens: frozenset[int]) -> bool:
        return not tokens.isdisjoint(self.token_ids.flatten().tolist())

    def extended(self, tokens: Sequence[int], type_id: int) -> ModelInputs:
        """The prompt with `tokens` after it. Type ids run along the tokens: what follows is of type `type_id`."""
        more = self.token_ids.new_tensor([list(tokens)])
        extras = {
            name: torch.cat([value, torch.full_like(more, type_id, dtype=value.dtype)], 1)
            if _has_one_each(value, self.token_ids)
            else value
            for name, value in self.extras.items()
        }
        return ModelInputs(torch.cat([self.token_ids, more], 1), extras)

    def part(self, first: int, end: int) -> ModelInputs:
        """Tokens `first` to `end`, which is beyond the indivisible ones; what an image is goes with the first part."""
        extras = {
            name: value[:, first:end] if runs_along(name, value, self.token_ids) else value
            for name, value in self.extras.items()
            if first == 0 or runs_along(name, value, self.token_ids)
        }
        return ModelInputs(self.token_ids[:, first:end], extras)


_WIDE = ("inputs_embeds", "positions", "additions", "visible")
"""Beginnings of the names of what executors make ready, which has several numbers for each token."""


def runs_along(name: str, value: Any, token_ids: torch.Tensor) -> bool:
    """Whether an extra is about the tokens. What a processor gives is if it has one number for each: patches of an
    image may be as many, of some width."""
    return _has_one_each(value, token_ids) or (name.startswith(_WIDE) and value.shape[:2] == token_ids.shape)


def _has_one_each(value: object, token_ids: torch.Tensor) -> bool:
    return getattr(value, "shape", None) == token_ids.shape


@dataclass(frozen=True)
class Scores:
    """Results per new token: logits [tokens, vocabulary]; of a prompt those after its last token alone [1, vocabulary].

    `features`: layer -> hidden states [tokens, width], of the layers wanted; of a prompt those of every token.
    `embeddings` [tokens, width], of a prompt and where wanted.
    """

    logits: torch.Tensor
    features: Mapping[int, torch.Tensor] = field(default_factory=dict)
    embeddings: torch.Tensor | None = None

    def split(self, bounds: Sequence[int]) -> list[Scores]:
        """The scores of parts that lie side by side; `bounds`: where each begins, and the end."""
        return [
            Scores(self.logits[first:end], {layer: hidden[first:end] for layer, hidden in self.features.items()})
            for first, end in pairwise(bounds)
        ]


class Slot(Protocol):
    """One sequence inside an executor; what else it holds is the executor's own."""

    @property
    def length(self) -> int:
        """Committed tokens."""
        ...


@dataclass(frozen=True)
class PromptInputs:
    """What one sequence's prompt asks of a pass: `inputs`, or a part of them, go after what the slot holds."""

    slot: Slot
    inputs: ModelInputs


@dataclass(frozen=True)
class TreeInputs:
    """What one sequence asks of one pass.

    `tokens` are ids, or embeddings [n, width] read in their place where the executor can. `parents[i]` counts the
    pending nodes of the slot from 0, over all passes since the last commit; ROOT hangs off the last committed token.
    Each token sees the committed ones, its ancestors and itself.
    """

    slot: Slot
    tokens: Sequence[int] | torch.Tensor
    parents: Sequence[int]


@dataclass(frozen=True)
class Limits:
    """What an executor serves: `max_length` tokens of prompt and answer together (None: any number), `max_rows` tokens
    of all trees of a pass (None: any number), hidden states of `width`, results on `device`.

    `row_step`: a pass over trees of more than one token takes as long as one over the next multiple of it.
    `fixed_rows`, ascending: passes over so many tokens take the same whatever the one before them was, so trees of
    fewer are filled up to these.
    `long_rows`: passes over more rows are computed in another way (0: none are).
    `whole_prompts`: a prompt is read in one pass: its bits would be others after what another answer left in a slot."""

    vocab_size: int
    max_length: int | None
    width: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    max_rows: int | None = None
    row_step: int = 1
    fixed_rows: tuple[int, ...] = ()
    long_rows: int = 0
    whole_prompts: bool = False

    def filled(self, rows: int) -> int:
        """How many rows a pass over trees of `rows` tokens has."""
        steps = rows if rows == 1 else -(-rows // self.row_step) * self.row_step
        return min((size for size in self.fixed_rows if size >= rows), default=steps)


class Widths:
    """How many rows passes over trees have, one after the other; as many as tokens where nothing is filled up.

    An executor that fills them up prepares every operation anew where a pass has another number of rows than the one
    before, which can take as long as half of a pass. So sizes come in steps, and one stays for a while after it was
    needed.
    """

    PATIENCE = 2
    """Passes that may be smaller than what they are filled up to."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._last, self._num_smaller = limits, 0, 0

    def forget(self) -> None:
        """After a prompt the next pass is another one anyway."""
        self._last = 0

    def changes(self, width: int) -> bool:
        """Whether passes as wide as that are prepared anew. Where they are smaller than the last one they wait, and
        what is prepared stays."""
        return width not in self._limits.fixed_rows and (width > self._last or not self._last)

    def width(self, rows: int) -> tuple[int, bool]:
        """Of the next pass, over trees of so many tokens; and whether it is prepared anew."""
        wanted = self._limits.filled(rows)
        if wanted in self._limits.fixed_rows:
            return wanted, False  # what was prepared last stays
        if wanted < self._last and self._num_smaller < self.PATIENCE and self._limits.row_step > 1:
            self._num_smaller += 1
            return self._last, False
        before, self._last, self._num_smaller = self._last, wanted, 0
        return wanted, wanted != before


class Executor(Protocol):
    """One model behind the seam. Between calls only slots remember anything."""

    @property
    def limits(self) -> Limits: ...

    def open(self, capacity: int) -> Slot:
        """An empty slot; `capacity`: tokens to make room for at first. It grows with what is used."""
        ...

    def close(self, slot: Slot) -> None:
        """The slot is not used again; what it held may go to others."""
        ...

    def ready(self, inputs: ModelInputs) -> ModelInputs:
        """A prompt as `prefill` takes it in parts, images encoded where that is possible. Raises InputError."""
        ...

    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        """Run prompts, or parts of them, into their slots. Hidden states, where wanted, cover every token of these."""
        ...

    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        """One pass for the new tokens of all `trees`, each of a slot of its own; they are pending until a commit."""
        ...

    def commit(self, slot: Slot, path: Sequence[int]) -> None:
        """Keep the pending nodes of `path` (ascending) as committed tokens, drop every other pending one."""
        ...

    def cut(self, slot: Slot, length: int) -> None:
        """Drop the committed tokens after the first `length`; nothing is pending."""
        ...

    def most_nodes(self, slot: Slot) -> int | None:
        """Most nodes that the slot's next pass may hold beside a root; None: any number."""
        ...


class MixingExecutor(Executor, Protocol):
    """An executor that reads prompts and checks trees in one pass."""

    def mixed(
        self, prompts: Sequence[PromptInputs], trees: Sequence[TreeInputs], want: Want
    ) -> tuple[list[Scores], list[Scores]]:
        """What `prefill` and `forward` say of them."""
        ...


def mixes(executor: Executor) -> TypeGuard[MixingExecutor]:
    return callable(getattr(executor, "mixed", None))


def run_pass(executor: Executor, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
    """`forward` for all trees: one pass, or as many as the executor's rows ask for."""
    most = None if len(trees) == 1 else executor.limits.max_rows
    if most is None or sum(len(tree.parents) for tree in trees) <= most:
        return executor.forward(trees, want)
    parts = together([len(tree.parents) for tree in trees], most)
    return [scores for part in parts for scores in executor.forward(trees[part], want)]


def together(sizes: Sequence[int], most: int) -> list[slice]:
    """What stands side by side in passes of at most `most` tokens each; one that is larger stands alone."""
    bounds, used = [0], 0
    for number, size in enumerate(sizes):
        if number > bounds[-1] and used + size > most:
            bounds.append(number)
            used = 0
        used += size
    return [slice(*pair) for pair in pairwise([*bounds, len(sizes)])]


@runtime_checkable
class FeatureTarget(Protocol):
    """An executor that shows a model's embedding and head, for drafters on its hidden states."""

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the first layer reads for `tokens` [...]: [..., width]."""
        ...

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows of the language head [tokens, width]; features times these are logits, up to a final scale or cap."""
        ...


@runtime_checkable
class ModelExecutor(Executor, FeatureTarget, Protocol):
    """An executor of a family's model, which somebody may change from outside."""

    @property
    def name(self) -> str:
        """Of the kind of executor, and what it makes of the weights."""
        ...

    @property
    def precision(self) -> str:
        """Of the weights: a torch type, or int8 or int4."""
        ...

    def is_current(self) -> bool:
        """Whether it still says what the model does."""
        ...

    def follow(self) -> None:
        """The model has changed. Raises ModelError where that cannot be followed."""
        ...

    def separate(self) -> bool:
        """Run slots one by one from now on; whether it can."""
        ...
