"""Aya Vision: an image becomes tiles, each announced by a numbered token, and an overview."""

from __future__ import annotations

from seeahead.families.base import Family

_MAX_TILES = 12


class AyaVision(Family):
    """Only the markers differ."""

    marker_tokens = ("TILE_GLOBAL", *(f"TILE_{tile}" for tile in range(1, _MAX_TILES + 1)))
