"""Runs any transformers decoder or vision-language model behind the executor seam, without touching its code.

`Family` by itself serves plain text decoders and LLaVA-style models; the other families override the few lines in
which they differ: positions, masks, image markers.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from seeahead.cache import SessionCache, check_can_roll_back
from seeahead.compat import attention_of, cache_argument, rotary_index
from seeahead.errors import ModelError
from seeahead.executor import ModelInputs, Prefilled, Scores
from seeahead.families.encoding import PromptEncoder
from seeahead.families.fused import fused_decoder
from seeahead.models.decoder import Decoder


class Family(PromptEncoder):
    """A transformers model (and, where prompts are to be encoded, its processor or tokenizer) as an `Executor`."""

    name: ClassVar[str] = "text"

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
        attention = attention_of(self.text_config)
        if attention not in (None, "eager", "sdpa"):
            raise ModelError(
                f"attention implementation '{attention}' takes no tree mask; "
                "load the model with attn_implementation='sdpa'"
            )
        self.vocab_size: int = self.text_config.vocab_size
        self.max_length: int | None = getattr(self.text_config, "max_position_embeddings", None)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self._cache_argument = cache_argument(model.forward)
        self._rotary_index = rotary_index(model)
        forward = inspect.signature(model.forward).parameters
        self._fused: Decoder | None = None
        self._last_logits_only = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}

    def fuse(self) -> bool:
        """Let decoding steps run through fused projections where the language model is a plain Llama.

        Says whether it was. The model's weights become views of fused ones: for models that nobody else rearranges.
        """
        self._fused = fused_decoder(self.model)
        return self._fused is not None

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
        extras, shift = dict(inputs.extras), 0
        positions = self.prompt_positions(inputs)
        if positions is not None:
            # A fourth row, where there is one, comes first and counts tokens.
            shift = int(positions[-3:].max()) + 1 - inputs.token_ids.shape[1]
            extras["position_ids"] = positions
        outputs = self.model(
            input_ids=inputs.token_ids,
            use_cache=True,
            output_hidden_states=wants_features or wants_embeddings,
            **{self._cache_argument: cache},
            **extras,
            **self._last_logits_only,
        )
        scores = _scores(outputs, wants_features, last_only=True)
        if wants_embeddings:
            scores = replace(scores, embeddings=outputs.hidden_states[0])
        return Prefilled(scores, shift)

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
            use_cache=True,
            output_hidden_states=wants_features,
            **{self._cache_argument: cache},
        )
        return _scores(outputs, wants_features)

    # ---- where families differ

    def prompt_positions(self, inputs: ModelInputs) -> torch.Tensor | None:
        """Position ids [rows, 1, length] of a prompt; None where every token's position is its index.

        M-RoPE models number an image by its grid, so text after it is shifted. Asked of the model's own function and
        given to its forward, since the model would otherwise keep the shift of its last prompt for all answers.
        """
        given = inputs.extras.get("position_ids")
        if given is not None or self._rotary_index is None:
            return given
        known = inspect.signature(self._rotary_index).parameters
        arguments = {name: value for name, value in inputs.extras.items() if name in known}
        if not any(name.endswith("grid_thw") for name in arguments):
            return None
        positions: torch.Tensor = self._rotary_index(inputs.token_ids, **arguments)[0]
        return positions

    def positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Position ids as the model takes them, from positions [batch, tokens]: M-RoPE models want three alike."""
        return positions if self._rotary_index is None else positions.expand(3, *positions.shape)

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
