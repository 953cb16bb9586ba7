"""The losses of a run's stages as one picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seeahead.train.loop import Stage


def plot_losses(stages: Sequence[Stage], path: Path) -> None:
    """An SVG with one panel per stage that reported anything; nothing is written where none did.

    Without matplotlib, which drafting does not need, this is said and left out."""
    told = [(stage.name, _rows(stage)) for stage in stages]
    told = [(name, rows) for name, rows in told if rows]
    if not told:
        return
    try:
        from matplotlib.figure import Figure
    except ImportError:
        stages[0].report(f"{path.name} is left out, since matplotlib is not installed: pip install matplotlib")
        return
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
