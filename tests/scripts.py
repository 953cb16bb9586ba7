"""Scripts of drafts for tests: right, wrong or sometimes right by the target's own answer, or drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from seeahead.drafting import DraftContext, Drafter, Drafting, Feedback
from seeahead.executor import Want
from seeahead.sampling import draw
from seeahead.testing.drafters import WORDS, Script, some_words
from seeahead.tree import ROOT, Draft, TokenTree


def random_chain(depth: int = 4, words: range = WORDS) -> Script:
    return lambda answer, budget, random: Draft(TokenTree.chain(some_words(random, min(depth, budget), words)))


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
        wrong = [[*right[:place], *some_words(random, 2)] for place in range(min(2, len(right)))]
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


def drawn_beside(fixed: TokenTree, proposals: Sequence[torch.Tensor]) -> Script:
    """After the root a token from each of `proposals` [vocabulary], and a `fixed` tree beside them."""

    def script(answer: Sequence[int], budget: int, random: np.random.Generator) -> Draft:
        number = len(proposals)
        tokens = (*(draw(q, random.random()) for q in proposals), *fixed.tokens)
        below = (parent if parent == ROOT else parent + number for parent in fixed.parents)
        tree = TokenTree(tokens[:budget], (*[ROOT] * number, *below)[:budget])
        return Draft(tree, [*proposals, *[None] * len(fixed)][:budget])

    return script


@dataclass(frozen=True)
class Both:
    """The fixed drafts of two drafters in one tree, where each goes on from paths of the other as well."""

    first: Drafter
    second: Drafter
    name: str = "both"

    @property
    def want(self) -> Want:
        return self.first.want | self.second.want

    def start(self, context: DraftContext) -> "_Both":
        return _Both((self.first.start(context), self.second.start(context)))


class _Both(NamedTuple):
    draftings: tuple[Drafting, Drafting]

    def propose(self, budget: int) -> Draft:
        trees = [drafting.propose(budget).tree for drafting in self.draftings]
        paths = [[tree.tokens[step] for step in tree.path_to(node)] for tree in trees for node in range(len(tree))]
        return Draft(TokenTree.of_branches(paths, budget))

    def accept(self, feedback: Feedback) -> None:
        for drafting in self.draftings:
            drafting.accept(feedback)


def _other(token: int) -> int:
    return WORDS.start if token != WORDS.start else WORDS.start + 1
