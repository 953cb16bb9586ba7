"""The loop: propose, score, verify, commit, emit. One request in the list is a single answer, eight are a batch.

Plain decoding is an empty draft. Requests join and leave between steps; what one says depends on no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import islice
from operator import or_
from time import perf_counter

import torch

from seeahead.drafting import DraftContext, Drafter, Feedback, plan_of, run_plans
from seeahead.errors import DrafterError, SeeaheadError
from seeahead.executor import Executor, ModelInputs, PromptInputs, Scores, TreeInputs, run_pass, together
from seeahead.prompt import Prompt
from seeahead.records import FinishReason, Generation, Origin, Step
from seeahead.sampling import Sampler, checked_choices, draw
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.tree import ROOT, Draft
from seeahead.verify import verify, verify_greedy

_ROOM = 256
"""Tokens beyond the prompt to make room for at first; the slot grows with the answer."""
_PROMPT_TOKENS = 512
"""Of prompts that are read in one pass. More gains little, and the first of them would wait for its first token."""


class Request:
    """One answer under way: `start` has its first token, then each `plan` and `apply` are a step."""

    inputs: ModelInputs
    prompt: Prompt | None
    session: Session

    def __init__(
        self,
        executor: Executor,
        drafter: Drafter,
        sampler: Sampler,
        stop: StopRule,
        image_token_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`drafter` is bound to the target that `executor` runs."""
        self.executor, self.drafter, self.sampler, self.stop = executor, drafter, sampler, stop
        self.image_token_ids = image_token_ids
        self._max_rows = executor.limits.max_rows
        self.answer: list[int] = []
        self.records: list[Step] = []
        self.finish_reason: FinishReason | None = None
        self.error: SeeaheadError | None = None
        self.draft = Draft()
        self._seconds_prefill = self._seconds_drafter_start = 0.0

    def ask(self, inputs: ModelInputs, prompt: Prompt | None = None) -> Request:
        """What is to be answered. `prompt`: what `inputs` were made of, where that is known."""
        self.inputs, self.prompt = inputs, prompt
        return self

    def start(self, inputs: ModelInputs, prompt: Prompt | None = None) -> None:
        """Prefill, the first token, and the drafter's own start, alone. Raises before any token is emitted."""
        start_all([self.ask(inputs, prompt)])
        if self.error is not None:
            raise self.error

    def open(self) -> PromptInputs:
        """What the start asks of a pass. Raises InputError for a prompt that does not fit."""
        self.session = Session(self.executor, self.inputs.length + min(self.stop.limit, _ROOM))
        return self.session.prompt(self.inputs)

    def begin(self, scores: Scores, started: float) -> None:
        """The first token, after a prompt's `scores` of a pass that began at `started`; the drafter starts."""
        distribution = self.sampler.distribution(scores.logits[-1])
        first = draw(distribution, self.sampler.stream(0).random())
        prefilled = perf_counter()
        self._seconds_prefill = prefilled - started
        _, self.finish_reason = self.stop.cut([], [first])
        if self.finish_reason is None:
            self._start_drafting(first, scores)
            self._seconds_drafter_start = perf_counter() - prefilled
        else:
            self.close()
        self.answer.append(first)
        self.sampler.extend([first])

    def _start_drafting(self, first: int, scores: Scores) -> None:
        context = DraftContext(
            inputs=self.inputs,
            first_token=first,
            image_token_ids=self.image_token_ids,
            vocab_size=scores.logits.shape[-1],
            params=self.sampler.params,
            max_new_tokens=self.stop.limit,
            features=scores.features,
            embeddings=scores.embeddings,
            prompt=self.prompt,
            logits=scores.logits[-1],
        )
        self.drafting = self.drafter.start(context)

    @property
    def budget(self) -> int:
        """Nodes that the next draft may have: the target adds a token to whatever is accepted, so drafting up to the
        limit itself is waste."""
        left, rows = self.stop.limit - len(self.answer) - 1, self._max_rows
        most = (self.session.most_nodes, None if rows is None else rows - 1)
        return min([left, *(one for one in most if one is not None)])

    def plan(self, draft: Draft) -> TreeInputs:
        """What a step asks of the target's pass, to check `draft`. Raises DrafterError for one over the budget."""
        if len(draft.tree) > max(self.budget, 0):
            raise DrafterError(
                f"drafter '{self.drafter.name}' drafted {len(draft.tree)} nodes, its budget was {max(self.budget, 0)}; "
                "a draft has at most as many nodes as `propose` is given"
            )
        self.draft = draft
        parents = (ROOT, *(parent + 1 for parent in draft.tree.parents))
        return self.session.tree((self.answer[-1], *draft.tree.tokens), parents)

    def apply(self, scores: Scores, choices: list[int] | None = None) -> None:
        """Verify the draft against the target's `scores`, keep what is accepted, and tell the drafter.

        `choices`: the greedy token of each row, where these were read already.
        """
        tree = self.draft.tree
        if choices is None:
            verdict = verify(self.draft, scores.logits, self.sampler, len(self.answer))
        else:
            verdict = verify_greedy(self.draft, checked_choices(choices, scores.logits))
        rows = [0, *(node + 1 for node in verdict.path)]
        self.session.commit(rows)
        tokens = (*(tree.tokens[node] for node in verdict.path), verdict.bonus)
        num_kept, self.finish_reason = self.stop.cut(self.answer, tokens)
        self._emitted, self._num_accepted = tokens[:num_kept], len(verdict.path)
        self.answer.extend(self._emitted)
        self.sampler.extend(self._emitted)
        verified = perf_counter()
        # Rows of root and path: gathered, or a view where they lie side by side.
        chosen = slice(0, len(rows)) if rows == list(range(len(rows))) else rows
        features = {layer: hidden[chosen] for layer, hidden in scores.features.items()}
        self.drafting.accept(Feedback(tokens, scores.logits[chosen], features))
        self._seconds_accept = perf_counter() - verified

    def record(self, seconds_draft: float, seconds_target: float, seconds: float) -> Step:
        """The step that was applied last, in a round of so many seconds."""
        drafted: list[Origin] = ["drafted"] * self._num_accepted
        step = Step(
            emitted=self._emitted,
            origins=(*drafted, "target")[: len(self._emitted)],
            num_drafted=len(self.draft.tree),
            depth=self.draft.tree.depth,
            num_accepted=self._num_accepted,
            seconds_draft=seconds_draft + self._seconds_accept,
            seconds_target=seconds_target,
            seconds=seconds,
        )
        self.records.append(step)
        if self.finish_reason is not None:
            self.close()
        return step

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An error inside ends this answer, and no other."""
        try:
            yield
        except SeeaheadError as error:
            self.fail(error)

    def fail(self, error: SeeaheadError) -> None:
        """The answer ends here; what was emitted stays."""
        self.error, self.finish_reason = error, "error"
        self.close()

    def close(self) -> None:
        if hasattr(self, "session"):  # else it never started
            self.session.close()

    def steps(self) -> Iterator[Step]:
        """The rest of the answer, step by step, alone. Raises the error that ends it."""
        while self.finish_reason is None:
            [step] = run_step([self])
            if self.error is not None:
                raise self.error
            assert step is not None
            yield step

    def generation(self) -> Generation:
        return Generation(
            num_prompt_tokens=self.inputs.length,
            first_token=self.answer[0],
            steps=tuple(self.records),
            finish_reason=self.finish_reason or "length",
            seconds_prefill=self._seconds_prefill,
            seconds_drafter_start=self._seconds_drafter_start,
            drafter=self.drafter.name,
        )


@torch.inference_mode()
def start_all(requests: Sequence[Request]) -> None:
    """The prompts of all in one pass of the target, then each one's first token and its drafter's start.

    A request that fails ends with its error (`Request.fail`); the others go on.
    """
    started, asked = perf_counter(), []
    for request in requests:
        with request.failing():
            asked.append((request, request.open()))
    if not asked:
        return
    want = reduce(or_, (request.drafter.want for request, _ in asked))
    try:
        scored = asked[0][0].executor.prefill([prompt for _, prompt in asked], want)
    except SeeaheadError as error:
        if len(asked) == 1:
            asked[0][0].fail(error)
        for request, _ in asked if len(asked) > 1 else ():  # whose prompt it was does not show
            request.close()
            start_all([request])
        return
    for (request, _), scores in zip(asked, scored, strict=True):
        with request.failing():
            request.begin(scores, started)


@torch.inference_mode()
def run_step(requests: Sequence[Request]) -> list[Step | None]:
    """One step of every request: their drafts, one pass of the target for all, their verdicts.

    A request that fails ends with its error (`Request.fail`) and has no step; the others go on.
    """
    started = perf_counter()
    _draft(requests)
    drafted = perf_counter()
    asked: list[tuple[Request, TreeInputs]] = []
    for request in requests:
        if request.error is None:
            with request.failing():
                asked.append((request, request.plan(request.draft)))
    if not asked:
        return [None for _ in requests]
    want = reduce(or_, (request.drafter.want for request, _ in asked))
    scored = run_pass(asked[0][0].executor, [tree for _, tree in asked], want)
    choices = _choices([request for request, _ in asked], scored)
    forwarded = perf_counter()
    for (request, _), scores, own in zip(asked, scored, choices, strict=True):
        with request.failing():
            request.apply(scores, own)
    finished = perf_counter()
    seconds = drafted - started, forwarded - drafted, finished - started
    return [request.record(*seconds) if request.error is None else None for request in requests]


def _draft(requests: Sequence[Request]) -> None:
    """Drafts of all requests; those that are planned share passes."""
    for request in requests:
        request.draft = Draft()
    able = [request for request in requests if request.budget > 0]
    results = run_plans([plan_of(request.drafting, request.budget) for request in able])
    for request, result in zip(able, results, strict=True):
        if isinstance(result, SeeaheadError):
            request.fail(result)
        else:
            request.draft = result


def _choices(requests: Sequence[Request], scored: Sequence[Scores]) -> list[list[int] | None]:
    """Greedy tokens of each request's rows, all in one copy to the host, for which a GPU waits; None where it draws."""
    tokens = [request.sampler.greedy_tokens(scores.logits) for request, scores in zip(requests, scored, strict=True)]
    found = [one for one in tokens if one is not None]
    if not found:
        return [None] * len(requests)
    flat = iter((torch.cat(found) if len(found) > 1 else found[0]).tolist())
    return [None if one is None else list(islice(flat, len(one))) for one in tokens]


def run(waiting: Iterator[Request], num_at_once: int) -> Iterator[tuple[Request, Step | None]]:
    """Steps of many requests, `num_at_once` at a time: as one ends, the next of `waiting` joins, and starts if need be.

    Yields each request once it has started and after each of its steps; with None for the start, and for an error.
    """
    active: list[Request] = []
    while True:
        while joining := list(islice(waiting, num_at_once - len(active))):
            for part in together([request.inputs.length for request in joining], _PROMPT_TOKENS):
                start_all([request for request in joining[part] if not request.answer])
                yield from ((request, None) for request in joining[part])
            active += [request for request in joining if request.finish_reason is None]
        if not active:
            return
        steps = run_step(active)
        yield from zip(list(active), steps, strict=True)
        active = [request for request in active if request.finish_reason is None]
