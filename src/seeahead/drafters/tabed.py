"""Several drafts of one prompt mixed as they prove right: views of it, and other drafters (TABED, Lee et al. 2026).

Views of a prompt (the image, no image, a caption, the image pooled) go through one vision-language drafter in one
pass (section 3); `ensemble.py` mixes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from PIL.Image import Image
from pydantic import Field

from seeahead.drafters.base import Member
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.language import LanguageModel, Shown
from seeahead.drafters.none import plain_answers
from seeahead.drafters.spec import Joined, TreeSpec
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafters.vlm import VlmDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafters.weights import RULES
from seeahead.drafting import DraftContext
from seeahead.errors import DrafterError, shown
from seeahead.executor import Want
from seeahead.prompt import Message, Prompt
from seeahead.target import Target

VIEWS = {"M": "the image", "T": "text only", "C": "a caption", "P": "the image, pooled"}
NO_VIEWS = "none"
Captioner = Callable[[Sequence[Image]], Sequence[str]]
"""One line for each image."""
_QUESTION, _CAPTION_TOKENS = "What is in this picture? Answer in one sentence.", 24


@dataclass(frozen=True, kw_only=True)
class ViewsDrafter(Member):
    """`drafter` is shown the prompt in `views`, letters of VIEWS. `pooled`: slots of an image in view P. `captions`:
    "given" with the prompt, the `target`'s "own", or whoever writes them."""

    drafter: VisionDrafter | VlmDrafter
    views: str
    pooled: int = 4
    captions: str | Captioner = "given"
    target: Target | None = None
    vocabulary: DraftVocabulary | None = field(init=False)

    def __post_init__(self) -> None:
        """Raises DrafterError for what is not a view, and for view P of a drafter whose images cannot be pooled."""
        if not self.views or set(self.views) - set(VIEWS) or len(set(self.views)) < len(self.views):
            told = ", ".join(f"{letter} ({what})" for letter, what in VIEWS.items())
            raise DrafterError(f"views {shown(self.views)} are not views; give letters of {told}, each at most once")
        if isinstance(self.captions, str) and self.captions not in ("given", "own"):
            raise DrafterError(f"captions {shown(self.captions)} is not a source; allowed are given and own")
        if "P" in self.views and isinstance(self.drafter, VlmDrafter) and self.drafter.square is None:
            raise DrafterError(
                f"view P pools the features of a LLaVA-1.5 type, which '{self.drafter.family.model.config.model_type}' "
                "is not; leave P out of the views"
            )
        object.__setattr__(self, "vocabulary", self.drafter.vocabulary)

    @property
    def want(self) -> Want:
        return self.drafter.want

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        return self.drafter.modules

    @property
    def num_rows(self) -> int:
        return len(self.views)

    def model(self, context: DraftContext, depth: int = 0) -> LanguageModel:
        """A row per view."""
        # An image in tiles has several places: the captions stand at the first.
        captions = self._captions(context) if "C" in self.views else ()
        known = {
            "M": Shown(),
            "T": Shown(lambda number: "\n"),
            "C": Shown(lambda number: f"image: {captions[number]}" if number < len(captions) else ""),
            "P": Shown(pooled=self.pooled),
        }
        tokenizer = None if self.target is None else self.target.tokenizer
        return self.drafter.viewed(context, [known[letter] for letter in self.views], depth, tokenizer)

    def _captions(self, context: DraftContext) -> Sequence[str]:
        prompt = context.prompt
        if prompt is None or not prompt.images:
            if prompt is None and context.image_token_ids & set(context.inputs.token_ids[0].tolist()):
                raise DrafterError("view C needs the images themselves, which are not known here; leave C out")
            return ()
        if self.captions == "own":
            return own_captions(self.target, prompt.images)
        if callable(self.captions):
            return self.captions(prompt.images)
        if not prompt.captions:
            raise DrafterError(
                f"view C needs a caption for each of the {len(prompt.images)} images, none was given; give captions "
                "(--caption on the command line), set captions=own, or leave C out of the views"
            )
        return prompt.captions


def own_captions(target: Target | None, images: Sequence[Image]) -> list[str]:
    """What `target` itself says of each image, greedily, all in one batch. Raises DrafterError for one that cannot be
    asked."""
    if target is None or target.family is None or target.tokenizer is None:
        raise DrafterError("captions=own needs a target with its processor; give captions, or leave view C out")
    family = target.family
    prompts = [family.encode(Prompt((Message("user", (image, _QUESTION)),))) for image in images]
    answers = plain_answers(target, prompts, _CAPTION_TOKENS)
    return [str(family.tokenizer.decode(answer, skip_special_tokens=True)).strip() for answer in answers]


class TabedSpec(TreeSpec):
    """`views` of the drafter `vision` (a folder, by default the target's own), and `members` beside them."""

    kind = "tabed"
    views: Annotated[str, Field(description="letters of " + ", ".join(VIEWS) + "; or none")] = "MT"
    vision: Annotated[str, Field(description="whose views: a folder of one or of a small VLM, or the target's own")] = (
        "vision"
    )
    pooled: Annotated[int, Field(ge=1, le=10_000, description="slots of an image in view P")] = 4
    captions: Annotated[str, Field(description="given with the prompt, or the target's own")] = "given"
    members: Annotated[tuple[str, ...], Joined, Field(description="other drafters, joined by +")] = ()
    rule: Annotated[str, Field(description=" or ".join(RULES))] = "grid"
    window: Annotated[int, Field(ge=0, description="verified positions that count; 0: all")] = 0
    weights: Annotated[tuple[float, ...], Joined, Field(description="at first, joined by +")] = ()

    def made_for(self, target: Target) -> EnsembleDrafter:
        from seeahead.drafters import bind

        members: list[Any] = []
        if self.views != NO_VIEWS:
            vision = bind(self.vision, target, self.own)
            if not isinstance(vision, VisionDrafter | VlmDrafter):
                raise DrafterError(
                    f"{shown(self.vision)} is not a vision drafter, so it has no views; give the folder of one, or of "
                    "a small vision-language model, as vision="
                )
            members.append(
                ViewsDrafter(
                    drafter=vision, views=self.views, pooled=self.pooled, captions=self.captions, target=target
                )
            )
        for name in self.members:
            members.append(bind(name, target, self.own))
            if not isinstance(members[-1], Member):
                raise DrafterError(
                    f"{shown(name)} cannot be a member of an ensemble; lookup, language, vision, vlm and msd can"
                )
        return EnsembleDrafter(tuple(members), self.rule, self.window, self.weights, **self.drafting)
