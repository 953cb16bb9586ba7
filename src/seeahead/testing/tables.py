"""A target that is a table: logits looked up by the last two tokens. Its answers can be enumerated exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seeahead.cache import SessionCache
from seeahead.executor import ModelInputs, Prefilled, Scores


class TokenCache(SessionCache):
    """Holds the tokens themselves, so that a wrong roll-back shows in what follows."""

    def __init__(self) -> None:
        super().__init__(num_layers=1, capacity=0)
        self.tokens: list[int] = []

    @property
    def length(self) -> int:
        return len(self.tokens)

    def keep(self, start: int, rows: Sequence[int]) -> None:
        self.tokens = [*self.tokens[:start], *(self.tokens[start + row] for row in rows)]


class TableExecutor:
    """`table` [vocabulary, vocabulary, vocabulary]: logits after (token before last, last token)."""

    max_length: int | None = None
    device = torch.device("cpu")

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.vocab_size = len(table)

    @classmethod
    def random(cls, vocab_size: int = 6, seed: int = 0, spread: float = 1.5) -> TableExecutor:
        generator = torch.Generator().manual_seed(seed)
        return cls(spread * torch.randn(vocab_size, vocab_size, vocab_size, generator=generator))

    @property
    def width(self) -> int:
        return 0

    def most_nodes(self, position: int) -> int | None:
        """Any number."""
        return None

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("a table has no embeddings")

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("a table has no head")

    def new_cache(self, capacity: int) -> SessionCache:
        return TokenCache()

    def prefill(
        self, inputs: ModelInputs, cache: SessionCache, wants_features: bool, wants_embeddings: bool = False
    ) -> Prefilled:
        assert isinstance(cache, TokenCache)
        tokens: list[int] = inputs.token_ids[0].tolist()
        cache.tokens += tokens
        return Prefilled(Scores(self.after(tokens)[None, None]))

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor | None,
        cache: SessionCache,
        wants_features: bool,
        embeddings: torch.Tensor | None = None,
    ) -> Scores:
        assert isinstance(cache, TokenCache)
        cache.tokens += tokens[0].tolist()
        if visible is None:
            return Scores(self.after(cache.tokens)[None, None])
        # The mask alone says what came before a node.
        seen = [[cache.tokens[column] for column in row.nonzero()[:, 0].tolist()] for row in visible[0]]
        return Scores(torch.stack([self.after(path) for path in seen])[None])

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits [vocabulary] after `tokens`."""
        return self.table[tokens[-2] if len(tokens) > 1 else 0, tokens[-1]].clone()
