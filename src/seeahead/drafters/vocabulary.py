"""A drafter's trimmed vocabulary and its map to the target's ids.

A small drafter's head over a full vocabulary costs more than its body; a few thousand frequent tokens carry nearly all
of what is accepted (FR-Spec, Zhao et al. 2025; EAGLE-3's `d2t`, whose file convention is used here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file

from seeahead.errors import ModelError

FILE_NAME = "draft_vocabulary.safetensors"


class DraftVocabulary:
    """Draft id <-> target id. Target tokens outside it read as the unknown one, and are never drafted."""

    def __init__(self, target_ids: torch.Tensor, unknown_draft_id: int) -> None:
        """`target_ids` [draft vocabulary]: the target id of each draft id."""
        self.target_ids = target_ids
        self._target_list: list[int] = target_ids.tolist()
        self._draft_ids = {target: draft for draft, target in enumerate(self._target_list)}
        self.unknown = unknown_draft_id

    def __len__(self) -> int:
        return len(self._target_list)

    @classmethod
    def load(cls, folder: Path, unknown_draft_id: int) -> DraftVocabulary:
        """From a drafter folder: tensor `d2t`, where target id = draft id + d2t[draft id]."""
        offsets = load_file(folder / FILE_NAME).get("d2t")
        if offsets is None:
            raise ModelError(f"'{FILE_NAME}' in '{folder}' has no tensor 'd2t'; get the whole drafter folder again")
        return cls(torch.arange(len(offsets)) + offsets, unknown_draft_id)

    @classmethod
    def most_frequent(cls, counts: Counter[int], size: int, always: Iterable[int], vocab_size: int) -> DraftVocabulary:
        """The `size` likeliest of a target's `vocab_size` tokens (0: all), `always` among them, in ascending order.

        Where `counts` holds fewer, the lowest ids fill up: they are most tokenizers' most general tokens."""
        always = list(dict.fromkeys(always))
        ranked = [*always, *(token for token, _ in counts.most_common()), *range(vocab_size)]
        chosen = list(dict.fromkeys(ranked))[: min(size or vocab_size, vocab_size)]
        ids = sorted(chosen)
        return cls(torch.tensor(ids), ids.index(always[0]))

    def offsets(self) -> torch.Tensor:
        """EAGLE-3's d2t: target id = draft id + d2t[draft id]."""
        return self.target_ids - torch.arange(len(self))

    def table(self, vocab_size: int) -> torch.Tensor:
        """Draft id of every target id below `vocab_size`; -1 for those that are not known."""
        table = torch.full((vocab_size,), -1, dtype=torch.int64)
        table[self.target_ids] = torch.arange(len(self))
        return table

    def known(self, tokens: Iterable[int]) -> list[int]:
        """Draft ids of those target tokens that can be drafted."""
        return [self._draft_ids[token] for token in tokens if token in self._draft_ids]

    def to_draft(self, tokens: Iterable[int]) -> list[int]:
        """Draft ids of target tokens, as the drafter reads them."""
        return [self._draft_ids.get(token, self.unknown) for token in tokens]

    def to_target(self, tokens: Iterable[int]) -> list[int]:
        return [self._target_list[token] for token in tokens]

    def spread(self, distribution: torch.Tensor, size: int) -> torch.Tensor:
        """A distribution [draft vocabulary] as one over the target's `size` tokens."""
        return distribution.new_zeros(size).index_copy_(0, self.target_ids.to(distribution.device), distribution)
