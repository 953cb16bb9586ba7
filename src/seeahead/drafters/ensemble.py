"""Several members draft as one, from the mixture of what they expect (TABED, Lee et al. 2026).

All go on from the same token, whoever expected it. Once the target has spoken, a rule looks at who would have been
right and sets the weights of the next block. Drawn drafts are drawn from the mixture and verified against it, so any
weights are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.ids import DraftIds
from seeahead.drafters.views_drafter import ViewsDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafters.voice import Voice, VoiceDrafter, VoiceDrafting
from seeahead.drafters.weights import RULES, Heard, Weighing
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError, shown
from seeahead.executor import Executor, Scores
from seeahead.sampling import beliefs, mixture
from seeahead.tree import Verdict


@dataclass(frozen=True)
class EnsembleDrafter:
    """`members` may have several rows each (views of a prompt). `rule`: see `drafters/weights.py`; `window`: verified
    positions that it looks back on, 0 for the whole answer. `weights`: at first, one per row; none means equal."""

    members: tuple[VoiceDrafter, ...]
    rule: str = "grid"
    window: int = 0
    weights: tuple[float, ...] = ()
    limits: GrowthLimits = field(default_factory=GrowthLimits)
    draws: bool = False
    name: str = "tabed"

    def __post_init__(self) -> None:
        """Raises DrafterError for an unknown rule, and for weights that are none."""
        if self.rule not in RULES:
            raise DrafterError(f"unknown rule {shown(self.rule)} for weights; allowed are {', '.join(RULES)}")
        num_rows = sum(getattr(member, "num_rows", 1) for member in self.members)
        if num_rows < 1:
            raise DrafterError("an ensemble needs members; give views (views=MT) or other drafters (members=lookup)")
        if self.weights and len(self.weights) != num_rows:
            raise DrafterError(f"{len(self.weights)} weights were given for {num_rows} members; give one for each")
        if self.weights and (min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6):
            told = "+".join(f"{weight:g}" for weight in self.weights)
            raise DrafterError(f"weights {told} do not sum to one; give shares from 0 to 1 that do")

    @property
    def wants_features(self) -> bool:
        return any(member.wants_features for member in self.members)

    @property
    def wants_embeddings(self) -> bool:
        return any(member.wants_embeddings for member in self.members)

    @cached_property
    def vocabulary(self) -> DraftVocabulary | None:
        """All tokens that a member with a trimmed vocabulary has; None where every member speaks the target's ids."""
        return _joint([member.vocabulary for member in self.members if member.vocabulary is not None])

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step."""
        return tuple(network for member in self.members for network in getattr(member, "networks", ()))

    def bound_to(self, target: Executor) -> EnsembleDrafter:
        """Raises DrafterError for a member that cannot serve `target`."""
        bound = tuple(_with_room(member.bound_to(target), self.limits.depth) for member in self.members)
        if all(new is old for new, old in zip(bound, self.members, strict=True)):
            return self
        return replace(self, members=bound)

    def voice(self, assignment: Assignment) -> EnsembleVoice:
        return EnsembleVoice(self, assignment)

    def start(self, assignment: Assignment) -> VoiceDrafting:
        return VoiceDrafting(self.voice(assignment), self.limits, self.draws, assignment.params)


class EnsembleVoice:
    """One answer: the members' voices as one row, over the draft ids of all."""

    def __init__(self, drafter: EnsembleDrafter, assignment: Assignment) -> None:
        device = assignment.inputs.token_ids.device
        joint = drafter.vocabulary
        self._vocab_size = assignment.vocab_size
        self._num_ids = self._vocab_size if joint is None else len(joint)
        self.ids = DraftIds(joint, self._num_ids, assignment)
        self._chosen = None if joint is None else joint.target_ids.to(device)
        self._table = None if joint is None else joint.table(assignment.vocab_size).to(device)
        self._voices: list[Voice] = [member.voice(assignment) for member in drafter.members]
        # Where each member's ids are among ours; None: they are ours, or the target's.
        self._places = [_places(member.vocabulary, joint, self._table) for member in drafter.members]
        self._speaks_targets = [member.vocabulary is None for member in drafter.members]
        self._drafter = drafter
        self._weights = torch.zeros(0)
        self._heard: list[torch.Tensor] = []
        self.weighing: Weighing | None = None

    def read(self, answer: Sequence[int]) -> torch.Tensor | None:
        self._heard.clear()
        said = [voice.read(answer) for voice in self._voices]
        rows = [logits[:, None] for logits in said if logits is not None]
        if len(rows) < len(said):
            return None
        q = self._expected(rows)
        if self.weighing is None:
            self.weighing = Weighing(self._drafter.rule, self._first([len(row) for row in rows]), self._drafter.window)
        self._weights = torch.from_numpy(self.weighing.weights(q[:, 0].cpu().numpy())).to(q)
        return self.ids.allowed(mixture(q, self._weights))

    def score(self, tokens: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        of_target = self.ids.to_target(tokens)
        q = self._expected([voice.score(voice.ids.to_draft(of_target), parents) for voice in self._voices])
        return self.ids.allowed(mixture(q, self._weights))[None]

    def observe(self, scored: Sequence[int | None], verdict: Verdict, scores: Scores) -> None:
        if self._heard and self.weighing is not None:
            self.weighing.hear(self._verified(scored, verdict, scores.logits[0]))
        for voice in self._voices:
            voice.observe(scored, verdict, scores)

    def _verified(self, scored: Sequence[int | None], verdict: Verdict, logits: torch.Tensor) -> Heard:
        """After the root and after every accepted token that was read: the last of these is where the target said
        something else, unless all was accepted; after a last token nobody read, no one expected anything."""
        places, rows = [0], [0]
        for number, node in zip(scored, verdict.path, strict=True):
            if number is None:
                break
            places.append(1 + number)
            rows.append(1 + node)
        # Rows of a chain lie side by side: nothing is copied.
        logits = logits[: len(rows)] if rows == list(range(len(rows))) else logits[rows]
        ours = logits[:, : self._num_ids] if self._chosen is None else _columns(logits, self._chosen)
        is_ours = ours.amax(-1) == logits.amax(-1)
        q, p = np.stack([self._heard[place].cpu().numpy() for place in places]), beliefs(ours).cpu().numpy()
        return Heard(q, p, np.where(is_ours.cpu().numpy(), p.argmax(-1), -1))

    def _expected(self, said: Sequence[torch.Tensor]) -> torch.Tensor:
        """What every row expects [members, tokens, our ids]."""
        members = zip(said, self._places, self._speaks_targets, strict=True)
        q = torch.cat([self._ours(beliefs(logits), places, is_target) for logits, places, is_target in members])
        self._heard += q.unbind(1)
        return q

    def _ours(self, q: torch.Tensor, places: torch.Tensor | None, is_target: bool) -> torch.Tensor:
        """`q` over a member's ids as one over ours; `is_target`: its ids are the target's, without some at the end."""
        if places is not None:
            return q.new_zeros(*q.shape[:-1], self._num_ids).index_copy_(-1, places, q)
        if not is_target:
            return q
        whole = torch.nn.functional.pad(q, (0, self._vocab_size - q.shape[-1]))
        return whole if self._chosen is None else whole[..., self._chosen]

    def _first(self, num_rows: Sequence[int]) -> list[float]:
        """Weights per row; a member whose views are all alike has one row, which takes the place of all."""
        wanted = [getattr(member, "num_rows", 1) for member in self._drafter.members]
        given = self._drafter.weights or [1 / sum(wanted)] * sum(wanted)
        first: list[float] = []
        for number, most in zip(num_rows, wanted, strict=True):
            own, given = given[:most], given[most:]
            first += own if number == most else [sum(own)]
        return first


def _with_room(member: Any, depth: int) -> Any:
    """`member`, so that it leaves room in its context for trees of `depth` levels: the ensemble's, not its own."""
    if isinstance(member, ViewsDrafter):
        vision = _with_room(member.vision, depth)
        return member if vision is member.vision else replace(member, vision=vision)
    limits = getattr(member, "limits", None)
    return member if limits is None or limits.depth >= depth else replace(member, limits=replace(limits, depth=depth))


def _columns(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """`logits` [rows, vocabulary] at the ids `chosen`. numpy gathers in a third of torch's time, but in bits alone."""
    if logits.device.type != "cpu":
        return logits.index_select(1, chosen)
    bits = logits.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[logits.element_size()])
    return torch.from_numpy(np.take(bits.numpy(), chosen.numpy(), axis=1)).view(logits.dtype)


def _joint(known: Sequence[DraftVocabulary]) -> DraftVocabulary | None:
    """All tokens that one of the trimmed vocabularies has; None where there are none."""
    if not known:
        return None
    if all(torch.equal(vocabulary.target_ids, known[0].target_ids) for vocabulary in known):
        return known[0]
    ids = torch.unique(torch.cat([vocabulary.target_ids for vocabulary in known]))
    unknown = int(known[0].target_ids[known[0].unknown])
    return DraftVocabulary(ids, int(torch.searchsorted(ids, unknown)))


def _places(
    own: DraftVocabulary | None, joint: DraftVocabulary | None, table: torch.Tensor | None
) -> torch.Tensor | None:
    """Of a trimmed vocabulary other than the joint one, where its tokens are there."""
    if own is None or own is joint or table is None or joint is None or torch.equal(own.target_ids, joint.target_ids):
        return None
    return table[own.target_ids.to(table.device)]
