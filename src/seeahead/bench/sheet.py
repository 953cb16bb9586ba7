"""The style sheet that every chart needs around it."""

from __future__ import annotations

from pathlib import Path


def style() -> str:
    """Colours and looks of charts, as CSS."""
    return Path(__file__).with_name("charts.css").read_text(encoding="utf-8").strip()
