"""A drafter's trimmed vocabulary and its map to the target's ids.

A small drafter's head over a full vocabulary costs more than its body; a few thousand frequent tokens carry nearly all
of what is accepted (FR-Spec, Zhao et al. 2025; EAGLE-3's `d2t`, whose file convention is used here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from seeahead.checked import checked, placed, whole
from seeahead.errors import DrafterError, ModelError
from seeahead.executors.tensor_files import WHOLE, read_tensors

FILE_NAME = "draft_vocabulary.safetensors"


@dataclass(frozen=True)
class _Facts:
    """What a drafter's config.json says of its vocabulary."""

    unknown_draft_id: Annotated[int, whole(0, 1 << 24)]
    target_vocab_size: Annotated[int | None, whole(1, 1 << 24)] = None


class DraftVocabulary:
    """Draft id <-> target id. Target tokens outside it read as the unknown one, and are never drafted."""

    def __init__(self, target_ids: torch.Tensor, unknown_draft_id: int, target_vocab_size: int | None = None) -> None:
        """`target_ids` [draft vocabulary]: the target id of each draft id; `target_vocab_size`: of the target it was
        made for, where that is known."""
        self.target_ids = target_ids
        self._target_list: list[int] = target_ids.tolist()
        self._draft_ids = {target: draft for draft, target in enumerate(self._target_list)}
        self.unknown = unknown_draft_id
        self.target_vocab_size = target_vocab_size

    def __len__(self) -> int:
        return len(self._target_list)

    @classmethod
    def read(cls, folder: Path, values: dict[str, Any]) -> DraftVocabulary:
        """From a drafter folder and its config.json's `values`: tensor `d2t`, target id = draft id + d2t[draft id].

        Raises ModelError for a map that is none: two draft ids of one target id would make a drawn draft inexact."""
        told = checked(_Facts, values, placed(folder / "config.json"), ModelError, is_open=True)
        offsets = read_tensors(folder / FILE_NAME, {"d2t": (None,)}, kinds=WHOLE)["d2t"]
        ids = mapped(offsets, placed(folder / FILE_NAME))
        if told.unknown_draft_id >= len(ids):
            raise ModelError(
                f"{placed(folder / 'config.json')}: unknown_draft_id is {told.unknown_draft_id}; allowed: 0 to "
                f"{len(ids) - 1}, the draft tokens there are"
            )
        return cls(ids, told.unknown_draft_id, told.target_vocab_size)

    @property
    def highest(self) -> int:
        """The highest target id."""
        return int(self.target_ids.max())

    def check_target(self, vocab_size: int) -> None:
        """Raises DrafterError for a target of `vocab_size` tokens whose tokens these are not."""
        wanted, told = self.target_vocab_size, ""
        if self.highest >= vocab_size:
            told = f"drafter's vocabulary map reaches token {self.highest}, the target has {vocab_size}"
        elif wanted not in (None, vocab_size):
            told = f"drafter was trained for a target of {wanted} tokens, this one has {vocab_size}"
        if told:
            raise DrafterError(f"the {told}; take a drafter trained for this target, or drafter='lookup'")

    @classmethod
    def most_frequent(cls, counts: Counter[int], size: int, always: Iterable[int], vocab_size: int) -> DraftVocabulary:
        """The `size` likeliest of a target's `vocab_size` tokens (0: all), `always` among them, in ascending order.

        Where `counts` holds fewer, the lowest ids fill up: they are most tokenizers' most general tokens."""
        first, *_ = always = list(always)
        ranked = [*always, *(token for token, _ in counts.most_common()), *range(vocab_size)]
        ids = sorted(list(dict.fromkeys(ranked))[: min(size or vocab_size, vocab_size)])
        return cls(torch.tensor(ids), ids.index(first))

    def offsets(self) -> torch.Tensor:
        """EAGLE-3's d2t: target id = draft id + d2t[draft id]."""
        return self.target_ids - torch.arange(len(self))

    def table(self, vocab_size: int, others: int = -1) -> torch.Tensor:
        """Draft id of every target id below `vocab_size`; `others` for those that are not known."""
        table = torch.full((vocab_size,), others, dtype=torch.int64)
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


def mapped(offsets: torch.Tensor, where: str) -> torch.Tensor:
    """Target ids of the draft ids that `offsets` [draft vocabulary] belong to. Raises ModelError as `read` does."""
    ids = torch.arange(len(offsets)) + offsets.long()
    if not len(ids) or int(ids.min()) < 0 or len(ids.unique()) < len(ids):
        raise ModelError(
            f"{where} does not map every draft token to a target token of its own; get the whole drafter folder again"
        )
    return ids
