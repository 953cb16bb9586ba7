"""Responses of the target to a batch of prompts, each with its trace: probabilities, embeddings and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seeahead.decode import run
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import FEATURES, ModelInputs, Want
from seeahead.executors.fuse import fused_decoder
from seeahead.executors.llama import Llama
from seeahead.families.base import Family
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.train.examples import TOP
from seeahead.train.together import Written, write_together
from seeahead.tree import Draft


class Trace:
    """One response: its `ids` (end token included) and, per token, the target's likeliest ids with probabilities.

    `embeddings` [prompt tokens, width], none where the first token was the end; `features` [prompt and response tokens
    but the last, width] by layer, of those wanted. It is a drafter of one answer, which drafts nothing and keeps what
    is given."""

    name = "none"

    def __init__(self, want: Want) -> None:
        self.want = want
        self.ids: list[int] = []
        self.embeddings: Tensor | None = None
        self._top: list[tuple[Tensor, Tensor]] = []
        self._features: list[Mapping[int, Tensor]] = []

    def start(self, context: DraftContext) -> Trace:
        assert context.logits is not None
        self.embeddings = context.embeddings
        self._keep(context.logits[None], context.features)
        return self

    def propose(self, budget: int) -> Draft:
        return Draft()

    def accept(self, feedback: Feedback) -> None:
        self._keep(feedback.logits, feedback.features)

    def _keep(self, logits: Tensor, features: Mapping[int, Tensor]) -> None:
        """[tokens, vocabulary], and by layer [tokens, width]."""
        values, ids = logits.topk(TOP, dim=-1)
        shares = (values.float() - logits.float().logsumexp(-1, keepdim=True)).exp()
        self._top.append((ids.to(torch.int32), shares))
        self._features.append({layer: features[layer] for layer in self.want.layers})

    @classmethod
    def of_row(cls, want: Want, written: Written, row: int, ends: frozenset[int]) -> Trace:
        """A row of those that were written together, up to its end token."""
        trace, length = cls(want), written.lengths[row]
        ids: list[int] = written.ids[:, row].tolist()
        trace.ids = ids[: next((place for place, token in enumerate(ids, 1) if token in ends), len(ids))]
        count = len(trace.ids)
        trace._top = [(written.top_ids[:count, row], written.top_shares[:count, row])]
        if trace.ids[0] not in ends:
            trace.embeddings = written.embeddings[row, :length]
        if want.layers:
            # What a step reads follows from the token before; the first one reads the prompt's last.
            parts = written.prompts[row, :length], written.features[1:count, row]
            trace._features = [dict.fromkeys(want.layers, part) for part in parts]
        return trace

    @property
    def features(self) -> dict[int, Tensor]:
        return {layer: torch.cat([found[layer] for found in self._features]) for layer in self.want.layers}

    def row(self) -> dict[str, Any]:
        """As JSON values."""
        top_ids, shares = (torch.cat(parts).tolist() for parts in zip(*self._top, strict=True))
        rounded = [[round(share, 4) for share in row] for row in shares]
        return {"ids": self.ids, "top_ids": top_ids, "top_shares": rounded}


def written_by(
    family: Family,
    prompts: Sequence[ModelInputs],
    max_new_tokens: int,
    layers: Sequence[int] = (),
    *,
    seed: int | None = None,
) -> list[Trace]:
    """Responses to `prompts` in one batch, greedy or, with a `seed`, drawn at temperature 1 from all tokens, with the
    hidden states of `layers`.

    Raises ModelError for a target whose numbers are not finite."""
    want = Want(tuple(layers), embeddings=True)
    ends = frozenset(family.end_token_ids)
    if set(layers) <= {*FEATURES} and (decoder := _decoder_for_all(family)) is not None:
        written = write_together(family, decoder, prompts, max_new_tokens, seed)
        return [Trace.of_row(want, written, row, ends) for row in range(len(prompts))]
    rule = StopRule(max_new_tokens, ends)
    traces, requests = [Trace(want) for _ in prompts], list[Request]()
    for place, (inputs, trace) in enumerate(zip(prompts, traces, strict=True)):
        drawn = SamplingParams() if seed is None else SamplingParams(1.0, seed=(seed << 16) + place)
        request = Request(family.executor, trace, Sampler(drawn, ()), rule, family.image_token_ids)
        trace.ids = request.answer
        requests.append(request.ask(inputs))
    for request, _ in run(iter(requests), len(requests)):
        request.check()
    return traces


def _decoder_for_all(family: Family) -> Llama | None:
    """What writes many responses in step on a GPU, where the target is one that it runs; a CPU gains nothing by it."""
    if family.device.type == "cpu":
        return None
    fused = fused_decoder(family.model)
    return None if fused is None else fused.decoder
