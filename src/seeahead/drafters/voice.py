"""Drafting with models: a voice says what it expects after a token, and a tree or a chain is drafted from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from seeahead.drafters.growth import GrowthLimits, grow
from seeahead.drafters.ids import DraftIds, draw_chain
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment, Drafter
from seeahead.executor import Scores
from seeahead.sampling import SamplingParams
from seeahead.tree import Draft, TokenTree, Verdict


class Voice(Protocol):
    """A model at work on one answer. It may have several rows, one per view of the prompt; all read the same answer."""

    @property
    def ids(self) -> DraftIds: ...

    def read(self, answer: Sequence[int]) -> torch.Tensor | None:
        """Logits [rows, draft ids] of what follows `answer`; None where there is no room to draft."""
        ...

    def score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        """Logits [rows, tokens, draft ids] after drafted `tokens` (draft ids).

        `parents` count the tokens scored since `read`, or are ROOT."""
        ...

    def observe(self, scored: Sequence[int | None], verdict: Verdict, scores: Scores) -> None:
        """What the target said: its `verdict` and `scores` [1, 1 + nodes, ...] (first: after the root).

        `scored`: of each accepted node, its number among the tokens scored; None for one that was not."""
        ...


class VoiceDrafter(Drafter, Protocol):
    """A drafter that is a voice, and so can be a member of an ensemble."""

    @property
    def vocabulary(self) -> DraftVocabulary | None:
        """None: the target's own ids."""
        ...

    def voice(self, assignment: Assignment) -> Voice: ...


class VoiceDrafting:
    """One answer, drafted from a voice of one row."""

    def __init__(self, voice: Voice, limits: GrowthLimits, draws: bool, params: SamplingParams) -> None:
        """`draws`: at temperature above 0, draw a chain instead of growing a top-k tree."""
        self.voice, self._limits, self._params = voice, limits, params
        self._draws = draws and not params.is_greedy
        self._scored: Sequence[int | None] = ()

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        self._scored = ()
        said = self.voice.read(answer)
        if said is None:
            return Draft()
        if self._draws:
            depth = min(self._limits.depth, budget)
            self._scored = (*range(depth - 1), None)
            return draw_chain(said[0], self._score, self.voice.ids, self._params, depth, len(answer))
        grown = grow(said[0], self._score, self._limits, budget)
        self._scored = grown.scored
        return Draft(TokenTree(tuple(self.voice.ids.to_target(grown.tree.tokens)), grown.tree.parents))

    def observe(self, verdict: Verdict, scores: Scores) -> None:
        # Nothing was scored where nothing was drafted.
        self.voice.observe([self._scored[node] for node in verdict.path], verdict, scores)

    def _score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        return self.voice.score(tokens, parents)[0]
