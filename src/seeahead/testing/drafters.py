"""Drafters for tests: one that drafts what a script says, and the control, which is the target itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import Executor, Want
from seeahead.families.tiny import FIRST_WORD, VOCAB_SIZE
from seeahead.session import Session
from seeahead.tree import ROOT, Draft, PendingNodes, TokenTree

Script = Callable[[Sequence[int], int, np.random.Generator], Draft]
"""(answer so far, budget, the drafter's own random numbers) -> draft."""

WORDS = range(FIRST_WORD, VOCAB_SIZE)
"""Tokens a made-up draft may consist of: no special ones."""


@dataclass(frozen=True)
class ScriptedDrafter:
    """Drafts what `script` says. `seed` is the drafter's own: it must change nothing in what the target draws.

    `is_alone`: all that is accepted must be of its own drafts, which is checked."""

    name: str
    script: Script
    seed: int = 0
    is_alone: bool = True
    want: ClassVar[Want] = Want()

    def start(self, context: DraftContext) -> _Scripted:
        return _Scripted(self, context)


class _Scripted:
    def __init__(self, drafter: ScriptedDrafter, context: DraftContext) -> None:
        self._script, self._is_alone = drafter.script, drafter.is_alone
        self._random = np.random.default_rng(drafter.seed)
        self._answer = [context.first_token]
        self._draft = Draft()

    def propose(self, budget: int) -> Draft:
        self._draft = self._script(self._answer, budget, self._random)
        return self._draft

    def accept(self, feedback: Feedback) -> None:
        self._answer += feedback.tokens
        nodes = PendingNodes()
        nodes.add(self._draft.tree.tokens, self._draft.tree.parents)
        is_own = len(nodes.path_of(feedback.accepted)) == len(feedback.accepted)
        assert is_own or not self._is_alone, "the accepted tokens are no path of the draft"
        assert len(feedback.tokens) == len(feedback.logits), "a row for each token"
        self._draft = Draft()


def random_tree(num_nodes: int = 9, words: range = WORDS) -> Script:
    """Words at random, each below a random earlier one."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        size = min(num_nodes, budget)
        parents = tuple(int(random.integers(ROOT, node)) for node in range(size))
        return Draft(TokenTree(tuple(some_words(random, size, words)), parents))

    return script


def some_words(random: np.random.Generator, number: int, words: range = WORDS) -> list[int]:
    drawn: list[int] = random.integers(words.start, words.stop, number).tolist()
    return drawn


@dataclass(frozen=True)
class SelfDrafter:
    """The target as its own drafter, with the same images, in a session of its own: everything must be accepted."""

    executor: Executor
    depth: int = 4
    name: str = "self"
    want: ClassVar[Want] = Want()

    def start(self, context: DraftContext) -> _Self:
        return _Self(self, context)


class _Self:
    def __init__(self, drafter: SelfDrafter, context: DraftContext) -> None:
        self._depth = drafter.depth
        self._session = Session(drafter.executor, context.inputs.length + 64)
        self._session.prefill(context.inputs)
        self._unread = [context.first_token]

    def propose(self, budget: int) -> Draft:
        chain = list[int]()
        # After full acceptance the last drafted token has not been read yet: it comes before the root.
        logits = self._session.score(self._unread, range(ROOT, len(self._unread) - 1)).logits[-1]
        self._session.commit(range(len(self._unread)))
        self._unread = []
        for level in range(min(self._depth, budget)):
            token = int(logits.argmax())
            chain.append(token)
            logits = self._session.score([token], [level - 1]).logits[-1]
        return Draft(TokenTree.chain(chain))

    def accept(self, feedback: Feedback) -> None:
        num_kept = self._session.follow(feedback.accepted)
        self._unread += feedback.tokens[num_kept:]
