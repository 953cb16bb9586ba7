"""A decoder and its head as one function of tensors, written so that it can be traced: see `conversion`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead.compat import Cache
from seeahead.executors.attending import PassLayer, attention_by
from seeahead.executors.language import Language
from seeahead.executors.paged_attention import AttentionFacts, PagedAttention


class Traceable(Language):
    """A language model as a function of tensors that keeps nothing between calls, over tokens of several sequences.

    Each token is a batch entry of its own, of one place: attention knows by its tables whom it follows, and nothing
    moves between heads and tokens. `facts`: of its layers' attention, once it was called; `refused`: why it could not
    be.
    """

    def __init__(self, model: PreTrainedModel, kinds: Sequence[str]) -> None:
        super().__init__(model, kinds)
        self._paged = PagedAttention()
        num_layers = len(list(self.decoder.layers))
        self._layer_kinds = list(getattr(self._config, "layer_types", None) or [kinds[0]] * num_layers)
        self.facts: list[AttentionFacts] = []
        self.refused = ""

    def attend(
        self, layer: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **settings: Any
    ) -> tuple[torch.Tensor, None]:
        """As transformers' attention: `query` [tokens, heads, 1, width] to [tokens, 1, heads, width]."""
        kind, scale = self._layer_kinds[len(self.facts)], settings.get("scaling")
        unknown = [name for name in ("softcap", "s_aux") if settings.get(name) is not None]
        if kind not in ("full_attention", "sliding_attention"):
            unknown.append(kind.replace("_", " "))
        if unknown:
            self.refused = f"its layers attend with {unknown[0]}, which OpenVINO's attention over pages does not know"
            raise NotImplementedError(self.refused)
        window = self._config.sliding_window if kind == "sliding_attention" else 0
        heads, width, value_width = int(query.shape[1]), int(query.shape[3]), int(value.shape[3])
        scale = width**-0.5 if scale is None else float(scale)
        self.facts.append(AttentionFacts(heads, int(key.shape[1]), width, value_width, scale, int(window)))
        found = self._paged(*(_side_by_side(states) for states in (query, key, value)))
        return found.reshape(-1, 1, heads, value_width), None

    def forward(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        rows: torch.Tensor,
        additions: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, ...]:
        """Logits of `rows`, the last hidden states, those before each layer but the first.

        `embeddings` [tokens, 1, width]; `positions` [tokens, 1] or [axes, tokens, 1]. `additions`: what is added after
        the first layers, each [tokens, 1, width].
        """
        self.facts.clear()
        masks = [embeddings.new_zeros(1, 1, 1, 1)] * len(self._kinds)  # attention has tables of its own
        layers = [PassLayer() for _ in self._layer_kinds]
        with attention_by(self._config, self.attend):
            last, before = self.states(embeddings, positions, masks, additions, Cache(layers=list(layers)))
        return self.logits(last.index_select(0, rows)), last, *before[1:]


def _side_by_side(states: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, 1, width] as [tokens, heads * width]."""
    heads, width = int(states.shape[1]), int(states.shape[3])
    return states.transpose(1, 2).reshape(-1, heads * width)
