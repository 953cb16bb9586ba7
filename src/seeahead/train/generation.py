"""Responses of the target to a batch of prompts, each with its trace: probabilities, embeddings and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seeahead.decode import Request, run
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import FEATURES, ModelInputs, Want
from seeahead.families.base import Family
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.train.examples import TOP
from seeahead.train.recipe import GenerationSettings
from seeahead.tree import Draft


@dataclass(frozen=True)
class _Recorder:
    """A drafter that drafts nothing and keeps what the target gives each token."""

    want: Want
    name: str = "none"

    def start(self, context: DraftContext) -> Trace:
        return Trace(context)


class Trace:
    """One response: its `ids` (end token included) and, per token, the target's likeliest ids with probabilities.

    `embeddings` [prompt tokens, width]; `features` [prompt and response tokens but the last, width], where recorded."""

    def __init__(self, context: DraftContext) -> None:
        assert context.logits is not None
        assert context.embeddings is not None
        self.ids: list[int] = []
        self.embeddings = context.embeddings
        self._top = [_top(context.logits[None])]
        self._features = [context.features[-1]] if context.features else []

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        self._top.append(_top(feedback.logits))
        self._features += [feedback.features[-1]] if self._features else []

    @property
    def features(self) -> Tensor | None:
        return torch.cat(self._features) if self._features else None

    def row(self) -> dict[str, Any]:
        """As JSON values."""
        top_ids, shares = (torch.cat(parts).tolist() for parts in zip(*self._top, strict=True))
        rounded = [[round(share, 4) for share in row] for row in shares]
        return {"ids": self.ids, "top_ids": top_ids, "top_shares": rounded}


def _top(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, TOP] ids and probabilities."""
    values, ids = logits.topk(TOP, dim=-1)
    return ids.to(torch.int32), (values.float() - logits.float().logsumexp(-1, keepdim=True)).exp()


def written_by(
    family: Family, prompts: Sequence[ModelInputs], settings: GenerationSettings, *, seed: int | None = None
) -> list[Trace | None]:
    """Responses to `prompts` in one batch, greedy or, with a `seed`, drawn at temperature 1 from all tokens; None for
    one that ends with its first token. Raises ModelError for a target whose numbers are not finite."""
    drafter = _Recorder(Want(FEATURES if settings.features else (), embeddings=True))
    rule = StopRule(settings.max_new_tokens, frozenset(family.end_token_ids))
    requests = []
    for place, inputs in enumerate(prompts):
        drawn = SamplingParams() if seed is None else SamplingParams(1.0, seed=(seed << 16) + place)
        request = Request(family.executor, drafter, Sampler(drawn, ()), rule, family.image_token_ids)
        request.start(inputs)
        requests.append(request)
    for request, _ in run(iter(requests), len(requests)):
        if request.error is not None:
            raise request.error
    traces: list[Trace | None] = [getattr(request, "drafting", None) for request in requests]
    for request, trace in zip(requests, traces, strict=True):
        if trace is not None:
            trace.ids = request.answer
    return traces
