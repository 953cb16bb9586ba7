"""Conversations become the inputs of a transformers model: its processor's tokens and pixels, or one line why not."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel

from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.prompt import Prompt
from seeahead.stopping import end_tokens_of


class PromptEncoder:
    """The side of a family that reads prompts. `processor` may be a plain tokenizer, or None: then none is read."""

    marker_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens around image placeholders that mean nothing without the image, such as start and end markers."""

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
        """Whether prompts may hold pictures."""
        return getattr(self.model.config, "vision_config", None) is not None

    @property
    def image_token_ids(self) -> frozenset[int]:
        """Placeholder ids (never drafted) and the markers around them: what a text-only view leaves out."""
        config = self.model.config
        names = (
            "image_token_id",
            "image_token_index",
            "video_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
            "boi_token_index",
            "eoi_token_index",
        )
        ids = {getattr(config, name, None) for name in names}
        if self.processor is not None and self.marker_tokens:
            ids.update(self.tokenizer.convert_tokens_to_ids(list(self.marker_tokens)))
            ids.discard(self.tokenizer.unk_token_id)
        return frozenset(token for token in ids if token is not None)

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, by the model's generation config; the first is the one it is taught to say."""
        return end_tokens_of(self.model.generation_config)

    def encode(self, prompt: Prompt) -> ModelInputs:
        """Token ids and pixels of a conversation, ready for `prefill`."""
        if prompt.images and not self.can_see:
            raise InputError(
                f"{len(prompt.images)} picture(s) were given, but model type '{self.model.config.model_type}' reads "
                "text only; leave the pictures out or load a vision-language model"
            )
        self._check_text(prompt)
        try:
            encoded = self._encode_with_pictures(prompt) if prompt.images else self._encode_text(prompt)
        except (ValueError, TemplateError) as error:
            if isinstance(error, InputError):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"the model's processor refuses this prompt: {reason}") from error
        token_ids = encoded.pop("input_ids")
        encoded.pop("attention_mask", None)
        return ModelInputs(token_ids.to(self.device), {name: self._place(value) for name, value in encoded.items()})

    def _check_text(self, prompt: Prompt) -> None:
        """Raises InputError for a text that spells a token which stands for a picture: nobody could tell them apart."""
        reserved = self.tokenizer.convert_ids_to_tokens(sorted(self.image_token_ids)) if self.can_see else ()
        for message in prompt.messages:
            for token in reserved:
                if token in message.text:
                    raise InputError(
                        f"the text contains '{token}', which stands for a picture here; leave it out and give pictures "
                        "as `images` or as image parts of a message"
                    )

    def _encode_with_pictures(self, prompt: Prompt) -> dict[str, Any]:
        if not hasattr(self.processor, "image_processor"):
            raise InputError("pictures were given, but no image processor; pass (model, processor), not a tokenizer")
        pictures = iter(prompt.images)
        chat = prompt.as_chat()
        for message in chat:
            message["content"] = [
                {**part, "image": next(pictures)} if part["type"] == "image" else part for part in message["content"]
            ]
        return dict(
            self.processor.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        )

    def _encode_text(self, prompt: Prompt) -> dict[str, Any]:
        tokenizer = self.tokenizer
        template = getattr(self.processor, "chat_template", None) or tokenizer.chat_template
        if template is None:
            text = "\n".join(message.text for message in prompt.messages)
            return {"input_ids": tokenizer(text, return_tensors="pt")["input_ids"]}
        # Templates of VLMs want parts, those of text models want plain strings.
        chat = prompt.as_chat() if self.can_see else [{"role": m.role, "content": m.text} for m in prompt.messages]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        has_bos = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        return {"input_ids": tokenizer(text, return_tensors="pt", add_special_tokens=not has_bos)["input_ids"]}

    def _place(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(self.device, self.dtype if value.is_floating_point() else None)
        return value
