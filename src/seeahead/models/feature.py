"""The network of a feature drafter: one decoder layer on the target's last hidden states (EAGLE, Li et al. 2024; MSD).

A slot stands for a token whose successor is to be guessed. Decoupled (MSD, Lin et al. 2025, section 3), a text slot
reads fc([embedding of the token; the target's feature before it]), a visual slot the visual embedding itself. Coupled,
every slot goes through fc: plain EAGLE-2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from seeahead.checked import checked, flag, one_of, placed, whole
from seeahead.errors import ModelError
from seeahead.models.adapter import pooled
from seeahead.models.checkpoint import fuse, read_layers, unfuse
from seeahead.models.decoder import Decoder, DecoderConfig
from seeahead.models.packed import pack_rounded

CONFIG_KEY = "feature_drafter"
"""In the drafter's config.json."""
VISUAL = ("full", "pooled", "query", "dropped")


@dataclass(frozen=True)
class FeatureOptions:
    """`visual`: what becomes of a picture's slots; pooled to `num_tokens`, one learned query, or none at all."""

    is_decoupled: Annotated[bool, flag()] = True
    visual: Annotated[str, one_of(VISUAL)] = "full"
    num_tokens: Annotated[int, whole(0, 1 << 20)] = 16

    @classmethod
    def from_json(cls, values: object) -> FeatureOptions:
        """Raises ModelError for what is no such table."""
        return checked(cls, values, f"'{CONFIG_KEY}' in the drafter's config.json", ModelError)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Slots:
    """What a drafter reads of a text: `embeddings` of the tokens, `features` [slots, width] of the positions before.

    `is_visual` [slots]: the token is a picture's."""

    embeddings: Tensor
    features: Tensor
    is_visual: Tensor


class FeatureNetwork(nn.Module):
    """`decoder` has one layer of the target's width, and no embedding or head of its own."""

    def __init__(self, config: DecoderConfig, options: FeatureOptions) -> None:
        super().__init__()
        width = config.hidden_size
        self.options = options
        self.fc = nn.Linear(2 * width, width)
        self.decoder = Decoder(config)
        # Both are the target's; the layer itself ends in features.
        self.decoder.embedding = nn.Embedding(1, width)
        self.decoder.add_module("head", nn.Identity())
        self.query = nn.Parameter(torch.zeros(width)) if options.visual == "query" else None

    @classmethod
    def beside(cls, model: Any, options: FeatureOptions, longest: int) -> FeatureNetwork:
        """For a transformers `model` as target, to be trained. Starts as the target's own last layer and norm where
        these are plain Llama's, with fc letting the feature through; else at random.

        The released code starts at random; from the last layer, the same minutes get further."""
        text = model.config.get_text_config()
        network = cls(DecoderConfig.for_features(text, longest), options)
        decoder = model.get_decoder()
        found = {f"model.layers.0.{name}": value for name, value in decoder.layers[-1].state_dict().items()}
        found["model.norm.weight"] = decoder.norm.weight
        ours = unfuse(network.decoder)
        if {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in ours.items()}:
            network.decoder.load_state_dict(fuse(found, network.decoder.config), strict=False)
        width = network.fc.out_features
        with torch.no_grad():
            network.fc.weight[:, width:] = torch.eye(width)
            network.fc.bias.zero_()
        return network.float()

    def trained(self) -> dict[str, Tensor]:
        """Parameters by name, without those that are the target's."""
        return {name: value for name, value in self.named_parameters() if name != "decoder.embedding.weight"}

    def follow(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Features [places, width] the layer guesses after the slots at (`rows`, `columns`) of `x` [batch, slots,
        width]; causal, without a cache."""
        return self.decoder.run_at(x, rows, columns)

    def text(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Text slots [..., width]: embedding first, feature second."""
        fused: Tensor = self.fc(torch.cat((embeddings, features), dim=-1))
        return fused

    def read(self, slots: Slots) -> Tensor:
        """What the layer reads [slots, width]; fewer where pictures are made smaller."""
        fused = self.text(slots.embeddings, slots.features)
        if not self.options.is_decoupled:
            return fused
        x = torch.where(slots.is_visual[:, None], slots.embeddings, fused)
        if self.options.visual == "full" or not bool(slots.is_visual.any()):
            return x
        return torch.cat([self._picture(part) if seen else part for seen, part in _parts(x, slots.is_visual)])

    def _picture(self, visual: Tensor) -> Tensor:
        if self.options.visual == "dropped":
            return visual[:0]
        if self.query is None:
            return pooled(visual, self.options.num_tokens)
        weights = (visual.float() @ self.query.float()).softmax(0).to(visual.dtype)
        return (weights @ visual)[None]


def _parts(x: Tensor, is_visual: Tensor) -> list[tuple[bool, Tensor]]:
    """Runs of slots of one modality, in order."""
    changes = (is_visual[1:] != is_visual[:-1]).nonzero()[:, 0] + 1
    parts = x.tensor_split(changes.cpu())
    seen = bool(is_visual[0])
    return [(seen if place % 2 == 0 else not seen, part) for place, part in enumerate(parts)]


def load_feature_network(
    folder: Path, values: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> FeatureNetwork:
    """To draft with, from a drafter folder and its config.json's `values`."""
    network = read_feature_network(folder, values).to(device, dtype).eval()
    for module in (network, *network.decoder.layers):
        pack_rounded(module)
    return network


def read_feature_network(folder: Path, values: dict[str, Any]) -> FeatureNetwork:
    """In float32, as it can be trained on. Raises ModelError for tensors that do not fit the config."""
    where = placed(folder / "config.json")
    config = DecoderConfig.from_json(values, where)
    options = FeatureOptions.from_json(values[CONFIG_KEY])
    if config.num_hidden_layers != 1:
        raise ModelError(f"{where}: num_hidden_layers is {config.num_hidden_layers}; a feature drafter has 1")
    width = config.hidden_size
    own: dict[str, tuple[int, ...]] = {"fc.weight": (width, 2 * width), "fc.bias": (width,)}
    if options.visual == "query":
        own["query"] = (width,)
    state = read_layers(folder, config, own)
    # The embedding is the target's, whatever number of tokens the config names.
    network = FeatureNetwork(replace(config, vocab_size=1), options)
    found = {f"decoder.{name}": value for name, value in fuse(state, config).items()} | state
    network.load_state_dict(found, strict=False)
    return network


def shifted(embeddings: Tensor, first: Tensor, is_visual: Tensor) -> tuple[Tensor, Tensor]:
    """Slot j holds the embedding of token j + 1: the prompt's but for its first, then that of the `first` new token."""
    following = torch.cat((embeddings[1:], first[None]))
    return following, torch.cat((is_visual[1:], is_visual.new_zeros(1)))
