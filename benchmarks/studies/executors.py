"""Executors side by side (benchmarks/executors.py, benchmarks/exact.py): the stored figures as pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import BLIND, SEES, measured

_COLUMNS = (
    *("executor, precision", "drafter", "tokens/s decoding", "over base", "tokens/s end to end", "over base"),
    *("s to the first", "tokens a pass", "as plain"),
)
_ASKED = (
    "{count} answers of each configuration, greedy, at most 64 tokens; every question went to all of them in turn, in "
    "an order of its own. Base is plain decoding by transformers in {base}; in brackets the 95 % interval over "
    "questions. Decoding leaves out the time to the first token. `as plain`: answers that are those of the same target "
    "without drafts."
)


def documents(found: Mapping[str, Any]) -> dict[str, str]:
    """Pages by name."""
    return {"results/executors.md": _page("Executors and a peer side by side", "float32", found)}


def exact_documents(found: Mapping[str, Any]) -> dict[str, str]:
    """Of what `exact` is worth and what it costs."""
    exact, others = (
        [figure for name, figure in found["arms"].items() if (name.split()[0] == "exact") is is_exact and _drafts(name)]
        for is_exact in (True, False)
    )
    lead = (
        f"With `exact` {_same(exact)} drafted answers are those of plain decoding by the same executor, token for "
        f"token, in 16 bits; with the others {_same(others)}. Trees and chains (`chain=4`) alike."
    )
    return {"results/exact.md": _page("Drafted answers in 16 bits: `exact` beside others", "bfloat16", found, lead)}


def _drafts(name: str) -> bool:
    return not name.endswith(" none")


def _same(figures: list[Mapping[str, Any]]) -> str:
    return f"{sum(one['same_as_plain'] for one in figures)} of {sum(one['answers'] for one in figures)}"


def _page(title: str, base: str, found: Mapping[str, Any], lead: str = "") -> str:
    source, arms = found["provenance"], found["arms"]
    count = max(figure["answers"] for figure in arms.values())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found.get("versions", {}).items()))
    lines = [
        f"# {title}",
        "",
        *([lead, ""] if lead else []),
        _ASKED.format(count=count, base=base),
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|" + "---:|" * (len(_COLUMNS) - 2),
        *(_row(name, figure) for name, figure in arms.items()),
        "",
        *([BLIND.strip(), ""] if any("GenAI" in name for name in arms) and not found.get(SEES) else []),
        f"{measured(source)}, with {source['hardware']['num_cores']} cores{f', {versions}' if versions else ''}.",
        "",
    ]
    return "\n".join(lines)


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
