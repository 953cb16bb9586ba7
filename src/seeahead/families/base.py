"""Runs any transformers decoder or vision-language model behind the executor seam, without touching its code.

`Family` by itself serves plain text decoders and LLaVA-style models; the other families override the few lines in
which they differ: positions, masks, image markers.
"""

from __future__ import annotations

import inspect
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from seeahead.cache import SessionCache
from seeahead.compat import cache_argument, prepares_on_its_own, rotary_index
from seeahead.errors import InputError, ModelError
from seeahead.executor import ModelInputs, Prefilled, Scores
from seeahead.families.encoding import PromptEncoder
from seeahead.families.fused import FusedDecoder, fused_decoder
from seeahead.families.inspection import (
    borders_of,
    check_model,
    context_of,
    fingerprint,
    place_of,
    unwrapped,
)
from seeahead.families.processors import mismatch_told


class Family(PromptEncoder):
    """A transformers model (and, where prompts are to be encoded, its processor or tokenizer) as an `Executor`."""

    name: ClassVar[str] = "text"

    answer_type: ClassVar[int] = 0
    """Type id of an answer's tokens, in models that take type ids beside token ids."""

    def __init__(self, model: PreTrainedModel, processor: Any = None) -> None:
        """`model` may be wrapped by torch.compile or PEFT; it is left as it is. Raises ModelError (`inspection`)."""
        self.given = model
        self.processor = processor
        self._fused: FusedDecoder | None = None
        self._wants_fused = False
        self._look()

    def _look(self) -> None:
        self.model = unwrapped(self.given)
        check_model(self.model)
        self.text_config = self.model.config.get_text_config()
        self.vocab_size: int = self.text_config.vocab_size
        self.max_length: int | None = context_of(self.text_config)
        self.device: torch.device = place_of(self.model)
        self.dtype: torch.dtype = self.model.dtype
        self._cache_argument = cache_argument(self.model.forward)
        self._rotary_index = rotary_index(self.model)
        self._borders = borders_of(self.text_config)
        self._reads_anew = bool(self._borders) and prepares_on_its_own(self.model)
        forward = inspect.signature(self.model.forward).parameters
        self._last_logits_only = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}
        self.seen = fingerprint(self.model)

    def follow(self) -> bool:
        """Look at the model again before an answer; whether it has changed since the last look.

        An adapter, a hook, other weights or another attention are followed; a model that cannot be exact any more, or
        that was moved to another device or type, is refused with ModelError: drafters were made for where it was.
        """
        model = unwrapped(self.given)
        is_same = model is self.model and fingerprint(model) == self.seen
        if is_same and (self._fused is None or self._fused.is_current()):
            return False
        device, dtype = self.device, self.dtype
        self.seen = ()  # what is refused now is looked at again, and refused again, before the next answer
        if (place_of(model), model.dtype) != (device, dtype):
            raise ModelError(
                f"the model was moved from {device} in {dtype} to {model.device} in {model.dtype} after it was loaded; "
                "load it again where it is now"
            )
        self._look()
        if self._wants_fused:
            self.fuse()
        return True

    def fuse(self) -> bool:
        """Let decoding steps run through fused projections where the language model is a plain Llama.

        Says whether it was. The model's weights become views of fused ones: for models that nobody else rearranges.
        """
        self._wants_fused = True
        self._fused = fused_decoder(self.model)
        return self._fused is not None

    @property
    def is_fused(self) -> bool:
        return self._fused is not None

    def most_nodes(self, position: int) -> int | None:
        """Most nodes that a pass may hold beside a root at `position`; None: any number.

        Some rotary factors change once a pass reaches a border: LongRoPE's for all rows of it, dynamic ones with every
        further position. So drafts end before the border, and beyond a dynamic one there are none. Nor do they reach
        beyond the context, where learned positions have no row.
        """
        most = [border.position - 1 - position for border in self._borders if position < border.position]
        most += [0 for border in self._borders if border.is_dynamic and position >= border.position]
        if self.max_length is not None:
            most.append(max(0, self.max_length - 1 - position))
        return min(most, default=None)

    def crosses_border(self, length: int, num_more: int) -> bool:
        """Whether rotary factors change somewhere from the prefill of `length` tokens to `num_more` tokens later."""
        return any(
            length <= border.position < length + num_more or (border.is_dynamic and length >= border.position)
            for border in self._borders
        )

    def longest_after(self, length: int) -> int | None:
        """Most tokens of prompt and answer together, after a prompt of `length`; None without limit.

        Phi-3 reads everything anew where its LongRoPE factors change: an answer ends there.
        """
        if self._reads_anew:
            borders = [border.position for border in self._borders if length <= border.position]
            return min([*borders, *([] if self.max_length is None else [self.max_length])], default=None)
        return self.max_length

    # ---- the executor seam

    @property
    def width(self) -> int:
        return int(self.text_config.hidden_size)

    @torch.inference_mode()
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.get_input_embeddings()(tokens)
        # Granite scales what its first layer reads outside of the table.
        return embedded * float(getattr(self.text_config, "embedding_multiplier", 1.0))

    def head_rows(self, tokens: torch.Tensor) -> torch.Tensor:
        head: Any = self.model.get_output_embeddings()
        rows: torch.Tensor = head.weight.detach()[tokens.to(self.device)]
        return rows

    def new_cache(self, capacity: int) -> SessionCache:
        return SessionCache(self.text_config.num_hidden_layers, capacity)

    def prefill(
        self, inputs: ModelInputs, cache: SessionCache, wants_features: bool, wants_embeddings: bool = False
    ) -> Prefilled:
        self._check_length(inputs.token_ids.shape[1])
        extras, shift = dict(inputs.extras), 0
        positions = self.prompt_positions(inputs)
        if positions is not None:
            # A fourth row, where there is one, comes first and counts tokens.
            shift = int(positions[-3:].max()) + 1 - inputs.token_ids.shape[1]
            extras["position_ids"] = positions
        with mismatch_told(self.processor):
            outputs = self._run(
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
            return self._fused.decoder.forward(tokens, positions, visible, cache, wants_features)
        outputs = self._run(
            input_ids=tokens,
            position_ids=self.positions(positions),
            attention_mask=None if visible is None else self.masks(visible),
            use_cache=True,
            output_hidden_states=wants_features,
            **{self._cache_argument: cache},
        )
        return _scores(outputs, wants_features)

    def _check_length(self, length: int) -> None:
        """Dynamic factors of a longer prompt depend on the prompts before it: no answer could be had twice."""
        border = min((one.position for one in self._borders if one.is_dynamic), default=None)
        if border is not None and length >= border:
            raise InputError(
                f"the prompt has {length} tokens; from {border} on, its dynamic rotary factors depend on "
                "what it read before, so that its answers cannot be reproduced; shorten the prompt"
            )

    def _run(self, **arguments: Any) -> Any:
        # Rotary factors that change with the longest row are kept on the model: one pass at a time, over all threads.
        with _one_at_a_time(self.model) if self._borders else nullcontext():
            return self.model(**arguments)

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

    def text_inputs(self, token_ids: torch.Tensor) -> ModelInputs:
        """Inputs of a prompt without images, from its tokens [1, length]."""
        return ModelInputs(token_ids)

    def positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Position ids as the model takes them, from positions [batch, tokens]: M-RoPE models want three alike."""
        return positions if self._rotary_index is None else positions.expand(3, *positions.shape)

    def masks(self, visible: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """The attention mask as the model takes it, from `visible` [batch, tokens, cached + tokens].

        Where layers of several types mix, each type takes a mask of its own; one mask for all would be silently wrong
        once the text is longer than the window.
        """
        masks = {kind: self.additive_mask(self.visible_in(kind, visible)) for kind in self.layer_types}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    @property
    def layer_types(self) -> tuple[str, ...]:
        """The types of attention layers, each once; a config without a list of them has one type."""
        named = getattr(self.text_config, "layer_types", None)
        if named:
            return tuple(sorted(set(named)))
        for kind, setting in (("sliding_attention", "sliding_window"), ("chunked_attention", "attention_chunk_size")):
            if getattr(self.text_config, setting, None) is not None:
                return (kind,)
        return ("full_attention",)

    def visible_in(self, kind: str, visible: torch.Tensor) -> torch.Tensor:
        """What is left of `visible` in a layer of this type.

        Windows and chunks count the tokens a token sees, along its own branch: not columns (siblings lie between), and
        not positions (M-RoPE ones jump at pictures).
        """
        if kind == "sliding_attention":
            num_seen_from = visible.flip(-1).cumsum(-1).flip(-1)
            is_near: torch.Tensor = num_seen_from <= self.text_config.sliding_window
            return visible & is_near
        if kind == "chunked_attention":
            chunks: torch.Tensor = (visible.cumsum(-1) - 1) // self.text_config.attention_chunk_size
            return visible & (chunks == chunks[..., -1:])
        return visible

    def additive_mask(self, visible: torch.Tensor) -> torch.Tensor:
        """[batch, 1, tokens, cached + tokens]: 0 where visible, the type's lowest number elsewhere."""
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(~visible, torch.finfo(self.dtype).min)[:, None]


_locks: WeakKeyDictionary[PreTrainedModel, threading.Lock] = WeakKeyDictionary()


def _one_at_a_time(model: PreTrainedModel) -> threading.Lock:
    return _locks.setdefault(model, threading.Lock())


def _scores(outputs: Any, wants_features: bool, last_only: bool = False) -> Scores:
    logits = outputs.logits[:, -1:] if last_only else outputs.logits
    return Scores(logits, outputs.hidden_states[-1] if wants_features else None)
