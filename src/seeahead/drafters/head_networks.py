"""Drafter networks that authors published, on one layer with switches (`feature_decoder`).

EAGLE-3 (Li et al. 2025) reads three inner states of the target; ViSpec (Kang et al. 2025) reads an image as a few slots
and gives every later text slot what it looks like as a whole; EAGLE-1 and MSD are `msd`'s network with another layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeahead.drafters.feature_decoder import PLAIN, FeatureDecoder, Rotation
from seeahead.drafters.features import Beginning, FeatureNetwork, Slots
from seeahead.drafters.msd import MsdNetwork
from seeahead.executor import FEATURES
from seeahead.executors.norm import rms_norm

NUM_STATES = 3
"""Inner states of the target that EAGLE-3 reads, where nothing else is said."""


@dataclass(frozen=True)
class Dialect:
    """What the files of a drafter may leave open, or say wrongly; a probe can tell (`probe`).

    `layers`: the target's states that are read. `carries_norm`: as in `Form`. `is_next`: on three axes slot j has the
    position of token j + 1, less one, else that of token j. `visual`: an image's slots hold a "placeholder"'s
    embedding, what the target sees there ("seen"), or that without a feature beside it ("alone")."""

    rotation: Rotation = PLAIN
    layers: tuple[int, ...] = FEATURES
    carries_norm: bool = False
    is_next: bool = False
    visual: str = "seen"


class HeadNetwork(FeatureNetwork):
    """A published network in one dialect."""

    decoder: FeatureDecoder
    reads_markers = False
    dialect: Dialect


Network = TypeVar("Network", bound=FeatureNetwork)


def spoken(network: Network, dialect: Dialect) -> Network:
    """The same weights, read in another dialect."""
    other, decoder = copy(network), network.decoder
    assert isinstance(decoder, FeatureDecoder)
    form = replace(decoder.form, rotation=dialect.rotation, carries_norm=dialect.carries_norm)
    other._modules = {**network._modules, "decoder": decoder.spoken(form)}
    other.dialect = dialect  # type: ignore[assignment]
    return other


class CoupledNetwork(MsdNetwork):
    """EAGLE-1 for VLMs, whose visual slots are joined with features as text is, or MSD, whose are not."""

    reads_markers = False
    dialect = Dialect()

    @property
    def is_decoupled(self) -> bool:
        return self.dialect.visual == "alone"


class Eagle3Network(HeadNetwork):
    """Slots are embedding and feature side by side; the feature is one of several inner states of the target.

    `norms`: "chunks", each state has a norm before `fc`; "whole", all together have one; or "none"."""

    def __init__(self, decoder: FeatureDecoder, target_width: int, num_states: int, norms: str = "none") -> None:
        super().__init__()
        self.decoder, self.dialect, self._target_width = decoder, Dialect(), target_width
        self.fc = nn.Linear(num_states * target_width, decoder.config.hidden_size, bias=False)
        sizes = {"none": [], "whole": [num_states * target_width], "chunks": [target_width] * num_states}[norms]
        self.state_norms = nn.ParameterList(nn.Parameter(torch.ones(size)) for size in sizes)

    @property
    def layers(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.dialect.layers

    @property
    def sees(self) -> bool:  # type: ignore[override]
        return self.dialect.visual == "seen"

    @property
    def has_axes(self) -> bool:  # type: ignore[override]
        return bool(self.dialect.rotation.sections)

    @property
    def target_width(self) -> int:
        return self._target_width

    def features(self, states: Mapping[int, Tensor]) -> Tensor:
        read, eps, norms = [states[layer] for layer in self.layers], self.decoder.config.rms_norm_eps, self.state_norms
        if len(norms) == len(read):
            read = [rms_norm(state, norm, eps) for state, norm in zip(read, norms, strict=True)]
        joined = torch.cat(read, -1)
        fused: Tensor = self.fc(rms_norm(joined, norms[0], eps) if len(norms) == 1 else joined)
        return fused

    def text(self, embeddings: Tensor, features: Tensor, image: Tensor | None = None) -> Tensor:
        return torch.cat((embeddings, features), -1)

    def begin(self, slots: Slots) -> Beginning:
        placed = slots.positions
        if placed is not None:
            placed = placed[:, 1:] - 1 if self.dialect.is_next else placed[:, :-1]
        return Beginning(self.text(slots.embeddings, slots.features), placed)


class ImageAdaptor(nn.Module):
    """ViSpec's: learned queries attend over an image's embeddings; the last one's answer stands for the whole image."""

    def __init__(self, num_queries: int, heads: int, width: int, has_bias: bool) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.zeros(num_queries, heads, width // heads))
        self.k_proj, self.v_proj = (nn.Linear(width, width, bias=has_bias) for _ in range(2))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Of an image [tokens, width]: its slots [queries - 1, width], and what it is as a whole [width]."""
        query = self.q.transpose(0, 1)
        parts = (one(visual).unflatten(-1, query.shape[::2]).transpose(0, 1) for one in (self.k_proj, self.v_proj))
        gathered = F.scaled_dot_product_attention(query[None], *(part[None] for part in parts))[0]
        answers: Tensor = self.o_proj(gathered.transpose(0, 1).flatten(1))
        return answers[:-1], answers[-1]


class ViSpecNetwork(HeadNetwork):
    """`img_fc` joins each feature with the last image before it, `fc` an embedding with that."""

    def __init__(self, decoder: FeatureDecoder, adaptor: ImageAdaptor, has_bias: bool = True) -> None:
        super().__init__()
        width = decoder.config.hidden_size
        self.decoder, self.adaptor, self.dialect = decoder, adaptor, Dialect()
        self.fc, self.img_fc = (nn.Linear(2 * width, width, bias=has_bias) for _ in range(2))

    def text(self, embeddings: Tensor, features: Tensor, image: Tensor | None = None) -> Tensor:
        """Embedding first in `fc`, feature first in `img_fc`."""
        image = torch.zeros_like(features) if image is None else image.expand_as(features)
        fused: Tensor = self.fc(torch.cat((embeddings, self.img_fc(torch.cat((features, image), -1))), -1))
        return fused

    def begin(self, slots: Slots) -> Beginning:
        """Text keeps the places of its slots; an image's few slots have the last ones of its own."""
        parts, places, image, start = list[Tensor](), list[int](), None, 0
        for is_visual, run in groupby(slots.is_visual.tolist()):
            end = start + len(list(run))
            embeddings = slots.embeddings[start:end]
            if is_visual:
                few, image = self.adaptor(embeddings)
                parts.append(few)
                places += range(end - len(few), end)
            else:
                parts.append(self.text(embeddings, slots.features[start:end], image))
                places += range(start, end)
            start = end
        return Beginning(torch.cat(parts), torch.tensor([places], device=slots.embeddings.device), image)


def default_layers(num_layers: int) -> tuple[int, ...]:
    """EAGLE-3's: what layers 2, n // 2 and n - 3 read."""
    return min(2, num_layers - 1), num_layers // 2, max(0, num_layers - 3)


def shifted_layers(layers: Sequence[int], by: int, num_layers: int) -> tuple[int, ...]:
    """The same ones, `by` later, as far as there are layers: after the last of them are the target's last states."""
    counted = (num_layers if layer == FEATURES[0] else layer for layer in layers)
    moved = (min(max(layer + by, 0), num_layers) for layer in counted)
    return tuple(FEATURES[0] if layer == num_layers else layer for layer in moved)
