"""Llama 4: layers without rotary positions read a token's place off the cache, which for a tree is its column."""

from __future__ import annotations

from typing import Any

import torch

from seeahead.cache import SessionCache
from seeahead.executor import Scores
from seeahead.families.base import Family


class _PlacedCache(SessionCache):
    """Says, while a tree is scored, how many tokens came before each of its nodes, each less its column in the tree."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        super().__init__(num_layers, capacity)
        self.places: torch.Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """Those layers add this to the columns of the tokens they are given, to scale queries by position."""
        return super().get_seq_length(layer_idx) if self.places is None else self.places


class Llama4(Family):
    """Its chunks of attention are served by the base's masks."""

    name = "llama4"
    marker_tokens = ("<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>")

    def new_cache(self, capacity: int) -> SessionCache:
        return _PlacedCache(self.text_config.num_hidden_layers, capacity)

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor | None,
        cache: SessionCache,
        wants_features: bool,
        embeddings: torch.Tensor | None = None,
    ) -> Scores:
        assert isinstance(cache, _PlacedCache)
        # Without a mask there is one token, whose column is its position.
        if visible is not None:
            cache.places = positions[0] - torch.arange(tokens.shape[1], device=positions.device)
        try:
            return super().forward(tokens, positions, visible, cache, wants_features, embeddings)
        finally:
            cache.places = None
