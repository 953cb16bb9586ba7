"""Executors and a peer side by side (benchmarks/executors.py): the stored figures as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import measured

_COLUMNS = (
    *("executor, precision", "drafter", "tokens/s decoding", "over base", "tokens/s end to end", "over base"),
    *("s to the first", "tokens a pass", "as plain"),
)


def documents(found: Mapping[str, Any]) -> dict[str, str]:
    """Pages by name."""
    source, arms = found["provenance"], found["arms"]
    count = max(figure["answers"] for figure in arms.values())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
    lines = [
        "# Executors and a peer side by side",
        "",
        f"{count} answers of each configuration, greedy, at most 64 tokens; every question went to all of them in "
        "turn, in an order of its own. Base is plain decoding by transformers in float32; in brackets the 95 % "
        "interval over questions. Decoding leaves out the time to the first token. `as plain`: answers that are those "
        "of the same target without drafts.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|" + "---:|" * (len(_COLUMNS) - 2),
        *(_row(name, figure) for name, figure in arms.items()),
        "",
        f"{measured(source)}, with {source['hardware']['num_cores']} cores{f', {versions}' if versions else ''}.",
        "",
    ]
    return {"results/executors.md": "\n".join(lines)}


def _row(name: str, figure: Mapping[str, Any]) -> str:
    words = name.split()
    split = 3 if words[0] == "OpenVINO" else 2
    drafter = " ".join(words[split:])
    cells = [" ".join(words[:split]), drafter]
    for what in ("decoding", "seconds"):
        low, high = figure[f"{what}_low"], figure[f"{what}_high"]
        cells += [f"{figure[f'{what}_rate']:.1f}", f"{figure[f'{what}_ratio']:.2f}× ({low:.2f} to {high:.2f})"]
    steps = figure["tokens_per_pass"]
    cells += [f"{figure['first_seconds']:.2f}", f"{steps:.2f}" if steps else ""]
    cells.append("" if words[0] == "OpenVINO" else f"{figure['same_as_plain']} of {figure['answers']}")
    return f"| {' | '.join(cells)} |"
