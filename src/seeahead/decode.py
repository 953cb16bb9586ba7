"""The loop: propose, score, verify, commit, emit. A generator of steps; plain decoding is an empty draft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch

from seeahead.drafting import Assignment, Drafter, Drafting
from seeahead.executor import Executor, ModelInputs
from seeahead.prompt import Prompt
from seeahead.records import FinishReason, Generation, Origin, Step
from seeahead.sampling import Sampler, draw
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.tree import ROOT, Draft, Verdict
from seeahead.verify import verify

_CHUNK = 64
"""Room in the cache, beyond prompt and answer, for the widest draft."""


@dataclass
class Progress:
    """An answer under way: filled in by `decode`, complete when its generator is exhausted."""

    answer: list[int]
    steps: list[Step]
    seconds_prefill: float
    seconds_drafter_start: float
    finish_reason: FinishReason | None = None

    def generation(self, num_prompt_tokens: int, drafter: str) -> Generation:
        return Generation(
            num_prompt_tokens=num_prompt_tokens,
            first_token=self.answer[0],
            steps=tuple(self.steps),
            finish_reason=self.finish_reason or "length",
            seconds_prefill=self.seconds_prefill,
            seconds_drafter_start=self.seconds_drafter_start,
            drafter=drafter,
        )


class Decoder:
    """One answer of `target` with drafts of `drafter`: `start` yields the first token, `steps` the rest."""

    def __init__(
        self,
        target: Executor,
        drafter: Drafter,
        sampler: Sampler,
        stop: StopRule,
        image_token_ids: frozenset[int] = frozenset(),
    ) -> None:
        self.target, self.drafter, self.sampler, self.stop = target, drafter, sampler, stop
        self.image_token_ids = image_token_ids

    def start(self, inputs: ModelInputs, prompt: Prompt | None = None) -> Progress:
        """Prefill, the first token, and the drafter's own start. Raises DrafterError before any token is emitted.

        `prompt`: what `inputs` were made of, where that is known."""
        self.drafter = self.drafter.bound_to(self.target)
        capacity = inputs.token_ids.shape[1] + min(self.stop.limit, 4096) + _CHUNK
        self._session = Session(self.target, capacity)
        started = perf_counter()
        scores = self._session.prefill(inputs, self.drafter.wants_features, self.drafter.wants_embeddings)
        with torch.inference_mode():
            distribution = self.sampler.distribution(scores.logits[0, -1])
            first = draw(distribution, self.sampler.stream(0).random())
        prefilled = perf_counter()
        progress = Progress([first], [], prefilled - started, 0.0)
        self.sampler.extend([first])
        _, progress.finish_reason = self.stop.cut([], [first])
        if progress.finish_reason is None:
            assignment = Assignment(
                inputs=inputs,
                image_token_ids=self.image_token_ids,
                vocab_size=scores.logits.shape[-1],
                params=self.sampler.params,
                max_new_tokens=self.stop.limit,
                features=None if scores.features is None else scores.features[0],
                embeddings=None if scores.embeddings is None else scores.embeddings[0],
                prompt=prompt,
            )
            self._drafting = self.drafter.start(assignment)
            progress.seconds_drafter_start = perf_counter() - prefilled
        return progress

    def steps(self, progress: Progress) -> Iterator[Step]:
        """The rest of the answer, step by step; each is also added to `progress`."""
        while progress.finish_reason is None:
            step = self._step(self._drafting, progress)
            progress.steps.append(step)
            yield step

    @torch.inference_mode()
    def _step(self, drafting: Drafting, progress: Progress) -> Step:
        answer = progress.answer
        started = perf_counter()
        # The target adds a token of its own to whatever is accepted: drafting up to the limit itself is waste.
        budget = self.stop.limit - len(answer) - 1
        most = self._session.most_nodes
        budget = budget if most is None else min(budget, most)
        draft = drafting.propose(answer, budget) if budget > 0 else Draft()
        assert len(draft.tree) <= max(budget, 0), f"{self.drafter.name} drafted more than its budget"
        drafted = perf_counter()
        tokens, parents = (answer[-1], *draft.tree.tokens), (ROOT, *(parent + 1 for parent in draft.tree.parents))
        scores = self._session.score(tokens, parents, self.drafter.wants_features)
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)
        scored = perf_counter()
        verdict = verify(draft, scores.logits[0], self.sampler, len(answer))
        self._session.commit((0, *(node + 1 for node in verdict.path)))
        emitted = self._emit(draft, verdict, progress)
        verified = perf_counter()
        if progress.finish_reason is None:
            drafting.observe(verdict, scores)
        finished = perf_counter()
        drafted_origins: list[Origin] = ["drafted"] * len(verdict.path)
        return Step(
            emitted=tuple(emitted),
            origins=(*drafted_origins, "target")[: len(emitted)],
            num_drafted=len(draft.tree),
            depth=draft.tree.depth,
            num_accepted=len(verdict.path),
            seconds_draft=drafted - started + finished - verified,
            seconds_target=scored - drafted,
            seconds=finished - started,
        )

    def _emit(self, draft: Draft, verdict: Verdict, progress: Progress) -> list[int]:
        emitted = [*(draft.tree.tokens[node] for node in verdict.path), verdict.bonus]
        num_kept, progress.finish_reason = self.stop.cut(progress.answer, emitted)
        progress.answer.extend(emitted[:num_kept])
        self.sampler.extend(emitted[:num_kept])
        return emitted[:num_kept]
