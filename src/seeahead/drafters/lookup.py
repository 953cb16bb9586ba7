"""Drafts what followed the same words before: longest match of the recent tokens over prompt, earlier turns and answer.

Prompt lookup (Saxena 2023) as an index that grows with the answer, with several continuations merged into one tree.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seeahead.drafters.ids import DraftIds
from seeahead.drafting import Assignment
from seeahead.executor import Executor, Scores
from seeahead.tree import ROOT, Draft, TokenTree, Verdict

_KEPT_PLACES = 8
"""Newest places remembered per n-gram; more would only be older continuations of the same words."""


@dataclass(frozen=True)
class LookupDrafter:
    """`max_match` / `min_match`: longest and shortest run of tokens looked up; `depth`: tokens per continuation;
    `width`: continuations per draft."""

    max_match: int = 8
    min_match: int = 2
    depth: int = 8
    width: int = 2
    name: str = "lookup"
    wants_features: bool = False
    wants_embeddings: bool = False

    def bound_to(self, target: Executor) -> LookupDrafter:
        """Serves every target."""
        return self

    def start(self, assignment: Assignment) -> _Lookup:
        return _Lookup(self, assignment.text_token_ids)

    def voice(self, assignment: Assignment) -> LookupVoice:
        return LookupVoice(self, assignment)

    @property
    def vocabulary(self) -> None:
        """It speaks the target's own ids."""


class _Lookup:
    """One answer: the continuations themselves are the draft."""

    def __init__(self, settings: LookupDrafter, prompt: Sequence[int]) -> None:
        self._settings, self._index = settings, _Index(settings, prompt)

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        index, depth = self._index, min(self._settings.depth, budget)
        index.catch_up(answer)
        branches = [index.tokens[place : place + depth] for place in index.find()]
        return Draft(TokenTree.merge(branches, min(budget, depth * self._settings.width)))

    def observe(self, verdict: Verdict, scores: Scores) -> None:
        """Accepted tokens come with the next `propose`."""


class LookupVoice:
    """One answer, token by token, for an ensemble: each continuation is believed in twice as much as the next.

    Where nothing matches it has no say: every logit is -inf."""

    def __init__(self, settings: LookupDrafter, assignment: Assignment) -> None:
        self.ids = DraftIds(None, assignment.vocab_size, assignment)
        self._index = _Index(settings, assignment.text_token_ids)
        self._size, self._device = assignment.vocab_size, assignment.inputs.token_ids.device
        self._paths: list[tuple[int, ...]] = []

    def read(self, answer: Sequence[int]) -> torch.Tensor:
        self._index.catch_up(answer)
        self._paths.clear()
        return self._logits([()])[:, 0]

    def score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        for token, parent in zip(tokens, parents, strict=True):
            self._paths.append((token,) if parent == ROOT else (*self._paths[parent], token))
        return self._logits(self._paths[-len(tokens) :])

    def observe(self, scored: Sequence[int | None], verdict: Verdict, scores: Scores) -> None:
        """Accepted tokens come with the next `read`."""

    def _logits(self, paths: Sequence[tuple[int, ...]]) -> torch.Tensor:
        logits = torch.full((1, len(paths), self._size), -torch.inf, device=self._device)
        for row, path in enumerate(paths):
            for rank, place in enumerate(self._index.find(path)):
                logits[0, row, self._index.tokens[place]] = -rank * math.log(2)
        return self.ids.allowed(logits)


class _Index:
    """Of prompt and answer: n-gram -> places right after it. Adding a token costs one entry per n-gram length."""

    def __init__(self, settings: LookupDrafter, prompt: Sequence[int]) -> None:
        self._settings = settings
        self.tokens: list[int] = []
        self._places: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._num_answer = 0
        self._add(prompt)

    def catch_up(self, answer: Sequence[int]) -> None:
        self._add(answer[self._num_answer :])
        self._num_answer = len(answer)

    def _add(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            # What precedes a place is complete only once the place itself is taken: the newest run never finds itself.
            place = len(self.tokens)
            for length in range(self._settings.min_match, min(self._settings.max_match, place) + 1):
                places = self._places[tuple(self.tokens[place - length :])]
                places.append(place)
                if len(places) > _KEPT_PLACES:
                    places.pop(0)
            self.tokens.append(token)

    def find(self, ahead: Sequence[int] = ()) -> list[int]:
        """Places preceded by the newest tokens and those `ahead`: longest match first, newest first, one per next
        token."""
        recent = (*self.tokens[-self._settings.max_match :], *ahead)[-self._settings.max_match :]
        found: dict[int, int] = {}
        for length in range(len(recent), self._settings.min_match - 1, -1):
            for place in reversed(self._places.get(recent[-length:], ())):
                found.setdefault(self.tokens[place], place)
                if len(found) == self._settings.width:
                    return list(found.values())
        return list(found.values())
