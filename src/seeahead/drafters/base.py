"""Drafting with models: a draft model says what may follow a token, and a tree or a chain is drafted from that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from seeahead.drafters.tree_growth import TreeLimits, grow
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import DraftContext, Feedback, Plan, PlannedDrafting
from seeahead.executor import NOTHING, Want
from seeahead.sampling import Sampler, draw, probabilities
from seeahead.tree import Draft, TokenTree

_DRAFTER_STREAM = 1 << 63
"""Added to a position so that a drafter's random numbers are never the target's."""


class DraftIds:
    """Maps between draft ids (of `vocabulary`, or the target's own where None) and the target's."""

    def __init__(
        self,
        vocabulary: DraftVocabulary | None,
        num_draft_ids: int,
        context: DraftContext,
        unknown: int = 0,
        own_images: frozenset[int] = frozenset(),
        *,
        reads_all: bool = False,
    ) -> None:
        """`unknown`: where there is no vocabulary, the draft id read for target tokens of `num_draft_ids` and above:
        those that a target added to its own vocabulary, and the drafter has no embedding for. `own_images`: draft ids
        that stand for images to the drafter's own model. `reads_all`: whether the drafter reads tokens that it cannot
        draft; they have ids below 0."""
        self._vocabulary, self._vocab_size, self._reads_all = vocabulary, context.vocab_size, reads_all
        self._num_draft_ids, self._unknown = num_draft_ids, unknown
        images = context.image_token_ids | (own_images if vocabulary is None else frozenset())
        # Image placeholders, and padding the target has no embedding for, must not be proposed.
        forbidden = [token for token in images if token < num_draft_ids] + [*range(self._vocab_size, num_draft_ids)]
        if vocabulary is not None:
            forbidden = vocabulary.known(images)
        self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=context.inputs.token_ids.device)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` [..., draft ids], changed in place: what must not be drafted cannot be."""
        if len(self._forbidden):
            logits.index_fill_(-1, self._forbidden, -torch.inf)
        return logits

    def spread(self, q: torch.Tensor) -> torch.Tensor:
        """`q` over draft ids as a distribution over the target's tokens."""
        if self._vocabulary is not None:
            return self._vocabulary.spread(q, self._vocab_size)
        return torch.nn.functional.pad(q, (0, self._vocab_size - len(q)))

    def to_draft(self, tokens: Sequence[int]) -> list[int]:
        """One draft id for each token, so that what is read stays as long as the answer."""
        if self._vocabulary is not None:
            found = self._vocabulary.to_draft(tokens)
            if not self._reads_all:
                return found
            own = self._vocabulary.to_target(found)
            return [draft if token == read else ~token for token, read, draft in zip(tokens, own, found, strict=True)]
        return [token if token < self._num_draft_ids else self._unknown for token in tokens]

    def known(self, tokens: Iterable[int]) -> frozenset[int]:
        """Draft ids of those of the target's `tokens` that have one."""
        pairs = [(token, self.to_draft([token])[0]) for token in tokens]
        return frozenset(draft for token, draft in pairs if draft >= 0 and self.to_target([draft]) == [token])

    def to_target(self, tokens: Sequence[int]) -> list[int]:
        if self._vocabulary is None:
            return list(tokens)
        found = iter(self._vocabulary.to_target([token for token in tokens if token >= 0]))
        return [~token if token < 0 else next(found) for token in tokens]


class DraftModel(Protocol):
    """A model at work on one answer. It may have several rows, one per view of the prompt; all read the same answer."""

    ids: DraftIds
    reads_trees: bool
    """Whether tokens and their parents can be expanded in one call."""
    were_right: Sequence[bool]
    """Of the answer's tokens that `read` read, but the first: whether each was the likeliest after those before. Empty
    where that is not what it would have drafted, such as with features of its own guessing."""

    def read(self) -> Plan[torch.Tensor | None]:
        """Logits [rows, draft ids] of what follows the answer so far; None where there is no room to draft."""
        ...

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        """Logits [rows, tokens, draft ids] after drafted `tokens` (draft ids).

        `parents` count the tokens expanded since `read`, or are ROOT; of earlier calls, unless it `reads_trees`."""
        ...

    def accept(self, feedback: Feedback) -> None:
        """As a drafting's, at the latest before it reads again; of a step in which it read nothing without logits."""
        ...


def were_right(logits: torch.Tensor, read: Sequence[int]) -> list[bool]:
    """As a draft model's, from `logits` [tokens, draft ids] after each of the tokens `read` (draft ids)."""
    if len(read) < 2:
        return []
    likeliest = logits[: len(read) - 1].argmax(-1).tolist()
    return [token == expected for token, expected in zip(read[1:], likeliest, strict=True)]


class Member:
    """A drafter that is a draft model, and so can be a member of an ensemble."""

    vocabulary: DraftVocabulary | None
    """None: the target's own ids."""

    @property
    def want(self) -> Want:
        """As a drafter's."""
        return NOTHING

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step."""
        return ()

    @property
    def num_rows(self) -> int:
        """Most rows that its draft models have."""
        return 1

    def model(self, context: DraftContext, depth: int = 0) -> DraftModel:
        """For one answer. It leaves room in its context for trees of `depth` levels, or its own where these are
        deeper."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ModelDrafter(Member):
    """Drafts within `limits` from its own draft model. `draws`: at temperature above 0, draw a chain instead of growing
    a top-k tree."""

    limits: TreeLimits = field(default_factory=TreeLimits)
    draws: bool = False
    name: str = ""

    def start(self, context: DraftContext) -> ModelDrafting:
        return ModelDrafting(self.model(context), self.limits, context, self.name, draws=self.draws)


class ModelDrafting(PlannedDrafting):
    """One answer, drafted from a draft model of one row."""

    def __init__(
        self, model: DraftModel, limits: TreeLimits, context: DraftContext, source: str, *, draws: bool = False
    ) -> None:
        self.model, self._limits, self._params, self._source = model, limits, context.params, source
        self._draws = draws and not context.params.is_greedy
        self._stream = Sampler(context.params, ()).stream
        self._ends = model.ids.known(context.end_tokens)
        self._position = 1

    def plan(self, budget: int) -> Plan[Draft]:
        logits = yield from self.model.read()
        if logits is None:
            return Draft()
        if self._draws:
            draft = yield from self._draw(logits[0], min(self._limits.depth, budget))
        else:
            draft = yield from grow(logits[0], self._expand, self._limits, budget, self._ends)
        tree = TokenTree(tuple(self.model.ids.to_target(draft.tree.tokens)), draft.tree.parents)
        return Draft(tree, draft.proposals, draft.scores, (self._source,) * len(tree))

    def accept(self, feedback: Feedback) -> None:
        self._position += len(feedback.tokens)
        self.model.accept(feedback)

    def _expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        logits = yield from self.model.expand(tokens, parents)
        return logits[0]

    def _draw(self, logits: torch.Tensor, depth: int) -> Plan[Draft]:
        """Leviathan et al. 2023: each of `depth` tokens drawn from q, under the target's own sampling settings.

        `logits` [draft ids] follow the root."""
        tokens: list[int] = []
        proposals: list[torch.Tensor] = []
        scores: list[float] = []
        for level in range(depth):
            q = probabilities(logits, self._params)
            if not bool(q.isfinite().all()):  # of a drafter that has come to no numbers
                break
            tokens.append(draw(q, self._stream(self._position + level + _DRAFTER_STREAM).random()))
            proposals.append(self.model.ids.spread(q))
            scores.append(float(q[tokens[-1]]) * (scores[-1] if scores else 1.0))
            if tokens[-1] in self._ends:
                break
            if level + 1 < depth:
                logits = (yield from self._expand(tokens[-1:], [level - 1]))[0]
        return Draft(TokenTree.chain(tokens), proposals, scores)
