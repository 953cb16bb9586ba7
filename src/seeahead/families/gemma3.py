"""Gemma3: only the markers differ; its two kinds of attention layers are served by the base's masks."""

from __future__ import annotations

from seeahead.families.base import Family


class Gemma3(Family):
    """An image stands between a start and an end marker."""

    marker_tokens = ("<start_of_image>", "<end_of_image>")
