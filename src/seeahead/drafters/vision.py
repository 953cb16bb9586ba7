"""A compact vision-language drafter (Gagrani et al. 2024): the language drafter, shown the pictures as well.

The target has encoded the pictures; an image adapter turns its visual embeddings into a few of the drafter's own, which
stand where the pictures stand in the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from seeahead.drafters.language import LanguageDrafter, LanguageVoice
from seeahead.drafters.views import make_view
from seeahead.drafting import Assignment
from seeahead.errors import DrafterError
from seeahead.models.adapter import ImageAdapter


@dataclass(frozen=True)
class VisionDrafter(LanguageDrafter):
    """`executor` is a compact decoder; `adapter` maps the target's visual embeddings to its width."""

    adapter: ImageAdapter = field(kw_only=True)
    name: str = "vision"
    wants_embeddings: bool = True

    def voice(self, assignment: Assignment) -> LanguageVoice:
        ids = self.ids(assignment)
        self.check(assignment)
        return self.voice_of(assignment, ids, [make_view(assignment, ids, lambda number, seen: self.look(seen))])

    def check(self, assignment: Assignment) -> None:
        """Raises DrafterError for a target of another width."""
        assert assignment.embeddings is not None, "the loop gives embeddings to a drafter that wants them"
        wanted, given = self.adapter.config.input_width, assignment.embeddings.shape[-1]
        if wanted != given:
            raise DrafterError(
                f"the vision drafter reads visual embeddings of width {wanted}, the target's have {given}; "
                "take a drafter trained for this target, or drafter='lookup'"
            )

    def look(self, visual: torch.Tensor | None, num_tokens: int | None = None) -> torch.Tensor:
        """A picture's visual embeddings as the drafter's own, at most `num_tokens` (None: as trained)."""
        assert visual is not None
        with torch.inference_mode():
            return self.adapter.read(visual, num_tokens)
