"""The drafter that proposes nothing: plain decoding, and the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

from seeahead.drafting import Assignment
from seeahead.executor import Executor, Scores
from seeahead.tree import Draft, Verdict


class EmptyDrafter:
    """Every draft is empty, so every step is one plain forward of the target."""

    name = "none"
    wants_features = False
    wants_embeddings = False

    def bound_to(self, target: Executor) -> EmptyDrafter:
        """Serves every target."""
        return self

    def start(self, assignment: Assignment) -> EmptyDrafter:
        return self

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        return Draft()

    def observe(self, verdict: Verdict, scores: Scores) -> None:
        """Nothing to learn from."""
