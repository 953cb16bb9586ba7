"""Drafts what followed the same words before: longest match of the recent tokens over prompt, earlier turns and answer.

Prompt lookup (Saxena 2023) as an index that grows with the answer, with several continuations merged into one tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seeahead.drafting import Assignment
from seeahead.executor import Executor
from seeahead.tree import Draft, TokenTree, Verdict

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


class _Lookup:
    """The index of one answer: n-gram -> places right after it. Adding a token costs one entry per n-gram length."""

    def __init__(self, settings: LookupDrafter, prompt: Sequence[int]) -> None:
        self._settings = settings
        self._tokens: list[int] = []
        self._places: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._num_answer = 0
        self._add(prompt)

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        self._add(answer[self._num_answer :])
        self._num_answer = len(answer)
        depth = min(self._settings.depth, budget)
        branches = [self._tokens[place : place + depth] for place in self._find()]
        return Draft(TokenTree.merge(branches, min(budget, depth * self._settings.width)))

    def observe(self, verdict: Verdict, features: torch.Tensor | None) -> None:
        """Accepted tokens come with the next `propose`."""

    def _add(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            # What precedes a place is complete only once the place itself is taken: the newest run never finds itself.
            place = len(self._tokens)
            for length in range(self._settings.min_match, min(self._settings.max_match, place) + 1):
                places = self._places[tuple(self._tokens[place - length :])]
                places.append(place)
                if len(places) > _KEPT_PLACES:
                    places.pop(0)
            self._tokens.append(token)

    def _find(self) -> list[int]:
        """Places preceded by the newest tokens: longest match first, newest first, one per next token."""
        found: dict[int, int] = {}
        for length in range(min(self._settings.max_match, len(self._tokens)), self._settings.min_match - 1, -1):
            for place in reversed(self._places.get(tuple(self._tokens[-length:]), ())):
                found.setdefault(self._tokens[place], place)
                if len(found) == self._settings.width:
                    return list(found.values())
        return list(found.values())
