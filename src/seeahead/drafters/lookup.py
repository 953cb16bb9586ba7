"""Drafts what followed the same words before: longest match of the recent tokens over prompt, earlier turns and answer.

Prompt lookup (Saxena 2023) as an index that grows with the answer, with several continuations merged into one tree.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator

from seeahead.drafters.base import DraftIds, Member
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import DraftContext, Feedback, Plan
from seeahead.tree import ROOT, Draft, TokenTree

_KEPT_PLACES = 8
"""Newest places remembered per n-gram; more would only be older continuations of the same words."""


class LookupDrafter(DrafterSpec, Member):
    """Serves every target: it proposes the target's own ids."""

    kind = "lookup"
    name: str = Field(default="lookup", alias="as")
    max_match: Annotated[int, Field(ge=1, le=1000, description="longest run of tokens looked up")] = 8
    min_match: Annotated[int, Field(ge=1, le=1000, description="shortest run of tokens looked up")] = 2
    depth: Annotated[int, Field(ge=1, le=1000, description="tokens per continuation")] = 8
    width: Annotated[int, Field(ge=1, le=1000, description="continuations per draft")] = 2
    vocabulary: ClassVar[None] = None  # type: ignore[misc]  # a field would be a setting

    @model_validator(mode="after")
    def _is_a_range(self) -> LookupDrafter:
        if self.min_match > self.max_match:
            raise ValueError(f"min_match ({self.min_match}) up to max_match ({self.max_match})")
        return self

    def start(self, context: DraftContext) -> LookupModel:
        return LookupModel(self, context)

    def model(self, context: DraftContext, depth: int = 0) -> LookupModel:
        return LookupModel(self, context)


class LookupModel:
    """One answer: the continuations themselves are the draft. For an ensemble, token by token, each continuation is
    twice as likely as the next; where nothing matches every logit is -inf: it takes no part then."""

    reads_trees = True
    were_right: Sequence[bool] = ()

    def __init__(self, drafter: LookupDrafter, context: DraftContext) -> None:
        self.ids = DraftIds(None, context.vocab_size, context)
        self._drafter, self._index = drafter, _Index(drafter, [*context.text_token_ids, context.first_token])
        self._size, self._device = context.vocab_size, context.inputs.token_ids.device
        self._paths: list[tuple[int, ...]] = []

    def propose(self, budget: int) -> Draft:
        index, depth = self._index, min(self._drafter.depth, budget)
        branches = [index.tokens[place : place + depth] for place in index.find()]
        tree = TokenTree.of_branches(branches, min(budget, depth * self._drafter.width))
        return Draft(tree, sources=(self._drafter.name,) * len(tree))

    def read(self) -> Plan[torch.Tensor | None]:
        yield from ()  # a plan that asks for no pass
        self._paths.clear()
        return self._logits([()])[:, 0]

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        yield from ()
        for token, parent in zip(tokens, parents, strict=True):
            self._paths.append((token,) if parent == ROOT else (*self._paths[parent], token))
        return self._logits(self._paths[-len(tokens) :])

    def accept(self, feedback: Feedback) -> None:
        self._index.add(feedback.tokens)

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
        self.add(prompt)

    def add(self, tokens: Sequence[int]) -> None:
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
