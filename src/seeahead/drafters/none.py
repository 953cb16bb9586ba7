"""The drafter that proposes nothing: plain decoding, and the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from seeahead.decode import run
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import NOTHING, ModelInputs, Want
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.tree import Draft


class EmptyDrafter(DrafterSpec):
    """Every draft is empty, so every step is one plain forward of the target."""

    kind = "none"
    name: str = Field(default="none", alias="as")
    want: ClassVar[Want] = NOTHING

    def start(self, context: DraftContext) -> EmptyDrafter:
        return self

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        """Nothing to learn from."""


def plain_answers(target: Target, prompts: Sequence[ModelInputs], max_new_tokens: int) -> list[list[int]]:
    """The greedy answers of `target` to `prompts`, all in one batch, end tokens included. Raises ModelError for a
    target whose numbers are not finite."""
    stop, requests = StopRule(max_new_tokens, frozenset(target.end_token_ids)), []
    for inputs in prompts:
        request = Request(target.executor, EmptyDrafter(), Sampler(SamplingParams(), ()), stop, target.image_token_ids)
        requests.append(request.ask(inputs))
    for request, _ in run(iter(requests), max(1, len(requests))):
        request.check()
    return [request.answer for request in requests]
