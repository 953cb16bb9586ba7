"""The drafter that proposes nothing: plain decoding, and the baseline of every comparison."""

from __future__ import annotations

from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import Want
from seeahead.target import Target
from seeahead.tree import Draft


class EmptyDrafter:
    """Every draft is empty, so every step is one plain forward of the target."""

    name = "none"
    want = Want()

    def start(self, context: DraftContext) -> EmptyDrafter:
        return self

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        """Nothing to learn from."""


class EmptySpec(DrafterSpec):
    """No settings."""

    kind = "none"

    def bind(self, target: Target) -> EmptyDrafter:
        return EmptyDrafter()
