"""The layers of drafters on a target's features, with the switches in which published ones differ.

What is not switched is `executors/llama`'s. Positions are computed and not looked up, since many published configs
name the length of their training texts as the longest there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from seeahead.compat import scaled_rotation
from seeahead.executor import Limits, PromptInputs, Scores, Want
from seeahead.executors.llama import Layer, Llama, LlamaShape
from seeahead.executors.norm import rms_norm
from seeahead.executors.slots import TorchSlot


@dataclass(frozen=True)
class Rotation:
    """Rotary positions in the rotate-half layout, on one axis or on the three of M-RoPE.

    `sections`: how many pairs of a head's numbers follow the axes time, height and width; none: there is one axis.
    They lie one after the other (Qwen2.5-VL) or interleaved (Qwen3-VL). `scaling`: names and values of a config's
    table, where frequencies are stretched."""

    theta: float = 10000.0
    sections: tuple[int, ...] = ()
    is_interleaved: bool = False
    scaling: tuple[tuple[str, Any], ...] = ()

    def factors(self, positions: Tensor, width: int) -> Tensor:
        """Cosines and sines [2, rows, tokens, width] at `positions`, in float32: [rows, tokens], or on three axes
        [3, tokens], which are one row."""
        axes, frequencies, factor = _pairs(self, width, positions.device)
        placed = positions[axes].T[None] if self.sections and len(positions) == 3 else positions[..., None]
        angles = (placed.float() * frequencies).repeat(1, 1, 2)
        turned = torch.stack((angles.cos(), angles.sin()))
        return turned if factor == 1 else turned * factor


@cache
def _pairs(rotation: Rotation, width: int, device: torch.device) -> tuple[Tensor, Tensor, float]:
    """Of each pair of a head of `width`: its axis and its frequency, both [width / 2]; and what cosines and sines are
    multiplied by."""
    with torch.inference_mode(False):
        number = torch.arange(width // 2, device=device)
        axes = torch.zeros_like(number)
        if rotation.sections and rotation.is_interleaved:
            for axis in (1, 2):
                axes[(number % 3 == axis) & (number < 3 * rotation.sections[axis])] = axis
        elif rotation.sections:
            ends = torch.tensor(rotation.sections, device=device).cumsum(0)
            axes = torch.bucketize(number, ends, right=True).clamp_max(2)
        if rotation.scaling:
            frequencies, factor = scaled_rotation({**dict(rotation.scaling), "rope_theta": rotation.theta}, width)
            return axes, frequencies.to(device), factor
        return axes, rotation.theta ** -(2 * number.float() / width), 1.0


PLAIN = Rotation()


@dataclass(frozen=True)
class Form:
    """What a layer is made of. The defaults are a plain Llama's.

    `joins`: the first layer's attention reads a norm of the embedding beside one of the feature (EAGLE-3), else
    `has_input_norm`; later layers have one. `last_norm`: of what is fed back and goes to the head ("fed"), of the
    latter alone ("head"), or "none". `carries_norm`: what goes past the joined attention is the normed feature."""

    joins: bool = False
    has_input_norm: bool = True
    has_bias: bool = False
    has_head_norms: bool = False
    last_norm: str = "fed"
    carries_norm: bool = False
    rotation: Rotation = PLAIN


class FeatureLayer(Layer):
    """Weights of one layer; `joins` as in its form."""

    def __init__(self, shape: LlamaShape, form: Form, joins: bool) -> None:
        super().__init__(shape)
        width, size = shape.hidden_size * (2 if joins else 1), shape.head_dim
        self.qkv = nn.Linear(width, self.qkv.out_features, bias=form.has_bias)
        if joins:
            self.feature_norm = nn.Parameter(torch.ones(shape.hidden_size))
        if form.has_head_norms:
            self.query_norm, self.key_norm = (nn.Parameter(torch.ones(size)) for _ in range(2))


class FeatureDecoder(Llama):
    """Reads what a drafter made of embeddings and features [tokens, width], twice as wide where they are joined.

    Its last hidden states are what is fed back as the next feature. The head is put in when there is a target."""

    def __init__(self, shape: LlamaShape, form: Form) -> None:
        super().__init__(replace(shape, vocab_size=1, max_position_embeddings=1, tie_word_embeddings=False))
        self.form = form
        self.layers = nn.ModuleList(
            FeatureLayer(shape, form, form.joins and index == 0) for index in range(shape.num_hidden_layers)
        )
        self.add_module("head", nn.Identity())

    @property
    def limits(self) -> Limits:
        return replace(super().limits, max_length=None)

    def spoken(self, form: Form) -> FeatureDecoder:
        """The same weights, read as `form` says."""
        other = copy(self)
        other.form = form
        return other

    def for_head(self, head: nn.Module) -> nn.Module:
        # With the norm before it where that is not fed back.
        return NormedHead(self.norm, self.config.rms_norm_eps, head) if self.form.last_norm == "head" else head

    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        positions = prompts[0].inputs.extras.get("position_ids")
        if positions is None:
            return super().prefill(prompts, want)
        [prompt] = prompts
        assert isinstance(prompt.slot, TorchSlot)
        scores = self.read([prompt.slot], [prompt.inputs.extras["inputs_embeds"]], want, positions)
        prompt.slot.shift = int(positions.max()) + 1 - prompt.slot.length
        return scores

    def rotation_at(self, positions: Tensor) -> Tensor:
        return self.form.rotation.factors(positions, self.config.head_dim).to(self.norm.dtype)

    def projected(self, index: int, x: Tensor) -> Tensor:
        layer, config = self.layers[index], self.config
        assert isinstance(layer, FeatureLayer)
        if self.form.joins and index == 0:
            embedded = rms_norm(x.chunk(2, -1)[0], layer.attention_norm, config.rms_norm_eps)
            x = torch.cat((embedded, self._normed(x)), -1)
        elif self.form.has_input_norm or index:
            x = rms_norm(x, layer.attention_norm, config.rms_norm_eps)
        states: Tensor = layer.qkv(x)
        if not self.form.has_head_norms:
            return states
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        parts = states.unflatten(-1, (-1, config.head_dim)).split((heads, kv_heads, kv_heads), -2)
        query, key = (
            rms_norm(part, norm, config.rms_norm_eps) for part, norm in zip(parts, (layer.query_norm, layer.key_norm))
        )
        return torch.cat((query, key, parts[2]), -2).flatten(-2)

    def carried(self, index: int, x: Tensor) -> Tensor:
        if not self.form.joins or index:
            return x
        return self._normed(x) if self.form.carries_norm else x.chunk(2, -1)[1]

    def _normed(self, x: Tensor) -> Tensor:
        """The features of what a joined layer reads."""
        return rms_norm(x.chunk(2, -1)[1], self.layers[0].feature_norm, self.config.rms_norm_eps)  # type: ignore[arg-type]

    def last(self, x: Tensor) -> Tensor:
        return super().last(x) if self.form.last_norm == "fed" else x


class NormedHead(nn.Module):
    """A head that reads the norm of what is fed back."""

    def __init__(self, norm: nn.Parameter, eps: float, head: nn.Module) -> None:
        super().__init__()
        self.norm, self.eps, self.head = norm, eps, head

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(rms_norm(features, self.norm, self.eps))
        return logits
