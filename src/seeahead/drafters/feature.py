"""Drafts from the target's own features: MSD (Lin et al. 2025), and EAGLE-2 (Li et al. 2024) as its coupled form.

The drafter's one layer keeps a cache of its own. What it drafts, it drafts from features it guessed itself; once the
target has spoken, those are dropped and the accepted tokens are read again with the target's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.ids import DraftIds
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafters.voice import VoiceDrafting
from seeahead.drafting import Assignment, Drafter
from seeahead.errors import DrafterError
from seeahead.executor import Executor, ModelInputs, Scores
from seeahead.models.feature import FeatureNetwork, Slots, shifted
from seeahead.models.packed import rounded_linear
from seeahead.session import Session
from seeahead.tree import ROOT, Verdict


@dataclass(frozen=True)
class FeatureDrafter:
    """`network` reads and ends in features; `target` and `head` are there once bound. `draws`: as for language."""

    network: FeatureNetwork
    vocabulary: DraftVocabulary
    limits: GrowthLimits = field(default_factory=GrowthLimits)
    draws: bool = False
    name: str = "msd"
    wants_features: bool = True
    wants_embeddings: bool = True
    target: Executor | None = None
    head: nn.Module | None = None

    def bound_to(self, target: Executor) -> Drafter:
        """With the target's embedding and head. Raises DrafterError for a target of another width or vocabulary."""
        if self.target is target:
            return self
        width, theirs = self.network.decoder.config.hidden_size, target.width
        highest = self.vocabulary.highest
        if theirs != width or highest >= target.vocab_size:
            raise DrafterError(
                f"the feature drafter is made for features of width {width} and tokens up to {highest}; the target has "
                f"width {theirs} and {target.vocab_size} tokens; take one trained for this target, or drafter='lookup'"
            )
        self.vocabulary.check_target(target.vocab_size)
        rows = target.head_rows(self.vocabulary.target_ids)
        return replace(self, target=target, head=rounded_linear(rows))

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What is read at every draft step."""
        return (self.network,) if self.head is None else (self.network, self.head)

    def start(self, assignment: Assignment) -> VoiceDrafting:
        return VoiceDrafting(self.voice(assignment), self.limits, self.draws, assignment.params)

    def voice(self, assignment: Assignment) -> FeatureVoice:
        return FeatureVoice(self, assignment)


class FeatureVoice:
    """One answer: the layer's own session over slots, of which slot j guesses what follows token j + 1."""

    def __init__(self, drafter: FeatureDrafter, assignment: Assignment) -> None:
        assert drafter.target is not None, "the loop binds a drafter to its target"
        assert drafter.head is not None
        self._head = drafter.head
        assert assignment.features is not None
        assert assignment.embeddings is not None
        self._drafter, self._target, self._network = drafter, drafter.target, drafter.network
        self.ids = DraftIds(drafter.vocabulary, len(drafter.vocabulary), assignment)
        tokens = assignment.inputs.token_ids[0]
        images = torch.tensor(sorted(assignment.image_token_ids), device=tokens.device)
        self._is_visual = torch.isin(tokens, images)
        self._prompt = assignment.embeddings
        self._features = assignment.features  # of positions whose successor is not read yet
        self._session = Session(self._network.decoder, len(tokens) + min(assignment.max_new_tokens, 4096))
        self._num_read = 0  # answer tokens
        self._guessed: list[torch.Tensor] = []  # the drafter's own features of pending slots
        self._root = self._features[:0]

    def observe(self, scored: Sequence[int | None], verdict: Verdict, scores: Scores) -> None:
        """Forget what was guessed; the target's features of root and path come with the next tokens."""
        assert scores.features is not None
        self._session.commit(())
        self._guessed.clear()
        rows = torch.tensor([0, *(node + 1 for node in verdict.path)], device=scores.features.device)
        self._features = torch.cat((self._features, scores.features[0, rows]))

    def read(self, answer: Sequence[int]) -> torch.Tensor | None:
        """Reads what is new, all with the target's features."""
        if not self._has_room(len(answer) - self._num_read):
            return None
        new = self._embed(answer[self._num_read :])
        if self._num_read == 0:
            embeddings, is_visual = shifted(self._prompt, new[0], self._is_visual)
            embeddings = torch.cat((embeddings, new[1:]))
            is_visual = torch.cat((is_visual, is_visual.new_zeros(len(new) - 1)))
            x = self._network.read(Slots(embeddings, self._features, is_visual))[None]
            ids = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
            scores = self._session.prefill(ModelInputs(ids, {"inputs_embeds": x}), wants_features=True)
        else:
            x = self._network.text(new, self._features)[None]
            count = x.shape[1]
            scores = self._session.score([0] * count, range(ROOT, count - 1), True, x)
            self._session.commit(range(count))
        self._num_read, self._features = len(answer), self._features[:0]
        assert scores.features is not None
        self._root = scores.features[0, -1:]
        return self.ids.allowed(self._head(self._root))

    def score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        """Each token is read with the feature guessed for its parent."""
        before = torch.cat([self._root if parent == ROOT else self._guessed[parent] for parent in parents])
        x = self._network.text(self._embed(self.ids.to_target(tokens)), before)[None]
        scores = self._session.score([0] * len(tokens), parents, True, x)
        assert scores.features is not None
        self._guessed += scores.features[0].split(1)
        return self.ids.allowed(self._head(scores.features))

    def _embed(self, tokens: Sequence[int]) -> torch.Tensor:
        return self._target.embed(torch.tensor(list(tokens), device=self._target.device))

    def _has_room(self, num_unread: int) -> bool:
        longest, limits = self._network.decoder.max_length, self._drafter.limits
        prompt = 0 if self._num_read else len(self._prompt)
        ahead = prompt + num_unread + limits.depth * limits.width
        return longest is None or self._session.length + ahead <= longest
