"""A language model that drafts without seeing the image (Gagrani et al. 2024): the text-only view of the prompt.

Any causal language model with the target's vocabulary, or one with a trimmed vocabulary and a map. Greedy answers are
drafted as a tree of its likeliest tokens; sampled ones so too, or as a chain drawn from its distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.ids import DraftIds, tokenizer_of
from seeahead.drafters.views import View
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafters.voice import VoiceDrafting
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import PADDING, Executor, ModelInputs, Scores
from seeahead.models.decoder import Decoder
from seeahead.session import Session
from seeahead.tree import ROOT, Verdict


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

    def bound_to(self, target: Executor) -> LanguageDrafter:
        """Raises DrafterError when draft ids do not mean the same tokens as the target's."""
        if self.vocabulary is None:
            # Embedding tables are often padded to a round size; far more than that is another vocabulary.
            if abs(self.executor.vocab_size - target.vocab_size) > 512 or not _same_words(self.executor, target):
                raise DrafterError(
                    f"the drafter's {self.executor.vocab_size} tokens are not the target's {target.vocab_size}: from "
                    "another vocabulary nothing can be drafted; take one of the target's tokenizer, or drafter='lookup'"
                )
        else:
            self.vocabulary.check_target(target.vocab_size)
        return self

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step."""
        module = getattr(self.executor, "model", self.executor)
        return (module,) if isinstance(module, torch.nn.Module) else ()

    def start(self, assignment: Assignment) -> VoiceDrafting:
        return VoiceDrafting(self.voice(assignment), self.limits, self.draws, assignment.params)

    def voice(self, assignment: Assignment) -> LanguageVoice:
        ids = self.ids(assignment)
        return self.voice_of(assignment, ids, [View(ids.to_draft(assignment.text_token_ids))])

    def ids(self, assignment: Assignment) -> DraftIds:
        # Tokens that a target adds to its own vocabulary are ends of turns more often than anything else.
        size = self.executor.vocab_size
        unknown = next((token for token in getattr(self.executor, "end_token_ids", ()) if token < size), 0)
        return DraftIds(self.vocabulary, size, assignment, unknown)

    def voice_of(self, assignment: Assignment, ids: DraftIds, views: Sequence[View]) -> LanguageVoice:
        """A row per view of the prompt, all in one batch; several need the compact decoder."""
        capacity = min(assignment.max_new_tokens, 4096)
        return LanguageVoice(self.executor, ids, views, capacity, self.limits.depth)


class LanguageVoice:
    """One session: a row per view, which holds that view and every accepted token but the newest."""

    def __init__(self, executor: Executor, ids: DraftIds, views: Sequence[View], capacity: int, depth: int) -> None:
        """`capacity`: expected tokens of the answer; `depth`: levels of a tree, each one position further."""
        self.ids = ids
        self._executor, self._views, self._capacity, self._depth = executor, views, capacity, depth
        self._num_fed = 0
        self._read_anew([])

    def read(self, answer: Sequence[int]) -> torch.Tensor | None:
        if not self._has_room(len(answer) - self._num_fed):
            self._read_anew(answer[:-1])
            if not self._has_room(1):
                return None  # so deep a tree has no place in the model's context
        unread = self.ids.to_draft(answer[self._num_fed :])
        logits = self.score(unread, range(ROOT, len(unread) - 1))[:, -1]
        self._session.commit(range(len(unread)))
        self._num_fed = len(answer)
        return logits

    def score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        return self.ids.allowed(self._session.score(tokens, parents).logits)

    def observe(self, scored: Sequence[int | None], verdict: Verdict, scores: Scores) -> None:
        """Keep what was read of the accepted path; the rest of it is read next time."""
        kept = [number for number in scored if number is not None]
        self._session.commit(kept)
        self._num_fed += len(kept)

    def _has_room(self, num_unread: int) -> bool:
        longest = self._executor.max_length
        return longest is None or self._session.length + num_unread + self._depth <= longest

    def _read_anew(self, answer: Sequence[int]) -> None:
        """Start a session over prompt and `answer`; of a text too long for the model's context, over its end."""
        longest, said = self._executor.max_length, self.ids.to_draft(answer)
        views = [view.extended(said) for view in self._views]
        if longest is not None and max(len(view.ids) for view in views) + self._capacity > longest:
            views = [view.extended((), longest // 2) for view in views]
        length = max(len(view.ids) for view in views)
        self._session = Session(self._executor, length + self._capacity)
        self._num_fed = len(answer)
        # An empty view (a prompt of nothing but pictures) starts with the first answer token.
        if length:
            self._session.prefill(self._inputs(views, length))

    def _inputs(self, views: Sequence[View], length: int) -> ModelInputs:
        """`views` as one batch, padded on the left."""
        device, paddings = self._executor.device, [length - len(view.ids) for view in views]
        rows = [[0] * padding + list(view.ids) for padding, view in zip(paddings, views, strict=True)]
        inputs = ModelInputs(torch.tensor(rows, device=device))
        if any(paddings):
            inputs.extras[PADDING] = torch.tensor(paddings, device=device)
        if any(view.visual for view in views):
            assert isinstance(self._executor, Decoder), "other executors take no embeddings"
            with torch.inference_mode():
                embeddings = self._executor.embed(inputs.token_ids)
                for row, (padding, view) in enumerate(zip(paddings, views, strict=True)):
                    if view.visual:
                        slots = [padding + slot for slot in view.visual]
                        embeddings[row, slots] = torch.stack(list(view.visual.values()))
            inputs.extras["inputs_embeds"] = embeddings
        return inputs


def _same_words(drafter: Executor, target: Executor) -> bool:
    """Whether ids mean the same words, where both sides know their tokenizer (a target may have added some)."""
    known: list[dict[str, int]] = []
    for executor in (drafter, target):
        tokenizer = tokenizer_of(executor)
        if tokenizer is None:
            return True
        known.append(tokenizer.get_vocab())
    shared = known[0].keys() & known[1].keys()
    same = sum(known[0][word] == known[1][word] for word in shared)
    return same > 0.95 * len(known[0])
