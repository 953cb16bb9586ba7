"""Views of a prompt: what a drafter is shown of it. Text stays; an image becomes slots, words, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch

from seeahead.drafters.base import DraftIds
from seeahead.drafting import DraftContext

View = list[int | torch.Tensor]
"""A prompt in draft ids, with embeddings [the drafter's width] at the slots of images."""

ShowImage = Callable[[int, torch.Tensor | None], Sequence[int] | torch.Tensor]
"""(an image's number, its visual embeddings where they are known) -> what stands for it: draft ids, or embeddings
[slots, the drafter's width]."""


def make_view(context: DraftContext, ids: DraftIds, image: ShowImage) -> View:
    """The prompt with what `image` gives for each of its images."""
    view, seen, number = View(), context.embeddings, 0
    for tokens, start, is_image in runs(context.inputs.token_ids[0].tolist(), context.image_token_ids):
        if is_image:
            view += image(number, None if seen is None else seen[start : start + len(tokens)])
            number += 1
        else:
            view += ids.to_draft(tokens)
    return view


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
