"""The contract between the loop and whatever proposes tokens. The loop knows drafters only through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from seeahead.executor import Executor, ModelInputs, Scores
from seeahead.prompt import Prompt
from seeahead.sampling import SamplingParams
from seeahead.tree import Draft, Verdict


@dataclass(frozen=True)
class Assignment:
    """The answer to be drafted: the prompt as the target got it, and how the target's tokens are chosen.

    `features` and `embeddings` [prompt tokens, width] are the target's last and first hidden states, for drafters
    that want them; at placeholders the latter are the visual embeddings. `image_token_ids` stand for
    pictures in `inputs.token_ids`: a drafter must never propose one. `vocab_size` is the target's. `prompt`: what the
    inputs were made of, with its pictures, where that is known.
    """

    inputs: ModelInputs
    image_token_ids: frozenset[int]
    vocab_size: int
    params: SamplingParams
    max_new_tokens: int
    features: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    prompt: Prompt | None = None

    @property
    def text_token_ids(self) -> list[int]:
        """The text-only view: the prompt's ids without those that stand for pictures."""
        return [token for token in self.inputs.token_ids[0].tolist() if token not in self.image_token_ids]


class Drafting(Protocol):
    """A drafter at work on one answer."""

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        """A draft of at most `budget` nodes (1 or more) that continues `answer`, whose last token is the root.

        `answer` is everything emitted so far. The empty draft means a plain step. If tokens are drawn at random, the
        draws must not share random numbers with the target, and the draft says what they were drawn from.
        """
        ...

    def observe(self, verdict: Verdict, scores: Scores) -> None:
        """What the target said to the last draft: `scores` [1, 1 + nodes, ...] (first: after the root), with features
        where these are wanted."""
        ...


class Drafter(Protocol):
    """Proposes tokens; holds no state of any one answer, so several answers may be under way at once."""

    @property
    def name(self) -> str: ...

    @property
    def wants_features(self) -> bool:
        """Of the prompt and of every step."""
        ...

    @property
    def wants_embeddings(self) -> bool:
        """Of the prompt."""
        ...

    def bound_to(self, target: Executor) -> Drafter:
        """This drafter, ready for `target`. Raises DrafterError, naming the way out, if it cannot serve it."""
        ...

    def start(self, assignment: Assignment) -> Drafting:
        """Begin an answer. Called after the target's prefill, before its first token is passed on."""
        ...
