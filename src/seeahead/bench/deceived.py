"""The page on what the vision drafter's picture is worth, from a stored record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seeahead.bench.markdown import measured, table


def documents(record: Mapping[str, Any]) -> dict[str, str]:
    """Texts by file name below the folder of documents."""
    rows = record["rows"]
    efficiency = {(row["shown"], row["task"]): row["num_emitted"] / max(1, row["num_steps"]) for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [
        [shown, *(f"{efficiency[shown, task]:.2f}" for task in tasks)]
        for shown in dict.fromkeys(row["shown"] for row in rows)
    ]
    words = [
        "# What the vision drafter's picture is worth",
        f"{measured(record['provenance'])}: {record['count']} questions of each of the three tasks, greedy. "
        "The target always sees the picture; the drafter sees what the first column says.",
        table("τ by what the drafter is shown", ["shown", *tasks], lines),
    ]
    return {"results/pictures.md": "\n\n".join(words) + "\n"}
