"""Views of a prompt: what a drafter is shown of it. Text stays; an image becomes slots, words, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from seeahead.drafters.base import DraftIds
from seeahead.drafting import DraftContext

Shown = Sequence[int] | torch.Tensor
"""What stands for an image: draft ids, or embeddings [slots, the drafter's width]."""


@dataclass(frozen=True)
class View:
    """A prompt in draft ids; at the slots of `visual` stand embeddings [width], and the id does not matter."""

    ids: Sequence[int]
    visual: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def extended(self, ids: Sequence[int], longest: int | None = None) -> View:
        """With `ids` after it; of a text too long only the last `longest` tokens."""
        whole = [*self.ids, *ids]
        first = 0 if longest is None else max(0, len(whole) - longest)
        return View(whole[first:], {slot - first: row for slot, row in self.visual.items() if slot >= first})


def make_view(context: DraftContext, ids: DraftIds, image: Callable[[int, torch.Tensor | None], Shown]) -> View:
    """The prompt with what `image` (its number, its visual embeddings where they are known) gives for each."""
    seen = context.embeddings
    ids_shown: list[int] = []
    visual: dict[int, torch.Tensor] = {}
    number = 0
    for tokens, start, is_image in runs(context.inputs.token_ids[0].tolist(), context.image_token_ids):
        if not is_image:
            ids_shown += ids.to_draft(tokens)
            continue
        instead = image(number, None if seen is None else seen[start : start + len(tokens)])
        number += 1
        if isinstance(instead, torch.Tensor):
            visual |= {len(ids_shown) + place: row for place, row in enumerate(instead)}
            instead = [0] * len(instead)
        ids_shown += instead
    return View(ids_shown, visual)


def runs(
    tokens: Sequence[int], image_token_ids: frozenset[int], markers: bool = False
) -> Iterator[tuple[list[int], int, bool]]:
    """(tokens, where they start, whether they are an image's), in order; markers are left out unless asked for.

    An image (or a tile of one) is a placeholder several times in a row; what stands alone is a marker around it.
    """
    start = 0
    for special, group in groupby(tokens, lambda token: token if token in image_token_ids else None):
        found = list(group)
        if special is None or markers or len(found) > 1:
            yield found, start, special is not None
        start += len(found)
