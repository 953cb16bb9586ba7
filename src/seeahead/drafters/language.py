"""A language model that drafts without seeing the image (Gagrani et al. 2024): the text-only view of the prompt.

Any causal language model with the target's vocabulary, or one with a trimmed vocabulary and a map. Greedy answers are
drafted as a tree of its likeliest tokens; sampled ones so too, or as a chain drawn from its distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from seeahead.drafters.growth import GrowthLimits, grow
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import Executor, ModelInputs
from seeahead.sampling import SamplingParams, draw, probabilities
from seeahead.session import Session
from seeahead.tree import ROOT, Draft, TokenTree, Verdict

_DRAFTER_STREAM = 1 << 63
"""Added to a position so that a drafter's random numbers are never the target's."""


@dataclass(frozen=True)
class LanguageDrafter:
    """`executor` runs the language model. `draws`: at temperature above 0, draw a chain instead of a top-k tree."""

    executor: Executor
    vocabulary: DraftVocabulary | None = None
    limits: GrowthLimits = field(default_factory=GrowthLimits)
    draws: bool = False
    name: str = "language"
    wants_features: bool = False
    wants_embeddings: bool = False

    def check(self, target: Executor) -> None:
        """Raises DrafterError when draft ids do not mean the same tokens as the target's."""
        if self.vocabulary is None:
            # Embedding tables are often padded to a round size; far more than that is another vocabulary.
            if abs(self.executor.vocab_size - target.vocab_size) > 512 or not _same_words(self.executor, target):
                raise DrafterError(
                    f"the drafter's {self.executor.vocab_size} tokens are not the target's {target.vocab_size}: from "
                    "another vocabulary nothing can be drafted; take one of the target's tokenizer, or drafter='lookup'"
                )
        elif int(self.vocabulary.target_ids.max()) >= target.vocab_size:
            raise DrafterError(
                f"the drafter's vocabulary map reaches token {int(self.vocabulary.target_ids.max())}, the target has "
                f"{target.vocab_size}; take a drafter trained for this target, or drafter='lookup'"
            )

    def start(self, assignment: Assignment) -> Language:
        return Language(self, assignment)


class Language:
    """One answer: the drafter's own session, which holds the prompt's text and every accepted token but the newest."""

    def __init__(self, drafter: LanguageDrafter, assignment: Assignment) -> None:
        self._drafter = drafter
        self._params = assignment.params
        self._capacity = min(assignment.max_new_tokens, 4096)
        self._vocab_size = assignment.vocab_size
        forbidden = self._forbidden_ids(assignment.image_token_ids)
        self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=drafter.executor.device)
        self._prompt = self._view(assignment)
        self._pending_of_node: tuple[int | None, ...] = ()
        self._num_fed = 0
        self._read_anew([])

    def propose(self, answer: Sequence[int], budget: int) -> Draft:
        if not self._has_room(len(answer) - self._num_fed):
            self._read_anew(answer[:-1])
        unread = self._to_draft(answer[self._num_fed :])
        logits = self._logits(unread, range(ROOT, len(unread) - 1))[-1]
        self._session.commit(range(len(unread)))
        self._num_fed = len(answer)
        if self._drafter.draws and not self._params.is_greedy:
            return self._draw_chain(logits, budget, len(answer))
        grown = grow(logits, self._logits, self._drafter.limits, budget)
        self._pending_of_node = grown.scored
        return Draft(TokenTree(tuple(self._to_target(grown.tree.tokens)), grown.tree.parents))

    def _has_room(self, num_unread: int) -> bool:
        longest = self._drafter.executor.max_length
        limits = self._drafter.limits
        return longest is None or self._session.length + num_unread + limits.depth * limits.width <= longest

    def _read_anew(self, answer: Sequence[int]) -> None:
        """Start a session over prompt and `answer`; of a text too long for the drafter's context, over its end."""
        text = [*self._prompt, *self._to_draft(answer)]
        longest, first = self._drafter.executor.max_length, 0
        if longest is not None and len(text) + self._capacity > longest:
            first = max(0, len(text) - longest // 2)
        text = text[first:]
        self._session = Session(self._drafter.executor, len(text) + self._capacity)
        self._num_fed = len(answer)
        # An empty view (a prompt of nothing but pictures) starts with the first answer token.
        if text:
            self._session.prefill(self._inputs(text, first))

    def _view(self, assignment: Assignment) -> list[int]:
        """The prompt as this drafter is shown it, in draft ids."""
        return self._to_draft(assignment.text_token_ids)

    def _inputs(self, text: Sequence[int], first: int) -> ModelInputs:
        """`text`, which is view and answer from token `first` on, for the executor."""
        return ModelInputs(torch.tensor([list(text)], device=self._drafter.executor.device))

    def observe(self, verdict: Verdict, features: torch.Tensor | None) -> None:
        """Keep what was read of the accepted path; the rest of it is read with the next `propose`."""
        read = [self._pending_of_node[node] for node in verdict.path]
        kept = [pending for pending in read if pending is not None]
        self._session.commit(kept)
        self._num_fed += len(kept)
        self._pending_of_node = ()

    def _draw_chain(self, logits: torch.Tensor, budget: int, position: int) -> Draft:
        """Leviathan et al. 2023: each token drawn from q, under the target's own sampling settings."""
        tokens: list[int] = []
        proposal: list[torch.Tensor] = []
        depth = min(self._drafter.limits.depth, budget)
        for level in range(depth):
            q = probabilities(logits, self._params)
            stream = _stream(self._params, position + level)
            tokens.append(draw(q, stream.random()))
            proposal.append(q)
            if level + 1 < depth:
                logits = self._logits(tokens[-1:], [level - 1])[0]
        self._pending_of_node = (*range(depth - 1), None)
        rows = torch.stack([self._spread(q) for q in proposal])
        return Draft(TokenTree.chain(self._to_target(tokens)), rows)

    def _logits(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        logits = self._session.score(tokens, parents).logits[0]
        if len(self._forbidden):
            logits.index_fill_(1, self._forbidden, -torch.inf)
        return logits

    def _forbidden_ids(self, image_token_ids: frozenset[int]) -> list[int]:
        """Draft ids that must not be proposed: image placeholders, and padding the target has no embedding for."""
        if self._drafter.vocabulary is not None:
            return self._drafter.vocabulary.known(image_token_ids)
        size = self._drafter.executor.vocab_size
        return [*(token for token in image_token_ids if token < size), *range(self._vocab_size, size)]

    def _spread(self, q: torch.Tensor) -> torch.Tensor:
        """`q` over draft ids as a distribution over the target's tokens."""
        if self._drafter.vocabulary is not None:
            return self._drafter.vocabulary.spread(q, self._vocab_size)
        return torch.nn.functional.pad(q, (0, self._vocab_size - len(q)))

    def _to_draft(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens) if self._drafter.vocabulary is None else self._drafter.vocabulary.to_draft(tokens)

    def _to_target(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens) if self._drafter.vocabulary is None else self._drafter.vocabulary.to_target(tokens)


def _same_words(drafter: Executor, target: Executor) -> bool:
    """Whether ids mean the same words, where both sides know their tokenizer (a target may have added some)."""
    known: list[dict[str, int]] = []
    for executor in (drafter, target):
        processor = getattr(executor, "processor", None)
        tokenizer = getattr(processor, "tokenizer", processor)
        if tokenizer is None:
            return True
        known.append(tokenizer.get_vocab())
    shared = known[0].keys() & known[1].keys()
    same = sum(known[0][word] == known[1][word] for word in shared)
    return same > 0.95 * len(known[0])


def _stream(params: SamplingParams, position: int) -> np.random.Generator:
    key = np.array([params.seed, position + _DRAFTER_STREAM], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
