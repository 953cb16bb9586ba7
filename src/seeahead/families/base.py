"""Runs any transformers decoder or vision-language model behind the executor seam, without touching its code.

`Family` by itself serves plain text decoders and LLaVA-style models; the other families override the few lines in
which they differ: positions, masks, image markers.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel

from seeahead.cache import SessionCache, check_can_roll_back
from seeahead.errors import InputError, ModelError
from seeahead.executor import ModelInputs, Prefilled, Scores
from seeahead.families.fused import fused_decoder
from seeahead.models.decoder import Decoder
from seeahead.prompt import Prompt
from seeahead.stopping import end_tokens_of


class Family:
    """A transformers model (and, where prompts are to be encoded, its processor or tokenizer) as an `Executor`."""

    name: ClassVar[str] = "text"
    marker_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens around image placeholders that mean nothing without the image, such as start and end markers."""

    def __init__(self, model: PreTrainedModel, processor: Any = None) -> None:
        """Raises ModelError for a model without language head, without roll-back, or without a tree mask."""
        if model.get_output_embeddings() is None:
            raise ModelError(
                f"{type(model).__name__} has no language head; load the model with AutoModelForImageTextToText or "
                "AutoModelForCausalLM"
            )
        self.model = model.eval()
        self.processor = processor
        self.text_config = model.config.get_text_config()
        check_can_roll_back(self.text_config)
        unknown = set(getattr(self.text_config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if unknown:
            raise ModelError(
                f"model type '{model.config.model_type}' has {', '.join(sorted(unknown))} layers, for which no tree "
                "mask is known; use a model with full_attention and sliding_attention layers"
            )
        attention = getattr(self.text_config, "_attn_implementation", None)
        if attention not in (None, "eager", "sdpa"):
            raise ModelError(
                f"attention implementation '{attention}' takes no tree mask; "
                "load the model with attn_implementation='sdpa'"
            )
        self.vocab_size: int = self.text_config.vocab_size
        self.max_length: int | None = getattr(self.text_config, "max_position_embeddings", None)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        forward = inspect.signature(model.forward).parameters
        self._fused: Decoder | None = None
        self._last_logits_only = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}

    def fuse(self) -> bool:
        """Let decoding steps run through fused projections where the language model is a plain Llama.

        Says whether it was. The model's weights become views of fused ones: for models that nobody else rearranges.
        """
        self._fused = fused_decoder(self.model)
        return self._fused is not None

    # ---- prompts

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

    # ---- the executor seam

    @property
    def width(self) -> int:
        return int(self.text_config.hidden_size)

    @torch.inference_mode()
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.get_input_embeddings()(tokens)
        return embedded

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        head: Any = self.model.get_output_embeddings()
        rows: torch.Tensor = head.weight.detach()[tokens.to(self.device)]
        return rows

    def new_cache(self, capacity: int) -> SessionCache:
        return SessionCache(self.text_config.num_hidden_layers, capacity)

    def prefill(
        self, inputs: ModelInputs, cache: SessionCache, wants_features: bool, wants_embeddings: bool = False
    ) -> Prefilled:
        outputs = self.model(
            input_ids=inputs.token_ids,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=wants_features or wants_embeddings,
            **inputs.extras,
            **self._last_logits_only,
        )
        scores = _scores(outputs, wants_features, last_only=True)
        if wants_embeddings:
            scores = replace(scores, embeddings=outputs.hidden_states[0])
        return Prefilled(scores, self.position_shift(inputs))

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor | None,
        cache: SessionCache,
        wants_features: bool,
        embeddings: torch.Tensor | None = None,
    ) -> Scores:
        assert embeddings is None, "transformers models read tokens here"
        if self._fused is not None:
            return self._fused.forward(tokens, positions, visible, cache, wants_features)
        outputs = self.model(
            input_ids=tokens,
            position_ids=self.positions(positions),
            attention_mask=None if visible is None else self.masks(visible),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=wants_features,
        )
        return _scores(outputs, wants_features)

    # ---- where families differ

    def position_shift(self, inputs: ModelInputs) -> int:
        """How far positions of tokens after the prompt are from their index. Called right after its prefill."""
        return 0

    def positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Position ids as the model takes them, from positions [batch, tokens]."""
        return positions

    def masks(self, visible: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """The attention mask as the model takes it, from `visible` [batch, tokens, cached + tokens].

        Where sliding and full attention layers mix, each type of layer takes a mask of its own; one mask for all would
        be silently wrong once the text is longer than the window.
        """
        window = getattr(self.text_config, "sliding_window", None)
        layer_types = getattr(self.text_config, "layer_types", None)
        if window is None or (layer_types and "sliding_attention" not in layer_types):
            return self.additive_mask(visible)
        # A window counts the tokens a token sees, along its own branch: not columns (siblings lie between), and not
        # positions (M-RoPE ones jump at pictures).
        num_seen_from = visible.flip(-1).cumsum(-1).flip(-1)
        sliding = self.additive_mask(visible & (num_seen_from <= window))
        if not layer_types:
            return sliding
        return {"full_attention": self.additive_mask(visible), "sliding_attention": sliding}

    def additive_mask(self, visible: torch.Tensor) -> torch.Tensor:
        """[batch, 1, tokens, cached + tokens]: 0 where visible, the type's lowest number elsewhere."""
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(~visible, torch.finfo(self.dtype).min)[:, None]


def _scores(outputs: Any, wants_features: bool, last_only: bool = False) -> Scores:
    logits = outputs.logits[:, -1:] if last_only else outputs.logits
    return Scores(logits, outputs.hidden_states[-1] if wants_features else None)
