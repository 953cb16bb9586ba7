"""The losses of a run's stages as one image."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from seeahead.train.loop import Stage


def can_plot() -> bool:
    return find_spec("matplotlib") is not None


def plot_losses(stages: Sequence[Stage], path: Path) -> None:
    """An SVG with one panel per stage that logged anything; nothing without matplotlib, or where none did."""
    told = [(stage.name, _rows(stage)) for stage in stages]
    told = [(name, rows) for name, rows in told if rows]
    if not told or not can_plot():
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(told), 3), layout="constrained")
    for place, (name, rows) in enumerate(told, 1):
        axes = figure.add_subplot(1, len(told), place)
        steps = [row["step"] for row in rows]
        axes.plot(steps, [row["loss"] for row in rows], color="tab:blue")
        axes.set(title=name, xlabel="step", ylabel="loss")
        shares = axes.twinx()
        shares.plot(steps, [row.get("agreement", math.nan) for row in rows], color="tab:orange", linestyle="--")
        shares.set(ylabel="agreement (dashed)", ylim=(0, 1))
    figure.savefig(path, metadata={"Date": None})


def _rows(stage: Stage) -> list[dict[str, float]]:
    """Without lines that an interruption broke off."""
    if not stage.losses.is_file():
        return []
    rows = []
    for line in stage.losses.read_text("utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and {"step", "loss"} <= row.keys()]
