"""What is particular about a transformers model: its prompts, positions, masks, image markers and limits.

`Family` by itself serves plain text decoders and LLaVA-style models; the other families override the few lines in
which they differ. Passes are the executor's business (`executors`).
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from seeahead.compat import cache_argument, prepares_on_its_own, rotary_index
from seeahead.errors import InputError, ModelError
from seeahead.executor import ModelExecutor, ModelInputs
from seeahead.executors.transformers import TransformersExecutor
from seeahead.families.encoding import PromptEncoder
from seeahead.families.inspection import (
    WINDOWS,
    borders_of,
    check_model,
    context_of,
    fingerprint,
    place_of,
    unwrapped,
)
from seeahead.families.processors import mismatch_told


class Family(PromptEncoder):
    """A transformers model and, where prompts are to be encoded, its processor or tokenizer."""

    answer_type: ClassVar[int] = 0
    """Type id of an answer's tokens, in models that take type ids beside token ids."""

    reads_places: ClassVar[bool] = False
    """Whether layers read a token's place off the cache, where that of a tree's node is not its column."""

    def __init__(self, model: PreTrainedModel, processor: Any = None) -> None:
        """`model` may be wrapped by torch.compile or PEFT. It is left as it is, but that a model inside gets the
        generation config that its wrapper was given, as PEFT's own `generate` has it. Raises ModelError."""
        self.given = model
        self.processor = processor
        self._look()
        self._followed = self.seen  # by the executor

    def _inside(self) -> PreTrainedModel:
        """The model in its wrappers, with the generation config that the outermost was given: PEFT hands it in only
        when its own `generate` is called."""
        model, config = unwrapped(self.given), vars(self.given).get("generation_config")
        if config is not None:
            model.generation_config = config
        return model

    def _look(self) -> None:
        self.model = self._inside()
        with _one_at_a_time(self.model):  # a pass in another thread gives the attention another name
            check_model(self.model)
            seen = fingerprint(self.model)
        self.text_config = self.model.config.get_text_config()
        self.vocab_size: int = self.text_config.vocab_size
        self.max_length: int | None = context_of(self.text_config)
        self.device: torch.device = place_of(self.model)
        self.dtype: torch.dtype = self.model.dtype
        self.can_cut = True
        self.cache_argument = cache_argument(self.model.forward)
        self._rotary_index = rotary_index(self.model)
        self._borders, self._dynamic = borders_of(self.text_config)
        self._reads_anew = prepares_on_its_own(self.model)
        forward = inspect.signature(self.model.forward).parameters
        self.last_logits_only: Mapping[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}
        self.seen = seen

    def follow(self) -> bool:
        """Look at the model again before an answer; whether it has changed since the last look.

        An adapter, a hook, other weights or another attention are followed; a model that cannot be exact any more, or
        that was moved to another device or type, is refused with ModelError: drafters were made for where it was.
        """
        model = self._inside()
        with self.alone():
            is_same = model is self.model and fingerprint(model) == self.seen
        if is_same and self.executor.is_current():
            return False
        device, dtype = self.device, self.dtype
        self.seen = ()  # what is refused now is looked at again, and refused again, before the next answer
        if (place_of(model), model.dtype) != (device, dtype):
            raise ModelError(
                f"the model was moved from {device} in {dtype} to {model.device} in {model.dtype} after it was loaded; "
                "load it again where it is now"
            )
        self._look()
        seen, self.seen = self.seen, ()  # an executor may refuse it too
        if seen != self._followed or not self.executor.is_current():
            self.executor.follow()
        self.seen = self._followed = seen
        return True

    @cached_property
    def executor(self) -> ModelExecutor:
        """Runs the model: transformers, unless another is put in its place."""
        return TransformersExecutor(self)

    def fuse(self) -> bool:
        """See `TransformersExecutor.fuse`."""
        own: Any = self.executor
        return isinstance(own, TransformersExecutor) and own.fuse()

    def most_nodes(self, position: int) -> int | None:
        """Most nodes that a pass may hold beside a root at `position`; None: any number.

        Drafts end before a border of rotary factors; beyond a dynamic one there are none. Nor do they reach beyond the
        context, where learned positions have no row.
        """
        most = [border - 1 - position for border in self._borders if position < border]
        ends = self._dynamic if self.max_length is None else [*self._dynamic, self.max_length]
        return min([*most, *(max(0, end - 1 - position) for end in ends)], default=None)

    def crosses_border(self, length: int, num_more: int) -> bool:
        """Whether rotary factors change somewhere from the prefill of `length` tokens to `num_more` tokens later."""
        is_crossed = any(length <= border < length + num_more for border in self._borders)
        return is_crossed or any(border < length + num_more for border in self._dynamic)

    def longest_after(self, length: int) -> int | None:
        """Most tokens of prompt and answer together, after a prompt of `length`; None without limit.

        Phi-3 reads everything anew where its LongRoPE factors change: an answer ends there.
        """
        ends = [border for border in (*self._borders, *self._dynamic) if length <= border and self._reads_anew]
        return min(ends if self.max_length is None else [*ends, self.max_length], default=None)

    @property
    def width(self) -> int:
        return int(self.text_config.hidden_size)

    def check_length(self, length: int) -> None:
        """Dynamic factors of a longer prompt are those of its length in transformers only if nothing longer was read
        before: what its own `generate` says could not be had twice."""
        border = min(self._dynamic, default=None)
        if border is not None and length >= border:
            raise InputError(
                f"the prompt has {length} tokens; from {border} on, its dynamic rotary factors depend on "
                "what it read before, so that its answers cannot be reproduced; shorten the prompt"
            )

    def indivisible(self, inputs: ModelInputs) -> int:
        """Of a prompt's first tokens, how many are read in one pass: all up to its last image; all there are where
        rotary factors change along the way, or where the model was found to say something else to parts."""
        if not self.can_cut or self.crosses_border(0, inputs.length):
            return inputs.length
        images = self.image_token_ids
        places = [place for place, token in enumerate(inputs.token_ids[0].tolist()) if token in images]
        return max(places, default=-1) + 1

    def faults_told(self) -> AbstractContextManager[None]:
        """Held during a prefill: what the model itself finds wrong with a prompt's images becomes an InputError."""
        return mismatch_told(self.processor)

    def alone(self) -> AbstractContextManager[Any]:
        """Held during a pass: one at a time, over all threads.

        A pass may change what all share: rotary factors that follow the longest row, the name of the attention. Dynamic
        factors are forgotten, which are else those of the longest answer so far."""
        lock = _one_at_a_time(self.model)
        return _without_factors(self.model, lock) if self._dynamic else lock

    @property
    def passes_alone(self) -> bool:
        """Whether a pass is one answer's: rotary factors follow its longest row, so they would be those of others."""
        return bool(self._borders or self._dynamic)

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
        windows = [kind for kind, name in WINDOWS.items() if getattr(self.text_config, name, None) is not None]
        return (*windows, "full_attention")[:1]

    def visible_in(self, kind: str, visible: torch.Tensor) -> torch.Tensor:
        """What is left of `visible` in a layer of this type.

        Windows and chunks count the tokens a token sees, along its own branch: not columns (siblings lie between), and
        not positions (M-RoPE ones jump at images).
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


_locks: WeakKeyDictionary[PreTrainedModel, AbstractContextManager[Any]] = WeakKeyDictionary()


def _one_at_a_time(model: PreTrainedModel) -> AbstractContextManager[Any]:
    return _locks.setdefault(model, threading.RLock())


@contextmanager
def _without_factors(model: PreTrainedModel, lock: AbstractContextManager[Any]) -> Iterator[None]:
    """Inside, the next pass makes its dynamic rotary factors anew, by its own length."""
    with lock:
        for module in model.modules():
            for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
                setattr(module, name, 0)
        yield
