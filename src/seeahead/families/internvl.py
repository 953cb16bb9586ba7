"""InternVL: every image, tiles and all, stands between one start and one end marker."""

from __future__ import annotations

from seeahead.families.base import Family


class InternVL(Family):
    """Only the markers differ."""

    marker_tokens = ("<img>", "</img>")
