"""Several views of a prompt as one batch of one compact vision-language drafter (TABED, Lee et al. 2026, section 3).

One set of weights, read once per step; the pictures are encoded once, by the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL.Image import Image

from seeahead.drafters.captions import OwnCaptions
from seeahead.drafters.ids import DraftIds, tokenizer_of
from seeahead.drafters.language import LanguageVoice
from seeahead.drafters.views import Shown, View, make_view
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError, shown
from seeahead.executor import Executor

VIEWS = {"M": "the image", "T": "text only", "C": "a caption", "P": "the image, pooled"}
Captioner = Callable[[Sequence[Image]], Sequence[str]]
"""One line for each picture."""


@dataclass(frozen=True)
class ViewsDrafter:
    """`views`: letters of VIEWS. `pooled`: slots of a picture in view P. `captions`: "given" with the prompt, the
    target's "own", or whoever writes them."""

    vision: VisionDrafter
    views: str = "MT"
    pooled: int = 4
    captions: str | Captioner = "given"
    target: Executor | None = None
    name: str = "views"
    wants_features: bool = False
    wants_embeddings: bool = True

    def __post_init__(self) -> None:
        """Raises DrafterError for what is no view."""
        if not self.views or set(self.views) - set(VIEWS) or len(set(self.views)) < len(self.views):
            told = ", ".join(f"{letter} ({what})" for letter, what in VIEWS.items())
            raise DrafterError(f"views {shown(self.views)} are none; give letters of {told}, each at most once")
        if isinstance(self.captions, str) and self.captions not in ("given", "own"):
            raise DrafterError(f"captions {shown(self.captions)} are none; allowed are given and own")

    @property
    def num_rows(self) -> int:
        return len(self.views)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        return self.vision.networks

    @property
    def vocabulary(self) -> DraftVocabulary | None:
        return self.vision.vocabulary

    def bound_to(self, target: Executor) -> ViewsDrafter:
        if self.target is target:
            return self
        bound = self.vision.bound_to(target)
        assert isinstance(bound, VisionDrafter)
        return replace(self, vision=bound, target=target)

    def start(self, assignment: Assignment) -> None:
        """Raises DrafterError: rows are nothing without an ensemble that mixes them."""
        raise DrafterError("views draft as members of an ensemble; take the drafter 'tabed'")

    def voice(self, assignment: Assignment) -> LanguageVoice:
        """A row per view; one row where the prompt shows no picture, since all views are then alike."""
        self.vision.check(assignment)
        ids = self.vision.ids(assignment)
        views = [make_view(assignment, ids, picture) for picture in self._pictures(assignment, ids)]
        return self.vision.voice_of(assignment, ids, _unlike(views))

    def _pictures(self, assignment: Assignment, ids: DraftIds) -> list[Callable[[int, torch.Tensor | None], Shown]]:
        """What stands for a picture in each view."""
        tokenizer = tokenizer_of(self.target)

        def words(text: str) -> list[int]:
            return [] if tokenizer is None else ids.to_draft(tokenizer(text, add_special_tokens=False).input_ids)

        shown: dict[str, Callable[[int, torch.Tensor | None], Shown]] = {
            "M": lambda number, seen: self.vision.look(seen),
            "T": lambda number, seen: words("\n"),
            "P": lambda number, seen: self.vision.look(seen, self.pooled),
        }
        if "C" in self.views:
            captions = self._captions(assignment)
            # A picture in tiles has several places: the captions stand at the first.
            shown["C"] = lambda number, seen: words(f"image: {captions[number]}") if number < len(captions) else []
        return [shown[letter] for letter in self.views]

    def _captions(self, assignment: Assignment) -> Sequence[str]:
        prompt = assignment.prompt
        if prompt is None or not prompt.images:
            if prompt is None and assignment.image_token_ids & set(assignment.inputs.token_ids[0].tolist()):
                raise DrafterError("view C needs the pictures themselves, which are not known here; leave C out")
            return ()
        if self.captions == "own":
            return OwnCaptions(self.target)(prompt.images)
        if callable(self.captions):
            return self.captions(prompt.images)
        if not prompt.captions:
            raise DrafterError(
                f"view C needs a caption for each of the {len(prompt.images)} pictures, none was given; give captions "
                "(--caption on the command line), set captions=own, or leave C out of the views"
            )
        return prompt.captions


def _unlike(views: Sequence[View]) -> list[View]:
    """All, or the first if all show the same."""
    is_same = all(not view.visual and view.ids == views[0].ids for view in views)
    return list(views[:1]) if is_same else list(views)
