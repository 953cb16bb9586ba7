"""A family's language model as one function of tensors: embeddings, positions, masks in; hidden states, logits out.

It is made of transformers' own modules; what it remembers is the cache that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead.compat import Cache, cache_argument, cache_in


class Language(nn.Module):
    """A decoder and its head."""

    def __init__(self, model: PreTrainedModel, kinds: Sequence[str]) -> None:
        """`kinds`: types of attention layers, each with a mask of its own."""
        super().__init__()
        self.decoder, self.head = model.get_decoder(), model.get_output_embeddings()
        self._kinds = tuple(kinds)
        self._cache_argument = cache_argument(self.decoder.forward)
        self._config = model.config.get_text_config()

    def states(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        masks: Sequence[torch.Tensor],
        additions: Sequence[torch.Tensor],
        cache: Cache,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The last hidden states [1, new, width], and those before each layer.

        `embeddings` [1, new, width], `positions` [1, new] or [3, 1, new], `masks` [1, 1, new, all] to be added.
        `additions` [1, new, width] are added after the first layers.
        """
        mask: Any = dict(zip(self._kinds, masks, strict=True)) if len(masks) > 1 else masks[0]
        arguments = {"inputs_embeds": embeddings, "position_ids": positions, "attention_mask": mask, "use_cache": True}
        with _followed(self.decoder.layers, additions) as before:
            outputs = self.decoder(**arguments, **{self._cache_argument: cache})
        return outputs.last_hidden_state, before

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., vocabulary], with what Cohere, Granite and Gemma do to them after the head."""
        logits: torch.Tensor = self.head(hidden) * float(getattr(self._config, "logit_scale", None) or 1.0)
        logits = logits / float(getattr(self._config, "logits_scaling", None) or 1.0)
        cap = getattr(self._config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap


@contextmanager
def _followed(layers: Any, additions: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Inside, the first layers are followed by their additions; the list fills with what each layer reads."""
    before: list[torch.Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        before.append(args[0] if args else kwargs["hidden_states"])

    def added(number: int) -> Any:
        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return output + additions[number]

        return after

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    handles += [layers[number].register_forward_hook(added(number)) for number in range(len(additions))]
    try:
        yield before
    finally:
        for handle in handles:
            handle.remove()


class StateShape(NamedTuple):
    """Of one layer's keys, or of its values."""

    heads: int
    width: int


@torch.no_grad()
def state_shapes(model: PreTrainedModel) -> list[StateShape]:
    """Of each layer's keys and values, one after the other, from a pass over one token."""
    decoder = model.get_decoder()
    weight = next(decoder.parameters())
    embedded = weight.new_zeros(1, 1, model.config.get_text_config().hidden_size)
    cache = cache_in(decoder(inputs_embeds=embedded, use_cache=True))
    return [StateShape(*states.shape[1::2]) for layer in cache.layers for states in (layer.keys, layer.values)]


def with_places(shapes: Sequence[StateShape]) -> list[tuple[StateShape, int]]:
    """Each shape, and its place among those that are alike, which lie in one buffer."""
    return [(shape, shapes[:number].count(shape)) for number, shape in enumerate(shapes)]
