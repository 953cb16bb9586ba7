"""What drafters that are models share: their ids beside the target's, and chains drawn from their distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment
from seeahead.executor import Executor
from seeahead.sampling import SamplingParams, draw, probabilities
from seeahead.tree import Draft, TokenTree

_DRAFTER_STREAM = 1 << 63
"""Added to a position so that a drafter's random numbers are never the target's."""


def tokenizer_of(executor: Executor | None) -> Any:
    """The executor's tokenizer; None where it knows none."""
    processor = getattr(executor, "processor", None)
    return getattr(processor, "tokenizer", processor)


class DraftIds:
    """Maps between draft ids (of `vocabulary`, or the target's own where None) and the target's."""

    def __init__(
        self, vocabulary: DraftVocabulary | None, num_draft_ids: int, assignment: Assignment, unknown: int = 0
    ) -> None:
        """`unknown`: where there is no vocabulary, the draft id read for target tokens of `num_draft_ids` and above:
        those that a target added to its own vocabulary, and the drafter has no embedding for."""
        self._vocabulary, self._vocab_size = vocabulary, assignment.vocab_size
        self._num_draft_ids, self._unknown = num_draft_ids, unknown
        images = assignment.image_token_ids
        # Image placeholders, and padding the target has no embedding for, must not be proposed.
        forbidden = (
            vocabulary.known(images)
            if vocabulary is not None
            else [*(token for token in images if token < num_draft_ids), *range(self._vocab_size, num_draft_ids)]
        )
        self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=assignment.inputs.token_ids.device)

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
            return self._vocabulary.to_draft(tokens)
        return [token if token < self._num_draft_ids else self._unknown for token in tokens]

    def to_target(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens) if self._vocabulary is None else self._vocabulary.to_target(tokens)


def draw_chain(
    logits: torch.Tensor,
    score: Callable[[Sequence[int], Sequence[int]], torch.Tensor],
    ids: DraftIds,
    params: SamplingParams,
    depth: int,
    position: int,
) -> Draft:
    """Leviathan et al. 2023: each of `depth` tokens drawn from q, under the target's own sampling settings.

    `logits` [draft ids] follow the root, `score` gives those after further tokens; `position` is the first token's."""
    tokens: list[int] = []
    proposal: list[torch.Tensor] = []
    for level in range(depth):
        q = probabilities(logits, params)
        tokens.append(draw(q, _stream(params, position + level).random()))
        proposal.append(q)
        if level + 1 < depth:
            logits = score(tokens[-1:], [level - 1])[0]
    return Draft(TokenTree.chain(ids.to_target(tokens)), torch.stack([ids.spread(q) for q in proposal]))


def _stream(params: SamplingParams, position: int) -> np.random.Generator:
    key = np.array([params.seed, position + _DRAFTER_STREAM], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
