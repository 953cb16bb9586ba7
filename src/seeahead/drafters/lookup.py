"""Drafts what followed the same words before: longest match of the recent tokens over prompt, earlier turns and answer.

Prompt lookup (Saxena 2023) as an index that grows with the answer, with several continuations merged into one tree.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field, model_validator

from seeahead.drafters.base import DraftIds, Member
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import DraftContext, Feedback, Plan
from seeahead.tree import ROOT, Draft, TokenTree

_KEPT_PLACES = 8
"""Newest places remembered per n-gram; more would only be older continuations of the same words."""
_MOST_LIKELY = 0.98


class LookupDrafter(DrafterSpec, Member):
    """Serves every target: it proposes the target's own ids."""

    kind = "lookup"
    name: str = Field(default="lookup", alias="as", description="what reports call it")
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
    """One answer: the continuations themselves are the draft. For an ensemble, token by token; where nothing
    matches every logit is -inf: it takes no part then."""

    reads_trees = True
    were_right: Sequence[bool] = ()

    def __init__(self, drafter: LookupDrafter, context: DraftContext) -> None:
        self.ids = DraftIds(None, context.vocab_size, context)
        self._drafter, self._index = drafter, _Index(drafter, [*context.text_token_ids, context.first_token])
        self._size, self._device = context.vocab_size, context.inputs.token_ids.device
        self._paths: list[tuple[int, ...]] = []

    def propose(self, budget: int) -> Draft:
        index, depth = self._index, min(self._drafter.depth, budget)
        found = index.find()
        branches = [index.tokens[one.place : one.place + depth] for one in found]
        tree = TokenTree.of_branches(branches, min(budget, depth * self._drafter.width))
        scores, begun = list[float](), iter(found)
        for parent in tree.parents:
            if parent == ROOT:  # branch by branch: their first tokens differ
                one = next(begun)
                scores.append(one.probability)
            else:
                matched = min(one.length + tree.depths[parent], self._drafter.max_match)
                scores.append(scores[parent] * _likely(matched))
        return Draft(tree, scores=scores, sources=(self._drafter.name,) * len(tree))

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
            for one in self._index.find(path):
                logits[0, row, self._index.tokens[one.place]] = math.log(one.probability)
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

    def find(self, ahead: Sequence[int] = ()) -> list[_Found]:
        """What is preceded by the newest tokens and those `ahead`: longest match first, newest first, one per next
        token."""
        recent = (*self.tokens[-self._settings.max_match :], *ahead)[-self._settings.max_match :]
        known, found, left = set[int](), list[_Found](), 1.0
        for length in range(len(recent), self._settings.min_match - 1, -1):
            places = {self.tokens[place]: place for place in self._places.get(recent[-length:], ())}  # the newest stays
            new = sorted((place for token, place in places.items() if token not in known), reverse=True)
            for place in new:
                found.append(_Found(place, length, left * _likely(length) / len(new)))
                if len(found) == self._settings.width:
                    return found
            known |= places.keys()
            left *= 1.0 - _likely(length) if new else 1.0
        return found


class _Found(NamedTuple):
    """A place in the text that is preceded as the newest tokens are, `length` tokens far; and how likely it is that
    the text goes on as it does there."""

    place: int
    length: int
    probability: float


def _likely(length: int) -> float:
    """That what followed the same words follows again: measured on questions about images and on text, half for two
    tokens and nearly all for eight."""
    return min(float(1.0 - 2.0 ** (-length / 2)), _MOST_LIKELY)
