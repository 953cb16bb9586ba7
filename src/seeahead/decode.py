"""The loop: propose, score, verify, commit, emit. One request in the list is a single answer, eight are a batch.

Plain decoding is an empty draft. Requests join and leave between steps; what one says depends on no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from operator import or_
from time import perf_counter
from traceback import clear_frames
from typing import Protocol

import torch

from seeahead.drafting import JointDrafter, is_joint, plan_of, run_plans
from seeahead.executor import PromptInputs, Scores, TreeInputs, mixes, run_pass
from seeahead.records import Step
from seeahead.request import Request
from seeahead.tree import Draft

_PROMPT_TOKENS = 512
"""Of prompts that are read in one pass. More gains little, and the first of them would wait for its first token."""


Part = tuple[Request, PromptInputs]
"""What is to be read next of a request's prompt."""


class Shares(Protocol):
    """Says before each step how many nodes its requests may draft, and learns from it."""

    def set(self, requests: Sequence[Request], *, somebody_waits: bool) -> None:
        """Give each request of the next step its `share`; where somebody waits for a first token, it is to be short."""
        ...

    def learn(self, done: Sequence[tuple[Request, Step]]) -> None:
        """From a step, of those of its requests that did not fail."""
        ...


class Batch:
    """Requests under way. They join at any time, and leave when they end, or when they are dropped between steps."""

    def __init__(
        self, prompt_tokens: int = _PROMPT_TOKENS, *, cuts: bool = False, shares: Shares | None = None
    ) -> None:
        """`prompt_tokens` are read in one pass, or one prompt that is longer. With `cuts` such a prompt is read in
        parts, with a step of the others beside or after each: nobody waits for long, and the prompt itself for longer.
        Prompts take turns then (`_in_turn`). Without `shares` each request drafts as much as its drafter will."""
        self.requests: list[Request] = []
        self._prompt_tokens, self._cuts, self._shares = prompt_tokens, cuts, shares
        self._is_shortest_turn = False

    def join(self, request: Request) -> None:
        """It takes part from the next step on; one that has started already goes on."""
        self.requests.append(request)

    def step(self, *, somebody_comes: bool = False) -> Iterator[tuple[Request, Step | None]]:
        """Some of what is to be read, and a step of every request whose prompt is read.

        Yields requests that have started, with None, then each step; with None also a request that has failed.
        `somebody_comes`: a request is about to join, so that the step is to be short.
        """
        yield from ((request, None) for request in self.requests if request.finish_reason is not None)
        self._leave()
        others_read = self._cuts and len(self.requests) > 1 and not all(request.answer for request in self.requests)
        reading, parts = list[Request](), list[Part]()
        while reading := [request for request in self.requests if not request.answer]:
            parts = self._next_parts(self._in_turn(reading))
            others, is_last = len(self.requests) - len(reading), self._cuts or len(parts) == len(reading)
            if parts and others and is_last and mixes(parts[0][0].executor):
                break  # a step that reads them too takes little more; its seconds tell nothing of drafts: it has none
            if parts:
                read(parts)
            yield from _started(reading)
            self._leave()
            parts = []
            if self._cuts:
                break
        if active := [request for request in self.requests if request.answer]:
            found = self._shared_step(active, parts, somebody_comes or others_read)
            yield from _started(reading if parts else ())
            yield from zip(active, found, strict=True)
            self._leave()

    def _shared_step(
        self, requests: Sequence[Request], parts: Sequence[Part], somebody_waits: bool
    ) -> list[Step | None]:
        if self._shares is None:
            return run_step(requests, parts)
        self._shares.set(requests, somebody_waits=somebody_waits or bool(parts))
        found = run_step(requests, parts)
        done = [(request, step) for request, step in zip(requests, found, strict=True) if step is not None]
        if done and not parts:  # else its seconds are those of prompts as well
            self._shares.learn(done)
        return found

    def _leave(self) -> None:
        self.requests = [request for request in self.requests if request.finish_reason is None]

    def _in_turn(self, reading: Sequence[Request]) -> Sequence[Request]:
        """In the order in which they came; where prompts are cut, every other pass begins with the one that has least
        left. So a short prompt waits for few parts of a long one, and many short ones leave the long one half of the
        passes."""
        self._is_shortest_turn = self._cuts and not self._is_shortest_turn
        return sorted(reading, key=lambda request: request.num_unread) if self._is_shortest_turn else reading

    def _next_parts(self, reading: Sequence[Request]) -> list[Part]:
        """Of the first of these, what fits into one pass."""
        left, parts = self._prompt_tokens, list[Part]()
        for request in reading:
            with request.failing():
                request.open()  # encodes images: no sooner than there is time to read them
                part = request.next_part(max(left, 1) if self._cuts else None)
            if request.error is not None:
                continue
            if parts and part.inputs.length > left:
                break
            parts.append((request, part))
            left -= part.inputs.length
            if left <= 0:
                break
        return parts


def _started(reading: Sequence[Request]) -> Iterator[tuple[Request, None]]:
    """Those whose prompts are read now, or who have failed."""
    yield from ((request, None) for request in reading if request.answer or request.error is not None)


@torch.inference_mode()
def read(parts: Sequence[Part]) -> None:
    """Parts of prompts in one pass of the target; where a prompt is read, its first token and its drafter's start.

    A request that fails ends with its error (`Request.fail`); the others go on.
    """
    want = reduce(or_, (request.drafter.want for request, _ in parts))
    try:
        scored = parts[0][0].executor.prefill([part for _, part in parts], want)
    except Exception as error:  # noqa: BLE001  (`Request.check` raises it)
        clear_frames(error.__traceback__)  # what the pass held may have been too much
        if len(parts) == 1:
            parts[0][0].fail(error)
        else:  # whose prompt it was does not show
            _read_each(parts)
        return
    _take(parts, scored)


def _read_each(parts: Sequence[Part]) -> None:
    """Anew, since what their slots hold is not known."""
    for request, _ in parts:
        with request.failing():
            request.reopen()
            read([(request, request.next_part(None))])


def _take(parts: Sequence[Part], scored: Sequence[Scores]) -> None:
    for (request, _), scores in zip(parts, scored, strict=True):
        with request.failing():
            request.read(scores)


@torch.inference_mode()
def run_step(requests: Sequence[Request], parts: Sequence[Part] = ()) -> list[Step | None]:
    """One step of every request: their drafts, one pass of the target for all, their verdicts.

    The pass reads `parts` of others' prompts as well, as `read` does, where the executor mixes them. A request that
    fails ends with its error (`Request.fail`) and has no step; the others go on. A pass fails for all.
    """
    started, joint = perf_counter(), _joint_drafters(requests)
    _draft(requests, joint)
    drafted = perf_counter()
    asked: list[tuple[Request, TreeInputs]] = []
    for request in requests:
        if request.error is None:
            with request.failing():
                asked.append((request, request.plan(request.draft)))
    if not asked:
        if parts:
            read(parts)
        return [None for _ in requests]
    try:
        scored = _scored(asked, parts)
        choices = _choices([request for request, _ in asked], scored)
    except Exception as error:  # noqa: BLE001  (`Request.check` raises it)
        for request, _ in asked:
            request.fail(error)
        clear_frames(error.__traceback__)  # what the pass held may have been too much, and others wait
        return [None for _ in requests]
    forwarded = perf_counter()
    for (request, _), scores, own in zip(asked, scored, choices, strict=True):
        if request.error is None:
            with request.failing():
                request.apply(scores, own)
    finished = perf_counter()
    for drafter in joint if not parts else ():
        drafter.after(sum(len(scores.logits) for scores in scored), len(asked), finished - drafted)
    seconds = drafted - started, forwarded - drafted, finished - started
    return [_recorded(request, *seconds) for request in requests]


def _scored(asked: Sequence[tuple[Request, TreeInputs]], parts: Sequence[Part]) -> list[Scores]:
    """Of the trees that are `asked`; `parts` are read in the same pass, or apart from them where that fails."""
    executor, want = asked[0][0].executor, reduce(or_, (request.drafter.want for request, _ in asked))
    if parts and mixes(executor):
        both = reduce(or_, (request.drafter.want for request, _ in parts), want)
        try:
            told, scored = executor.mixed([part for _, part in parts], [tree for _, tree in asked], both)
        except Exception as error:  # noqa: BLE001  (what cannot be read, or checked, apart raises it again)
            clear_frames(error.__traceback__)
            _read_each(parts)
            for request, _ in asked:
                request.session.commit(())
            asked = [(request, request.plan(request.draft)) for request, _ in asked]
        else:
            _take(parts, told)
            return scored
    return run_pass(executor, [tree for _, tree in asked], want)


def _recorded(request: Request, *seconds: float) -> Step | None:
    if request.error is None:
        with request.failing():
            return request.record(*seconds)
    return None


def _joint_drafters(requests: Sequence[Request]) -> dict[JointDrafter, list[Request]]:
    """Those that decide over several requests, with their requests."""
    found: dict[JointDrafter, list[Request]] = {}
    for request in requests:
        if is_joint(request.drafter):
            found.setdefault(request.drafter, []).append(request)
    return found


def _draft(requests: Sequence[Request], joint: Mapping[JointDrafter, Sequence[Request]]) -> None:
    """Drafts of all requests; those that are planned share passes, and `joint` drafters decide over all of theirs."""
    for drafter in joint:
        drafter.before(len(requests), max(request.num_held for request in requests))
    for request in requests:
        request.draft = Draft()
    able = [request for request in requests if request.budget > 0]
    results = run_plans([plan_of(request.drafting, request.budget) for request in able])
    for request, result in zip(able, results, strict=True):
        if isinstance(result, Exception):
            request.fail(result)
        else:
            request.draft = result
    for drafter, its_requests in joint.items():
        drafts = drafter.allot([request.draft for request in its_requests])
        for request, draft in zip(its_requests, drafts, strict=True):
            request.draft = draft


def _choices(requests: Sequence[Request], scored: Sequence[Scores]) -> list[list[int] | None]:
    """Greedy tokens of each request's rows, all in one copy to the host, for which a GPU waits; None where it draws,
    or fails."""
    tokens: list[torch.Tensor | None] = []
    for request, scores in zip(requests, scored, strict=True):
        chosen = None
        with request.failing():
            chosen = request.sampler.greedy_tokens(scores.logits)
        tokens.append(chosen)
    found = [one for one in tokens if one is not None]
    if not found:
        return [None] * len(requests)
    flat = iter((torch.cat(found) if len(found) > 1 else found[0]).tolist())
    return [None if one is None else list(islice(flat, len(one))) for one in tokens]


def run(
    waiting: Iterator[Request], num_at_once: int, shares: Shares | None = None
) -> Iterator[tuple[Request, Step | None]]:
    """Steps of many requests, `num_at_once` at a time: as one ends, the next of `waiting` joins, and starts if need be.

    Yields each request once it has started and after each of its steps; with None for the start, and for an error.
    """
    batch = Batch(shares=shares)
    while True:
        for request in islice(waiting, num_at_once - len(batch.requests)):
            batch.join(request)
        if not batch.requests:
            return
        yield from batch.step()
