"""A compact vision-language drafter (Gagrani et al. 2024): the language drafter, shown the pictures as well.

The target has encoded the pictures; an image adapter turns its visual embeddings into a few of the drafter's own, which
stand where the pictures stand in the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from seeahead.drafters.language import Language, LanguageDrafter
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.models.adapter import ImageAdapter
from seeahead.models.decoder import Decoder


@dataclass(frozen=True)
class VisionDrafter(LanguageDrafter):
    """`executor` is a compact decoder; `adapter` maps the target's visual embeddings to its width."""

    adapter: ImageAdapter = field(kw_only=True)
    name: str = "vision"
    wants_embeddings: bool = True

    def start(self, assignment: Assignment) -> Language:
        return _Vision(self, assignment)


class _Vision(Language):
    """As the language drafting, with slots in its prompt that hold visual embeddings."""

    def __init__(self, drafter: VisionDrafter, assignment: Assignment) -> None:
        assert isinstance(drafter.executor, Decoder), "other executors take no embeddings"
        self._decoder = drafter.executor
        self._visual: dict[int, torch.Tensor] = {}
        self._adapter = drafter.adapter
        super().__init__(drafter, assignment)

    def _view(self, assignment: Assignment) -> list[int]:
        """Text tokens in draft ids, and per picture as many slots as the adapter makes of it; what a slot's id is does
        not matter."""
        seen = assignment.embeddings
        assert seen is not None, "the loop gives embeddings to a drafter that wants them"
        wanted, given = self._adapter.config.input_width, seen.shape[-1]
        if wanted != given:
            raise DrafterError(
                f"the vision drafter reads visual embeddings of width {wanted}, the target's have {given}; "
                "take a drafter trained for this target, or drafter='lookup'"
            )
        ids: list[int] = []
        for tokens, start, is_picture in runs(assignment.inputs.token_ids[0].tolist(), assignment.image_token_ids):
            if not is_picture:
                ids += self._to_draft(tokens)
                continue
            with torch.inference_mode():
                visual = self._adapter.read(seen[start : start + len(tokens)])
            self._visual |= {len(ids) + place: row for place, row in enumerate(visual)}
            ids += [0] * len(visual)
        return ids

    def _inputs(self, text: Sequence[int], first: int) -> ModelInputs:
        inputs = super()._inputs(text, first)
        slots = [slot for slot in self._visual if slot >= first]
        if not slots:
            return inputs
        with torch.inference_mode():
            embeddings = self._decoder.embedding(inputs.token_ids)
            embeddings[0, [slot - first for slot in slots]] = torch.stack([self._visual[slot] for slot in slots])
        return ModelInputs(inputs.token_ids, {"inputs_embeds": embeddings})


def runs(
    tokens: Sequence[int], image_token_ids: frozenset[int], markers: bool = False
) -> Iterator[tuple[list[int], int, bool]]:
    """(tokens, where they start, whether they are a picture's), in order; markers are left out unless asked for.

    A picture (or a tile of one) is a placeholder several times in a row; what stands alone is a marker around it.
    """
    start = 0
    for special, group in groupby(tokens, lambda token: token if token in image_token_ids else None):
        found = list(group)
        if special is None or markers or len(found) > 1:
            yield found, start, special is not None
        start += len(found)
