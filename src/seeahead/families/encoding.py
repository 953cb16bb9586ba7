"""Conversations become the inputs of a transformers model: its processor's tokens and pixels, or one line why not."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar, Self

import torch
from PIL.Image import Image
from transformers import PreTrainedModel

from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.families.processors import check_placeholders, completed
from seeahead.families.quoting import SpecialTokens
from seeahead.families.templates import PLAIN, refusals_told, roles_in_parts, template_of, written_for
from seeahead.prompt import Message, Prompt
from seeahead.stopping import end_tokens_of

_IMAGE_ID = re.compile(r"([a-z]+_)*(image|video|vision|boi|eoi|img)(_[a-z]+)*_(token_id|token_index|id)")
"""Settings of configs that name a token which stands for an image or a video, or at an end of one."""

_IMAGE_WORD = re.compile(r"([a-z]+_)*(image|video|vision|boi|eoi|img|tile)(_[a-z]+)*_token")
"""Attributes of processors that hold such a token's spelling."""


class PromptEncoder:
    """The side of a family that reads prompts. `processor` may be a plain tokenizer, or None: then none is read."""

    marker_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens around image placeholders that mean nothing without the image, such as start and end markers."""

    processor_type: ClassVar[str | None] = None
    """The model type whose processor reads prompts; None: the model's own."""

    chat_template: str | None = None
    """A chat template that counts instead of the processor's and the tokenizer's."""

    model: PreTrainedModel
    processor: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer, or the tokenizer that was given itself."""
        if self.processor is None:
            raise InputError("no processor or tokenizer was given; pass (model, processor) to encode prompts")
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def can_see(self) -> bool:
        """Whether prompts may hold images."""
        return getattr(self.model.config, "vision_config", None) is not None

    @property
    def image_token_ids(self) -> frozenset[int]:
        """Placeholder ids (never drafted) and the markers around them: what a text-only view leaves out."""
        config = self.model.config
        named = {name: value for name, value in vars(config).items() if _IMAGE_ID.fullmatch(name)}
        # transformers reads some under a second name, which the stored ones leave out.
        named |= {name: getattr(config, name, None) for name in ("image_token_id", "video_token_id")}
        ids = {value for value in named.values() if isinstance(value, int)}
        if self.processor is not None:
            known, fields = self.tokenizer.get_added_vocab(), vars(self.processor).items()
            words = [word for name, word in fields if isinstance(word, str) and _IMAGE_WORD.fullmatch(name)]
            ids.update(known[word] for word in (*self.marker_tokens, *words) if word in known)
        return frozenset(ids)

    def apart(self) -> Self:
        """The same family with a processor and a tokenizer of its own, which another thread may use meanwhile."""
        other = copy.copy(self)
        other.processor = copy.deepcopy(self.processor)
        for name in ("_special_tokens_known", "_parts_known"):
            vars(other).pop(name, None)
        return other

    def num_image_features(self, pixel_values: torch.Tensor) -> int | None:
        """How many features the model makes of a prompt's pixels; None where only the model itself can say it."""
        return None

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, by the model's generation config; the first is the one it is taught to say."""
        return end_tokens_of(self.model.generation_config)

    def encode(self, prompt: Prompt) -> ModelInputs:
        """Token ids and pixels of a conversation, ready for `prefill`."""
        if prompt.images and not self.can_see:
            raise InputError(
                f"{len(prompt.images)} image(s) were given, but model type '{self.model.config.model_type}' reads "
                "text only; leave the images out or load a vision-language model"
            )
        template = template_of(self.processor, self.tokenizer, self.chat_template)
        if prompt.images and not hasattr(self.processor, "image_processor"):
            raise InputError("images were given, but no image processor; pass (model, processor), not a tokenizer")
        messages, reader = self._without_special_tokens(prompt.messages, template)
        text = self._write(reader, template, messages, with_images=bool(prompt.images))
        if prompt.images:
            encoded = self._encode_with_images(reader, text, prompt.images)
        else:
            encoded = self._encode_text(reader, text, is_plain=template == PLAIN)
        token_ids = encoded.pop("input_ids")
        for name in ("attention_mask", "labels"):  # PaliGemma's processor adds labels for training to every prompt
            encoded.pop(name, None)
        return ModelInputs(token_ids.to(self.device), {name: self._place(value) for name, value in encoded.items()})

    def _without_special_tokens(self, messages: Sequence[Message], template: str) -> tuple[Sequence[Message], Any]:
        """Messages that spell no special token, and the processor that reads them.

        Texts that spell none, which is nearly all, and the processor stay as they are.
        """
        texts = [part for message in messages for part in message.parts if isinstance(part, str)]
        special = self._special_tokens(template)
        if not special.are_spelled("".join(texts)):
            return messages, self.processor
        marked, tokenizer = special.stand_ins(texts)
        left = iter(marked)
        marked_messages = [
            replace(message, parts=tuple(next(left) if isinstance(part, str) else part for part in message.parts))
            for message in messages
        ]
        if self.tokenizer is self.processor:
            return marked_messages, tokenizer
        reader = copy.copy(self.processor)
        reader.tokenizer = tokenizer
        return marked_messages, reader

    @cached_property
    def _special_tokens_known(self) -> dict[tuple[str, int], SpecialTokens]:
        return {}

    def _special_tokens(self, template: str) -> SpecialTokens:
        """What no text may stand for: special tokens, placeholders, ends, and what a template marks turns with."""
        key = (template, len(self.tokenizer))
        if key not in self._special_tokens_known:
            words = [getattr(self.processor, name, None) for name in ("image_token", "video_token", "boi_token")]
            names = self.tokenizer.convert_ids_to_tokens(sorted({*self.image_token_ids, *self.end_token_ids}))
            turns = ""
            with suppress(InputError):
                chat = [Message(role, ("",)) for role in ("user", "assistant", "user")]
                turns = self._write(self.processor, template, chat, is_asked=False)
            self._special_tokens_known[key] = SpecialTokens(self.tokenizer, filter(None, words), names, turns)
        return self._special_tokens_known[key]

    def _encode_with_images(self, reader: Any, text: str, images: Sequence[Image]) -> dict[str, Any]:
        reader = completed(reader, self.model.config)
        settings = {} if self._adds_special_tokens(text) else {"add_special_tokens": False}
        with refusals_told():
            encoded = reader(text=text, images=[list(images)], return_tensors="pt", **settings)
        pixels = encoded.get("pixel_values")
        num_features = self.num_image_features(pixels) if isinstance(pixels, torch.Tensor) else None
        check_placeholders(reader, self.model.config, encoded, num_features)
        return dict(encoded)

    def _encode_text(self, reader: Any, text: str, *, is_plain: bool) -> dict[str, Any]:
        # A tokenizer adds nothing to what a template says; a processor adds the beginning where it says none.
        adds = is_plain or (self.tokenizer is not self.processor and self._adds_special_tokens(text))
        with refusals_told():
            ids = getattr(reader, "tokenizer", reader)(text, add_special_tokens=adds, return_tensors="pt")["input_ids"]
        if is_plain and ids.shape[1] > 1 and int(ids[0, -1]) == self.tokenizer.eos_token_id:
            # Nothing can follow a text that has ended.
            ids = ids[:, :-1]
        return {"input_ids": ids}

    def _adds_special_tokens(self, text: str) -> bool:
        bos = self.tokenizer.bos_token
        return bos is None or not text.startswith(bos)

    def _write(
        self,
        reader: Any,
        template: str,
        messages: Sequence[Message],
        *,
        with_images: bool = False,
        is_asked: bool = True,
    ) -> str:
        """The conversation as the template writes it; `is_asked`: up to where the answer begins."""
        placeholder = getattr(self.processor, "image_token", None) if with_images else None
        key = (template, placeholder)
        if key not in self._parts_known:
            render = partial(_render, self.processor, template)
            self._parts_known[key] = roles_in_parts(render, placeholder, is_usual=self.can_see)
        chat = written_for(self._parts_known[key], messages, self._image_text, "" if template == PLAIN else "\n")
        return _render(reader, template, chat, is_asked)

    @cached_property
    def _parts_known(self) -> dict[tuple[str, str | None], frozenset[str]]:
        """Roles whose messages are lists of parts, by template and placeholder."""
        return {}

    @property
    def _image_text(self) -> str:
        """What stands for an image in a prompt that no template writes."""
        config = self.model.config
        ends = [(f"vision_{end}_token_id", f"image_{end}_token_id") for end in ("start", "end")]
        ids = [next((getattr(config, name) for name in names if hasattr(config, name)), None) for names in ends]
        start, end = ("" if index is None else self.tokenizer.convert_ids_to_tokens(index) for index in ids)
        return f"{start}{getattr(self.processor, 'image_token', None) or ''}{end}"

    def _place(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(self.device, self.dtype if value.is_floating_point() else None)
        return value


def _render(processor: Any, template: str, chat: list[dict[str, Any]], is_asked: bool = True) -> str:
    settings = {"chat_template": template, "add_generation_prompt": is_asked, "tokenize": False}
    with refusals_told():
        return str(processor.apply_chat_template(chat, **settings))
