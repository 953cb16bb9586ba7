"""Responses of the target to a batch of prompts, each with its trace: probabilities, embeddings and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from seeahead.checked import flag, real, whole
from seeahead.decode import Request, run
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import FEATURES, ModelInputs, Want
from seeahead.families.base import Family
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.train.examples import TOP
from seeahead.tree import Draft


@dataclass(frozen=True)
class GenerationSettings:
    """How much the target writes. Every `sampled_every`-th batch is drawn at temperature 1, the others are greedy.

    `visual_tokens`: of an image, at most so many visual embeddings are stored, as means of neighbours; 0: all; None:
    none. `features`: the target's last hidden states are stored too, and every visual embedding.
    """

    minutes: Annotated[float, real(0, 1e7)] = 20.0
    batch_size: Annotated[int, whole(1, 100_000)] = 32
    max_new_tokens: Annotated[int, whole(1, 1_000_000)] = 96
    sampled_every: Annotated[int, whole(0, 1_000_000)] = 4
    visual_tokens: Annotated[int | None, whole(0, 1_000_000)] = None
    features: Annotated[bool, flag()] = False

    @property
    def num_visual(self) -> int | None:
        return 0 if self.features else self.visual_tokens


@dataclass(frozen=True)
class Generation:
    """One response: its tokens (end token included) and, per token, the target's likeliest ids with probabilities.

    `embeddings` [prompt tokens, width]; `features` [prompt and response tokens but the last, width], where recorded."""

    ids: list[int]
    top_ids: list[list[int]]
    top_shares: list[list[float]]
    embeddings: Tensor
    features: Tensor | None


@dataclass(frozen=True)
class _Recorder:
    """A drafter that drafts nothing and keeps what the target gives each token."""

    want: Want
    name: str = "none"

    def start(self, context: DraftContext) -> _Trace:
        return _Trace(context)


class _Trace:
    def __init__(self, context: DraftContext) -> None:
        assert context.logits is not None
        assert context.embeddings is not None
        self._top = [_top(context.logits[None])]
        self.embeddings = context.embeddings
        self._features = [context.features[-1]] if context.features else []

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        self._top.append(_top(feedback.logits))
        self._features += [feedback.features[-1]] if self._features else []

    def generation(self, ids: list[int]) -> Generation:
        top_ids, shares = (torch.cat(parts) for parts in zip(*self._top, strict=True))
        rounded = [[round(share, 4) for share in row] for row in shares.tolist()]
        features = torch.cat(self._features) if self._features else None
        return Generation(ids, top_ids.tolist(), rounded, self.embeddings, features)


def _top(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, TOP] ids and probabilities."""
    values, ids = logits.topk(TOP, dim=-1)
    return ids.to(torch.int32), (values.float() - logits.float().logsumexp(-1, keepdim=True)).exp()


def written_by(
    family: Family, prompts: Sequence[ModelInputs], settings: GenerationSettings, *, seed: int | None = None
) -> list[Generation | None]:
    """Responses to `prompts` in one batch, greedy or, with a `seed`, drawn at temperature 1 from all tokens; None for
    one that ends with its first token. Raises ModelError for a target whose numbers are not finite."""
    want, stop = Want(FEATURES if settings.features else (), embeddings=True), frozenset(family.end_token_ids)
    requests = []
    for place, inputs in enumerate(prompts):
        drawn = SamplingParams() if seed is None else SamplingParams(1.0, seed=(seed << 16) + place)
        rule = StopRule(settings.max_new_tokens, stop)
        request = Request(family.executor, _Recorder(want), Sampler(drawn, ()), rule, family.image_token_ids)
        requests.append(request.ask(inputs))
    for request, _ in run(iter(requests), len(requests)):
        if request.error is not None:
            raise request.error
    traces = [getattr(request, "drafting", None) for request in requests]
    return [
        trace.generation(request.answer) if isinstance(trace, _Trace) else None
        for request, trace in zip(requests, traces, strict=True)
    ]
