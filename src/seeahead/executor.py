"""The narrow seam behind which a model runs: tokens, positions, mask and cache in; logits and features out.

Everything above (session, drafters, loop) is written against `Executor`; whether transformers, our own networks or a
faster runtime stands behind it is nobody's business there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from seeahead.cache import SessionCache

PADDING = "padding"
"""Among the extras: how many leading tokens of each row [rows] stand for nothing (compact decoder only)."""


@dataclass(frozen=True)
class ModelInputs:
    """A prompt as the model takes it: ids [1, length] and what else its forward wants (pixels, grids, type ids).

    The compact decoder takes several rows, and `inputs_embeds` [rows, length, width] among the extras in the place of
    its own embeddings of the ids.
    """

    token_ids: torch.Tensor
    extras: dict[str, torch.Tensor] = field(default_factory=dict)

    def extended(self, tokens: Sequence[int], type_id: int) -> ModelInputs:
        """The prompt with `tokens` after it. Type ids run along the tokens: what follows is of type `type_id`."""
        more = self.token_ids.new_tensor([list(tokens)])
        extras = {
            name: torch.cat([value, torch.full_like(more, type_id, dtype=value.dtype)], 1)
            if getattr(value, "shape", None) == self.token_ids.shape
            else value
            for name, value in self.extras.items()
        }
        return ModelInputs(torch.cat([self.token_ids, more], 1), extras)


@dataclass(frozen=True)
class Scores:
    """Results per new token: logits [batch, tokens, vocabulary]; features [batch, tokens, width] where asked for.

    `embeddings` [batch, tokens, width], of a prompt and where asked for: what its first layer read. At a picture's
    placeholders these are the visual embeddings, in whatever way the family makes them.
    """

    logits: torch.Tensor
    features: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None


@dataclass(frozen=True)
class Prefilled:
    """Scores of a prompt (logits of its last token only) and the position shift of every later token.

    M-RoPE models number an image by its grid, so text after it does not sit at its index: position = index + shift.
    `padding` [rows], where rows differ in length: so many tokens at their start nobody sees or counts.
    """

    scores: Scores
    position_shift: int = 0
    padding: torch.Tensor | None = None


class Executor(Protocol):
    """One model behind the seam. Calls append to `cache`; nothing else is remembered between calls."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_length(self) -> int | None:
        """Most tokens of prompt and answer together; None where there is no limit."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def width(self) -> int:
        """Of embeddings and features."""
        ...

    def most_nodes(self, position: int) -> int | None:
        """Most nodes that a pass may hold beside a root at `position`; None: any number."""
        ...

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the first layer reads for `tokens` [...]: [..., width]."""
        ...

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows of the language head [tokens, width]; features times these are logits, up to a final scale or cap."""
        ...

    def new_cache(self, capacity: int) -> SessionCache:
        """An empty cache with room for `capacity` tokens."""
        ...

    def prefill(
        self, inputs: ModelInputs, cache: SessionCache, wants_features: bool, wants_embeddings: bool = False
    ) -> Prefilled:
        """Run a prompt into an empty cache. Features and embeddings, where wanted, cover every prompt token."""
        ...

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor | None,
        cache: SessionCache,
        wants_features: bool,
        embeddings: torch.Tensor | None = None,
    ) -> Scores:
        """Run `tokens` [batch, n] at `positions` [batch, n] after what the cache holds.

        `embeddings` [batch, n, width], where given, are read in the place of the tokens' own (compact decoder only).

        `visible` [batch or 1, n, cached + n] says which cached and new tokens each new token may see (a token sees
        itself); None means all cached ones and itself, and is only given for a single new token.
        """
        ...
