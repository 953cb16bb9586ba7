"""Idefics3 and SmolVLM: an image becomes a grid of tiles, each announced by marker tokens."""

from __future__ import annotations

from seeahead.families.base import Family

_MAX_TILES = 8


class Idefics3(Family):
    """Only the markers differ: a view without the image leaves out tile and border tokens too."""

    marker_tokens = (
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
        *(f"<row_{row}_col_{column}>" for row in range(1, _MAX_TILES + 1) for column in range(1, _MAX_TILES + 1)),
    )
