"""Several draft models as one: a mixture whose weights follow what proved right (TABED, Lee et al. 2026, section 3).

All members go on from the same token, whoever expected it. After a verified draft, a rule (`weights.py`) compares what
each member expected with what the target said, and sets the weights of the next draft. Drawn drafts are drawn from the
mixture and verified against it, so any weights are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import numpy as np
import torch

from seeahead.drafters.base import DraftIds, Member, ModelDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafters.weights import RULES, Array, Tokens, Weights
from seeahead.drafting import DraftContext, Feedback, Plan
from seeahead.errors import DrafterError, counted, shown
from seeahead.executor import Want
from seeahead.sampling import mixture, probabilities_of
from seeahead.tree import PendingNodes


@dataclass(frozen=True)
class EnsembleDrafter(ModelDrafter):
    """`members` may have several rows each (views of a prompt). `rule`: see `weights.py`; `window`: verified
    positions that it looks back on, 0 for the whole answer. `weights`: at first, one per row; none means equal."""

    members: tuple[Member, ...]
    rule: str = "grid"
    window: int = 0
    weights: tuple[float, ...] = ()
    vocabulary: DraftVocabulary | None = field(init=False)
    name: str = field(default="tabed", kw_only=True)

    def __post_init__(self) -> None:
        """Raises DrafterError for an unknown rule, and for weights that do not fit the members."""
        if self.rule not in RULES:
            raise DrafterError(f"unknown rule {shown(self.rule)} for weights; allowed are {', '.join(RULES)}")
        num_rows = sum(member.num_rows for member in self.members)
        if num_rows < 1:
            raise DrafterError("an ensemble needs members; give views (views=MT) or other drafters (members=lookup)")
        if self.weights and len(self.weights) != num_rows:
            raise DrafterError(f"{counted(len(self.weights), 'weight')} for {num_rows} members; give one for each")
        if self.weights and (min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6):
            told = "+".join(f"{weight:g}" for weight in self.weights)
            raise DrafterError(f"weights {told} do not sum to one; give shares from 0 to 1 that do")
        object.__setattr__(self, "vocabulary", _joint([member.vocabulary for member in self.members]))

    @property
    def want(self) -> Want:
        return reduce(or_, (member.want for member in self.members))

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        return tuple(module for member in self.members for module in member.modules)

    def model(self, context: DraftContext, depth: int = 0) -> EnsembleModel:
        return EnsembleModel(self, context, max(self.limits.depth, depth))


class EnsembleModel:
    """One answer: the members' draft models as one row, over the draft ids of all."""

    def __init__(self, drafter: EnsembleDrafter, context: DraftContext, depth: int) -> None:
        device, joint = context.inputs.token_ids.device, drafter.vocabulary
        size = context.vocab_size if joint is None else len(joint)
        self.ids = DraftIds(joint, size, context, reads_all=True)
        self._chosen = None if joint is None else joint.target_ids.to(device)
        self._models = [member.model(context, depth) for member in drafter.members]
        self.reads_trees = all(model.reads_trees for model in self._models)
        self._to_ours = [_to_ours(member.vocabulary, joint, context.vocab_size, device) for member in drafter.members]
        self.were_right: Sequence[bool] = ()  # of a mixture whose weights were not chosen yet
        self._drafter = drafter
        self._mixing = torch.zeros(0)
        self._pending, self._expected = PendingNodes(), list[torch.Tensor]()  # after root, then each pending node
        self.weights: Weights | None = None

    def read(self) -> Plan[torch.Tensor | None]:
        read = []
        for model in self._models:
            logits = yield from model.read()
            if logits is None:
                return None
            read.append(logits[:, None])
        q = self._probabilities(read)
        if self.weights is None:
            self.weights = Weights(self._drafter.rule, self._first([len(rows) for rows in read]), self._drafter.window)
        self._mixing = torch.from_numpy(self.weights.next()).to(q)
        return self.ids.allowed(mixture(q, self._mixing))

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        of_target = self.ids.to_target(tokens)
        self._pending.add(of_target, parents)
        expanded = []
        for model in self._models:
            logits = yield from model.expand(model.ids.to_draft(of_target), parents)
            expanded.append(logits)
        q = self._probabilities(expanded)
        return self.ids.allowed(mixture(q, self._mixing))[None]

    def accept(self, feedback: Feedback) -> None:
        if self._expected and self.weights is not None:
            self.weights.update(*self._verified(feedback))
        self._pending, self._expected = PendingNodes(), []  # the next step may ask for nothing
        for model in self._models:
            model.accept(feedback)

    def _verified(self, feedback: Feedback) -> tuple[Array, Array, Tokens]:
        """After the root and after every accepted token that was expanded: the last of these is where the target said
        something else, unless all was accepted."""
        nodes = self._pending.path_of(feedback.accepted)
        expected = [self._expected[place] for place in (0, *(1 + node for node in nodes))]
        logits = feedback.logits[: len(expected)]
        ours = logits if self._chosen is None else _columns(logits, self._chosen)
        is_ours = ours.amax(-1) == logits.amax(-1)
        q, p = np.stack([one.cpu().numpy() for one in expected]), probabilities_of(ours).cpu().numpy()
        return q, p, np.where(is_ours.cpu().numpy(), p.argmax(-1), -1)

    def _probabilities(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """What every row expects [members, tokens, our ids]; kept until the target has answered."""
        members = zip(logits, self._to_ours, strict=True)
        q = torch.cat([to_ours(probabilities_of(one)) for one, to_ours in members])
        self._expected += q.unbind(1)
        return q

    def _first(self, num_rows: Sequence[int]) -> list[float]:
        """Weights per row; a member whose views are all alike has one row, which takes the place of all."""
        wanted = [member.num_rows for member in self._drafter.members]
        given = self._drafter.weights or [1 / sum(wanted)] * sum(wanted)
        first: list[float] = []
        for number, most in zip(num_rows, wanted, strict=True):
            own, given = given[:most], given[most:]
            first += own if number == most else [sum(own)]
        return first


def _columns(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """`logits` [rows, vocabulary] at the ids `chosen`. numpy gathers in a third of torch's time, but in bits alone."""
    if logits.device.type != "cpu":
        return logits.index_select(1, chosen)
    bits = logits.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[logits.element_size()])
    return torch.from_numpy(np.take(bits.numpy(), chosen.numpy(), axis=1)).view(logits.dtype)


def _joint(vocabularies: Iterable[DraftVocabulary | None]) -> DraftVocabulary | None:
    """All tokens that one of the trimmed vocabularies has; None where there are none."""
    known = [one for one in vocabularies if one is not None]
    if not known or all(torch.equal(one.target_ids, known[0].target_ids) for one in known):
        return known[0] if known else None
    ids = torch.unique(torch.cat([one.target_ids for one in known]))
    unknown = int(known[0].target_ids[known[0].unknown])
    return DraftVocabulary(ids, int(torch.searchsorted(ids, unknown)))


def _to_ours(
    own: DraftVocabulary | None, joint: DraftVocabulary | None, vocab_size: int, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes of a distribution over a member's ids [..., ids] one over those of all. Without a vocabulary of its
    own a member has the target's ids, maybe without some at the end."""
    if own is None or joint is None:
        chosen = slice(None) if joint is None else joint.target_ids.to(device)
        return lambda q: torch.nn.functional.pad(q, (0, vocab_size - q.shape[-1]))[..., chosen]
    if torch.equal(own.target_ids, joint.target_ids):
        return lambda q: q
    size, places = len(joint), joint.table(vocab_size)[own.target_ids].to(device)
    return lambda q: q.new_zeros(*q.shape[:-1], size).index_copy_(-1, places, q)
