"""Drafters for tests: they never, always or sometimes agree with the target, or draw from a given distribution.

A script makes the drafts; `ScriptedDrafter` turns it into a drafter. `SelfDrafter` is the control: the target itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import Executor, Want
from seeahead.families.tiny import FIRST_WORD, VOCAB_SIZE
from seeahead.sampling import draw
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


def random_chain(depth: int = 4, words: range = WORDS) -> Script:
    return lambda answer, budget, random: Draft(TokenTree.chain(_words(random, min(depth, budget), words)))


def random_tree(num_nodes: int = 9, words: range = WORDS) -> Script:
    """Words at random, each below a random earlier one."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        size = min(num_nodes, budget)
        parents = tuple(int(random.integers(ROOT, node)) for node in range(size))
        return Draft(TokenTree(tuple(_words(random, size, words)), parents))

    return script


def all_right(truth: Sequence[int], depth: int = 5) -> Script:
    """The target's own answer `truth`."""
    return lambda answer, budget, random: Draft(
        TokenTree.chain(truth[len(answer) : len(answer) + min(depth, budget)]),
    )


def all_wrong(truth: Sequence[int], depth: int = 4) -> Script:
    """A chain whose every token is another than the target's."""
    return all_right([_other(token) for token in truth], depth)


def sometimes_right(truth: Sequence[int], depth: int = 5) -> Script:
    """A tree: the target's answer up to a random depth, then wrong words; wrong siblings come first."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        coming = list(truth[len(answer) : len(answer) + depth])
        num_right = int(random.integers(0, len(coming) + 1))
        right = [*coming[:num_right], *(_other(token) for token in coming[num_right:])]
        wrong = [[*right[:place], *_words(random, 2)] for place in range(min(2, len(right)))]
        return Draft(TokenTree.of_branches([*wrong, right], budget))

    return script


def drawn_chain(proposal: torch.Tensor, depth: int = 3) -> Script:
    """A chain of tokens drawn one after the other from `proposal` [vocabulary]."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        tree = TokenTree.chain([draw(proposal, random.random()) for _ in range(min(depth, budget))])
        return Draft(tree, [proposal] * len(tree))

    return script


def drawn_mixture(proposals: Sequence[torch.Tensor], weights: Sequence[float], depth: int = 3) -> Script:
    """A chain whose tokens are drawn from one of `proposals`, picked by `weights`: that is, from their mixture."""
    mixture = sum((weight * q for weight, q in zip(weights, proposals, strict=True)), torch.zeros(()))

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        picks = random.choice(len(proposals), size=min(depth, budget), p=weights)
        tree = TokenTree.chain([draw(proposals[pick], random.random()) for pick in picks])
        return Draft(tree, [mixture] * len(tree))

    return script


def drawn_tree(proposals: Sequence[torch.Tensor], depth: int = 2) -> Script:
    """Every node's children are drawn independently, one from each of `proposals` [vocabulary]."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        parents, level = list[int](), [ROOT]
        for _ in range(depth):
            start = len(parents)
            parents += [parent for parent in level for _ in proposals]
            level = list(range(start, len(parents)))
        parents = parents[:budget]
        rows = [node % len(proposals) for node in range(len(parents))]
        tokens = tuple(draw(proposals[row], random.random()) for row in rows)
        return Draft(TokenTree(tokens, tuple(parents)), [proposals[row] for row in rows])

    return script


def _words(random: np.random.Generator, number: int, words: range = WORDS) -> list[int]:
    drawn: list[int] = random.integers(words.start, words.stop, number).tolist()
    return drawn


def _other(token: int) -> int:
    return WORDS.start if token != WORDS.start else WORDS.start + 1


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
