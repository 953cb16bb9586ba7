"""Llama 4: layers without rotary positions read a token's place off the cache, to scale queries by position."""

from __future__ import annotations

from seeahead.families.base import Family


class Llama4(Family):
    """Its chunks of attention are served by the base's masks."""

    reads_places = True
    marker_tokens = ("<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>")
