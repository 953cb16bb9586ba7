"""A folder of answers on disk: `00000.jsonl`, a line per answer, and `00000.safetensors` with what was kept beside.

Files of other names are nobody's business here. A batch is sound or it is not there: what a full disk or a copy broke
off is found when the folder is opened, not in the middle of a training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from safetensors import SafetensorError, safe_open

from seeahead.checked import checked, flag, real, several
from seeahead.errors import InputError

_BATCH = re.compile(r"\d{5,}\.jsonl")


@dataclass(frozen=True)
class StoredAnswer:
    """One line. `view`: the prompt's ids, SLOT or MARK where a visual embedding is kept; `ids`: the answer's; the
    target's likeliest tokens and their probabilities for each of these."""

    seconds: Annotated[float, real(0, 1e9)]
    is_sampled: Annotated[bool, flag()]
    view: Annotated[tuple[int, ...], several("ids", 0)]
    ids: Annotated[tuple[int, ...], several("ids")]
    top_ids: Annotated[tuple[tuple[int, ...], ...], several("ids")]
    top_shares: Annotated[tuple[tuple[float, ...], ...], several("shares")]

    @property
    def num_visual(self) -> int:
        return sum(token < 0 for token in self.view)


def name_of(number: int) -> str:
    """Of a batch's file."""
    return f"{number:05d}.jsonl"


def batches_in(folder: Path) -> list[Path]:
    """The files of answers in a folder, in order."""
    return sorted(path for path in folder.glob("*.jsonl") if _BATCH.fullmatch(path.name))


def features_of(place: int) -> str:
    """Name of a row's features in its batch's file: [tokens - 1, width], at every position but the last."""
    return f"{place} features"


def read_batch(path: Path, features: bool = False) -> list[StoredAnswer] | None:
    """The answers of a batch; None where it is damaged, or lacks what is kept beside them."""
    try:
        lines = path.read_text("utf-8").splitlines()
        rows = [checked(StoredAnswer, json.loads(line), path.name) for line in lines]
        wanted = _kept(rows, features)
        if not rows or any(len(row.ids) != len(row.top_ids) or len(row.ids) != len(row.top_shares) for row in rows):
            return None
        if wanted and _lengths(path.with_suffix(".safetensors"), wanted) != wanted:
            return None
    except (OSError, ValueError, RecursionError, SafetensorError):
        return None
    return rows


def _kept(rows: list[StoredAnswer], features: bool) -> dict[str, int]:
    """Names and lengths of the tensors beside these answers."""
    kept = {str(place): row.num_visual for place, row in enumerate(rows) if row.num_visual}
    if features:
        kept |= {features_of(place): len(row.view) + len(row.ids) - 1 for place, row in enumerate(rows)}
    return kept


def _lengths(file: Path, wanted: dict[str, int]) -> dict[str, int]:
    with safe_open(file, "pt") as stored:
        found = set(stored.keys())
        return {name: stored.get_slice(name).get_shape()[0] for name in wanted if name in found}


def answers_in(folder: Path) -> Iterator[tuple[Path, list[StoredAnswer]]]:
    """Every batch of a folder. Raises InputError for one that is damaged."""
    for path in batches_in(folder):
        rows = read_batch(path)
        if rows is None:
            raise InputError(f"{path} is damaged; delete it and start again, it is then written anew")
        yield path, rows
