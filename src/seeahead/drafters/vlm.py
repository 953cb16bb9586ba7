"""A smaller vision-language model (VLM) of any kind as drafter, shown the images by its own processor and tower.

Its tokens are the target's; its images need not be: a prompt is encoded anew by the drafter's own family, with as many
placeholders and under such ids as that has. An image may be shown as it is, as words in its place, or pooled before
the projector (TABED, Lee et al. 2026, section 3). Where its images cannot be had, it drafts from the text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import torch

from seeahead.drafters.base import DraftIds
from seeahead.drafters.folder import Folder
from seeahead.drafters.language import LanguageDrafter, LanguageModel, LanguageSpec, Shown, loaded, make_view, runs
from seeahead.drafters.vision import pooled
from seeahead.drafting import DraftContext
from seeahead.errors import DrafterError, InputError, shown
from seeahead.executor import ModelInputs
from seeahead.families.templates import has_template, template_of
from seeahead.prompt import Prompt
from seeahead.session import Session
from seeahead.target import Target

_log = logging.getLogger(__name__)
_log_once = lru_cache(100)(_log.warning)

_PIXELS = "pixel_values"
"""Inside `generate` transformers takes them away before a loop is called: it has encoded them for its own model."""


class _View(NamedTuple):
    """A prompt as the drafter's model reads it; of each image at most `pooled` features (None: all)."""

    inputs: ModelInputs
    pooled: int | None = None


@dataclass(frozen=True)
class VlmDrafter(LanguageDrafter):
    """`language` is a whole VLM with its family. `takes_inputs`: it reads the target's own inputs, with their pixels,
    where the prompt that these were made of is not known."""

    takes_inputs: bool = False
    name: str = field(default="vlm", kw_only=True)

    @classmethod
    def beside(cls, language: Target, target: Target, **drafting: Any) -> VlmDrafter:
        """Raises DrafterError where it cannot draft for `target`."""
        drafter = cls(language, takes_inputs=_input_shape(language) == _input_shape(target), **drafting)
        drafter.check(target)
        return drafter

    def check(self, target: Target) -> None:
        """Raises DrafterError for a model that does not see, or that has other tokens than `target`."""
        if self.language.family is None or not self.language.family.can_see:
            raise DrafterError("the vlm drafter is a model that reads no images; give it as a language drafter")
        super().check(target)

    @property
    def family(self) -> Any:
        return self.language.family

    @property
    def square(self) -> int | None:
        """Features of an image where they are a square that its projector maps one by one: these can be pooled."""
        config = self.family.model.config
        side = getattr(config.vision_config, "image_size", None)
        if config.model_type != "llava" or not isinstance(side, int):
            return None
        number = self.family.num_image_features(torch.empty(1, 3, side, side, device="meta"))
        return number if number is not None and math.isqrt(number) ** 2 == number else None

    def viewed(
        self, context: DraftContext, shown: Sequence[Shown], depth: int = 0, tokenizer: Any = None
    ) -> LanguageModel:
        ids, given = self.ids(context), context.inputs.token_ids[0].tolist()
        has_images = bool(context.prompt.images if context.prompt else context.image_token_ids.intersection(given))
        views = [self._view(context, one, ids, tokenizer) for one in (shown if has_images else shown[:1])]
        return _VlmModel(self.language, ids, views, context, max(self.limits.depth, depth))

    def _view(self, context: DraftContext, shown: Shown, ids: DraftIds, tokenizer: Any) -> _View:
        family, prompt = self.family, context.prompt
        if prompt is not None and family.processor is not None:
            try:
                own = family.encode(prompt if shown.words is None else _with_words(prompt, shown))
                return self._pooled(own, shown.pooled)
            except InputError as error:
                _log_once(f"the drafter does not read all prompts, and drafts from the text of some: {error}")
        elif shown.words is None and self.takes_inputs and _PIXELS in context.inputs.extras:
            token_ids = context.inputs.token_ids
            token_ids = token_ids.new_tensor([ids.to_draft(token_ids[0].tolist())])
            # Positions are the model's own to count, beyond the prompt too.
            extras = {name: value for name, value in context.inputs.extras.items() if name != "position_ids"}
            return self._pooled(ModelInputs(token_ids, extras), shown.pooled)
        elif shown.words is None:
            _log_once("the images of a prompt are not known here, so the vlm drafter drafts from its text alone")
        text = make_view(context, ids, self.image(shown, ids, tokenizer))
        return _View(family.text_inputs(torch.tensor([text], dtype=torch.int64, device=family.device)))

    def _pooled(self, inputs: ModelInputs, num_tokens: int | None) -> _View:
        """With as many placeholders as are left of each image's."""
        square = self.square
        if num_tokens is None or square is None or num_tokens >= square:
            return _View(inputs)
        kept = list[int]()
        for tokens, _, is_image in runs(inputs.token_ids[0].tolist(), self.language.image_token_ids, markers=True):
            kept += tokens[: len(tokens) // square * num_tokens] if is_image else tokens
        return _View(replace(inputs, token_ids=inputs.token_ids.new_tensor([kept])), num_tokens)


class _VlmModel(LanguageModel):
    """Slots over prompts with images; over their text where images do not fit, or cannot be read."""

    def __init__(
        self, language: Target, ids: DraftIds, views: Sequence[_View], context: DraftContext, depth: int
    ) -> None:
        self._encoded, self._is_blind = views, False
        images = language.image_token_ids
        texts = [[token for token in view.inputs.token_ids[0].tolist() if token not in images] for view in views]
        super().__init__(language, ids, texts, context, depth)

    def _read_anew(self, num_answer: int) -> None:
        try:
            super()._read_anew(num_answer)
        except InputError as error:
            if self._is_blind:
                raise
            _log_once(f"the drafter cannot read the images of all prompts, and drafts from the text of some: {error}")
            self._is_blind = True
            super()._read_anew(num_answer)

    def _prompts(self, answer: Sequence[int]) -> list[ModelInputs]:
        family: Any = self._language.family
        whole = [view.inputs.extended(answer, family.answer_type) for view in self._encoded]
        needed = max(inputs.length for inputs in whole) + 1 + self._depth
        self._is_blind |= self._longest is not None and needed > self._longest
        return super()._prompts(answer) if self._is_blind else whole

    def _prefill(self, number: int, session: Session, prompt: ModelInputs) -> None:
        with _pooling(self._language.family, None if self._is_blind else self._encoded[number].pooled):
            super()._prefill(number, session, prompt)


@contextmanager
def _pooling(family: Any, num_tokens: int | None) -> Iterator[None]:
    """Meanwhile each image's features are pooled before they come to the projector. One pass runs at a time."""
    if num_tokens is None:
        yield
        return

    def pool(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return torch.stack([pooled(image, num_tokens) for image in args[0]]), *args[1:]

    with family.alone():
        handle = family.model.model.multi_modal_projector.register_forward_pre_hook(pool)
        try:
            yield
        finally:
            handle.remove()


def _with_words(prompt: Prompt, shown: Shown) -> Prompt:
    """The prompt with words where its images stand."""
    words, number = shown.words, count()
    assert words is not None
    messages = (
        replace(message, parts=tuple(part if isinstance(part, str) else words(next(number)) for part in message.parts))
        for message in prompt.messages
    )
    return Prompt(tuple(messages))


_SHAPES = (
    *("model_type", "image_token_id", "image_token_index", "image_seq_length", "mm_tokens_per_image", "scale_factor"),
    *("downsample_factor", "vision_feature_select_strategy", "image_grid_pinpoints", "vision_aspect_ratio"),
    *("image_size", "patch_size", "num_channels", "in_channels", "spatial_merge_size", "temporal_patch_size"),
)
"""Settings by which models that have them alike read the same placeholders and pixels."""


def _input_shape(target: Target) -> list[Any]:
    """What `_SHAPES` are in a model's config and in that of its tower; nothing is like a model that does not see."""
    if target.family is None or not target.family.can_see:
        return [object()]
    config = target.family.model.config
    return [getattr(part, name, None) for part in (config, config.vision_config) for name in _SHAPES]


class VlmSpec(LanguageSpec):
    """`source`: any vision-language model's folder or hub id."""

    kind = "vlm"

    def read(self, folder: Folder | None, target: Target) -> VlmDrafter:
        if folder is not None:
            raise DrafterError(
                f"{shown(str(self.source))} is a {folder.kind} drafter's folder, no whole model; give a model's"
            )
        language = loaded(self.source, target)
        ours, theirs = language.family, target.family
        if ours is not None and theirs is not None and theirs.processor is not None:
            if ours.model.config.model_type == theirs.model.config.model_type:
                ours.chat_template = theirs.chat_template
            if ours.chat_template is None and not has_template(ours.processor, ours.tokenizer):
                ours.chat_template = template_of(theirs.processor, theirs.tokenizer, theirs.chat_template)
        return VlmDrafter.beside(language, target, **self.drafting)
