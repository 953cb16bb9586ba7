"""The contract between the loop and whatever proposes tokens. The loop knows drafters only through it.

A drafter that is a model does not run it: it asks for passes, so that those of several requests become one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from traceback import clear_frames
from typing import NamedTuple, Protocol, TypeGuard, TypeVar, cast

import torch

from seeahead.executor import NOTHING, Executor, ModelInputs, Scores, TreeInputs, Want, run_pass
from seeahead.prompt import Prompt
from seeahead.sampling import SamplingParams
from seeahead.tree import Draft


@dataclass(frozen=True)
class DraftContext:
    """The answer to be drafted: the prompt as the target got it, the first token, and how tokens are chosen.

    `features` (by layer) and `embeddings` [prompt tokens, width] are the target's hidden states, for drafters that want
    them; at placeholders the latter are visual embeddings. `image_token_ids` stand for images in `inputs.token_ids`: a
    drafter must never propose one. `vocab_size` is the target's. `prompt`: what the inputs were made of, with its
    images, where that is known.
    """

    inputs: ModelInputs
    first_token: int
    image_token_ids: frozenset[int]
    vocab_size: int
    params: SamplingParams
    max_new_tokens: int
    features: Mapping[int, torch.Tensor] = field(default_factory=dict)
    embeddings: torch.Tensor | None = None
    prompt: Prompt | None = None
    logits: torch.Tensor | None = None
    """[vocabulary], the target's after the prompt."""
    end_tokens: frozenset[int] = frozenset()
    """After one of these the answer is over: what would follow is not worth drafting."""

    @property
    def text_token_ids(self) -> list[int]:
        """The text-only view: the prompt's ids without those that stand for images."""
        return [token for token in self.inputs.token_ids[0].tolist() if token not in self.image_token_ids]


@dataclass(frozen=True)
class Feedback:
    """What the target answered to a draft, in tokens: those accepted, then one of its own (the bonus).

    `logits` [tokens, vocabulary] and, by layer, `features` [tokens, width]: row i follows what precedes `tokens[i]`, so
    the first row is the root's. The bonus is the next root, and has not been read yet.
    """

    tokens: tuple[int, ...]
    logits: torch.Tensor
    features: Mapping[int, torch.Tensor] = field(default_factory=dict)

    @property
    def accepted(self) -> tuple[int, ...]:
        return self.tokens[:-1]

    def without_logits(self) -> Feedback:
        """To be kept: a view of logits would keep those of the whole step."""
        return Feedback(self.tokens, self.logits.new_empty((0, self.logits.shape[-1])), self.features)


class Drafting(Protocol):
    """A drafter at work on one answer."""

    def propose(self, budget: int) -> Draft:
        """A draft of at most `budget` nodes (1 or more) that continues the answer, whose last token is the root.

        The empty draft means a plain step. If tokens are drawn at random, the draws must not share random numbers with
        the target, and the draft says what they were drawn from.
        """
        ...

    def accept(self, feedback: Feedback) -> None:
        """What the target answered, after every step: also one without a draft, and the answer's last, whose end may
        have cut off some of the tokens."""
        ...


class Ask(NamedTuple):
    """A pass of a drafter's own model that a plan waits for; it is sent the scores, one per tree."""

    executor: Executor
    trees: Sequence[TreeInputs]
    want: Want = NOTHING


Result = TypeVar("Result")
Plan = Generator[Ask, list[Scores], Result]
"""A computation that asks for passes one after the other, and returns a result."""


class PlannedDrafting(Drafting, Protocol):
    """A drafting whose proposals are plans: those of several requests share passes of the drafter's model."""

    def propose(self, budget: int) -> Draft:
        return run_alone(self.plan(budget))

    def plan(self, budget: int) -> Plan[Draft]:
        """As `propose`, which runs it alone."""
        ...


def plan_of(drafting: Drafting, budget: int) -> Plan[Draft]:
    """The proposal of any drafting as a plan, which asks for no pass where the drafting has none."""
    if _can(type(drafting), "plan"):
        return (yield from cast("PlannedDrafting", drafting).plan(budget))
    return drafting.propose(budget)


class Drafter(Protocol):
    """Proposes tokens for one target; holds no state of any one answer, so several may be under way at once."""

    @property
    def name(self) -> str: ...

    @property
    def want(self) -> Want:
        """The target's hidden states it reads: those of the prompt, and those of `want.layers` at every step."""
        ...

    def start(self, context: DraftContext) -> Drafting:
        """Begin an answer. Called after the target's prefill, before its first token is passed on."""
        ...


class JointDrafter(Drafter, Protocol):
    """A drafter that decides over the drafts of all its requests in a step together."""

    def before(self, num_requests: int, longest: int) -> None:
        """A step of so many requests, whoever drafts for them, begins; the longest of them has so many tokens."""
        ...

    def allot(self, drafts: Sequence[Draft]) -> list[Draft]:
        """What is to be verified of the drafts of its requests, in order."""
        ...

    def after(self, num_rows: int, num_requests: int, seconds: float) -> None:
        """What such a step took, all but drafting."""
        ...


def is_joint(drafter: Drafter) -> TypeGuard[JointDrafter]:
    return _can(type(drafter), "before", "allot", "after")


@cache
def _can(kind: type, *methods: str) -> bool:
    """Whether objects of a class have these methods. Protocols themselves look at every object anew, which takes 0.1 ms
    of a step."""
    return all(callable(getattr(kind, method, None)) for method in methods)


def run_plans(plans: Sequence[Plan[Result]]) -> list[Result | Exception]:
    """The results of all plans, in order; plans that wait for the same executor share a pass.

    A plan that fails leaves what it raised in the place of its result, and the others go on. What a pass that fails has
    raised is thrown into all that waited for it.
    """
    results: dict[int, Result | Exception] = {}
    waiting: dict[int, Ask] = {}

    def advance(number: int, scores: list[Scores] | Exception | None) -> None:
        waiting.pop(number, None)
        try:
            if isinstance(scores, Exception):
                waiting[number] = plans[number].throw(scores)
            else:
                waiting[number] = next(plans[number]) if scores is None else plans[number].send(scores)
        except StopIteration as end:
            results[number] = end.value
        except Exception as error:  # noqa: BLE001  (whoever wants the result is given it)
            results[number] = error

    for number in range(len(plans)):
        advance(number, None)
    while waiting:
        for numbers in _alike(waiting):
            executor, _, want = waiting[numbers[0]]
            trees = [tree for number in numbers for tree in waiting[number].trees]
            try:
                scores = run_pass(executor, trees, want)
            except Exception as error:  # noqa: BLE001
                for number in numbers:
                    advance(number, error)
                if not waiting.keys() & set(numbers):  # else frames of plans that go on are among them
                    clear_frames(error.__traceback__)  # what the pass held may have been too much
                continue
            for number in numbers:
                size = len(waiting[number].trees)
                own, scores = scores[:size], scores[size:]
                advance(number, own)
    return [results[number] for number in range(len(plans))]


def _alike(waiting: Mapping[int, Ask]) -> list[list[int]]:
    """Numbers of the asks that one pass can serve."""
    groups: defaultdict[tuple[int, Want], list[int]] = defaultdict(list)
    for number, ask in waiting.items():
        groups[id(ask.executor), ask.want].append(number)
    return list(groups.values())


def run_alone(plan: Plan[Result]) -> Result:
    """The result of one plan. Raises what it raises."""
    [result] = run_plans([plan])
    if isinstance(result, Exception):
        raise result
    return result
