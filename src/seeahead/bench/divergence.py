"""Where two answers part, and by how little the target preferred its own token there.

In half precision a forward of several tokens rounds differently from one of a single token, so two tokens whose logits
are (nearly) equal may change places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seeahead.families.base import Family
from seeahead.prompt import make_prompt
from seeahead.session import Session
from seeahead.tree import ROOT


def parting(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """Position of the first token that differs, or the shorter answer's length; None for equal answers."""
    if tuple(plain) == tuple(other):
        return None
    return next((i for i, (a, b) in enumerate(zip(plain, other)) if a != b), min(len(plain), len(other)))


def logit_gap(
    family: Family, messages: Sequence[Mapping[str, Any]], plain: Sequence[int], other: Sequence[int], position: int
) -> float | None:
    """The plain answer's token minus the other's at `position`, in a fresh forward of everything before them.

    None where one answer merely ends there."""
    if position >= min(len(plain), len(other)):
        return None
    inputs = family.encode(make_prompt([dict(message) for message in messages]))
    session = Session(family.executor, inputs.token_ids.shape[1] + position)
    logits = session.prefill(inputs).logits
    if position:
        logits = session.score(plain[:position], range(ROOT, position - 1)).logits
    return float(logits[-1, plain[position]].float() - logits[-1, other[position]].float())
