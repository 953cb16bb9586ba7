"""Drafts from the target's own features: MSD (Lin et al. 2025), and EAGLE-2 (Li et al. 2024) as its coupled form.

The network is one layer of the target's own shape. Text slots read an embedding and the feature before it through `fc`;
an image's slots read its visual embeddings as they are (MSD's decoupling).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from seeahead.checked import flag, one_of, whole
from seeahead.drafters.features import Beginning, FeatureDrafter, FeatureNetwork, Slots
from seeahead.drafters.folder import MSD, Folder, Options
from seeahead.drafters.spec import FolderSpec
from seeahead.drafters.vision import pooled
from seeahead.errors import ModelError
from seeahead.executors.checkpoint import fuse, layer_shapes, read_layers
from seeahead.executors.linear import pack
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.target import Target

VISUAL = ("full", "pooled", "query", "dropped")


@dataclass(frozen=True)
class MsdOptions(Options):
    """`visual`: what becomes of an image's slots; pooled to `num_tokens`, one learned query, or none at all."""

    key = MSD
    is_decoupled: Annotated[bool, flag()] = True
    visual: Annotated[str, one_of(VISUAL)] = "full"
    num_tokens: Annotated[int, whole(0, 1 << 20)] = 16


class MsdNetwork(FeatureNetwork):
    """`decoder` has one layer of the target's width, and no embedding or head of its own."""

    def __init__(self, config: LlamaShape, options: MsdOptions, decoder: Llama | None = None) -> None:
        """`decoder` None: a plain Llama's layer."""
        super().__init__()
        width = config.hidden_size
        self.options = options
        self.fc = nn.Linear(2 * width, width)
        self.decoder = Llama(config) if decoder is None else decoder
        # Both are the target's; the layer itself ends in features.
        self.decoder.embedding = nn.Embedding(1, width)
        self.decoder.add_module("head", nn.Identity())
        self.query = nn.Parameter(torch.zeros(width)) if options.visual == "query" else None

    @classmethod
    def beside(cls, model: Any, options: MsdOptions, longest: int) -> MsdNetwork:
        """For a transformers `model` as target, to be trained. Starts as the target's own last layer and norm where
        these are plain Llama's, with fc letting the feature through; else at random.

        The released code starts at random; from the last layer, the same minutes get further."""
        text = model.config.get_text_config()
        network = cls(LlamaShape.for_features(text, longest), options)
        if found := last_layer(model):
            _load(network.decoder, found)
        width = network.fc.out_features
        with torch.no_grad():
            network.fc.weight[:, width:] = torch.eye(width)
            network.fc.bias.zero_()
        return network.float()

    @property
    def is_decoupled(self) -> bool:
        return self.options.is_decoupled

    def text(self, embeddings: Tensor, features: Tensor, image: Tensor | None = None) -> Tensor:
        """Embedding first, feature second."""
        fused: Tensor = self.fc(torch.cat((embeddings, features), dim=-1))
        return fused

    def begin(self, slots: Slots) -> Beginning:
        fused = self.text(slots.embeddings, slots.features)
        if not self.is_decoupled:
            return Beginning(fused)
        x = torch.where(slots.is_visual[:, None], slots.embeddings, fused)
        if self.options.visual == "full" or not bool(slots.is_visual.any()):
            return Beginning(x)
        runs = [(seen, len(list(run))) for seen, run in groupby(slots.is_visual.tolist())]
        parts = zip(x.split([size for _, size in runs]), runs, strict=True)
        return Beginning(torch.cat([self._image(part) if seen else part for part, (seen, _) in parts]))

    def _image(self, visual: Tensor) -> Tensor:
        if self.options.visual == "dropped":
            return visual[:0]
        if self.query is None:
            return pooled(visual, self.options.num_tokens)
        weights = (visual.float() @ self.query.float()).softmax(0).to(visual.dtype)
        return (weights @ visual)[None]


def last_layer(model: Any) -> dict[str, Tensor]:
    """Of a transformers `model`: the last layer and the norm after it, as a one-layer decoder of ours has them; nothing
    where these are no plain Llama's."""
    decoder = model.get_decoder()
    found = {f"model.layers.0.{name}": value.detach() for name, value in decoder.layers[-1].state_dict().items()}
    found["model.norm.weight"] = decoder.norm.weight.detach()
    shape = LlamaShape.for_features(model.config.get_text_config(), 1)
    is_plain = {name: tuple(value.shape) for name, value in found.items()} == layer_shapes(shape)
    return fuse(found, shape) if is_plain else {}


def read_network(folder: Folder) -> MsdNetwork:
    """In float32, as it can be trained on. Raises ModelError for tensors that do not fit the config."""
    config = LlamaShape.from_json(dict(folder.values), folder.where)
    options = MsdOptions.from_json(folder.values.get(MSD))
    if config.num_hidden_layers != 1:
        raise ModelError(f"{folder.where}: num_hidden_layers is {config.num_hidden_layers}; an msd drafter has 1")
    width = config.hidden_size
    own: dict[str, tuple[int, ...]] = {"fc.weight": (width, 2 * width), "fc.bias": (width,)}
    if options.visual == "query":
        own["query"] = (width,)
    state = read_layers(folder.path, config, own)
    # The embedding is the target's, whatever number of tokens the config names.
    network = MsdNetwork(replace(config, vocab_size=1), options)
    _load(network, {f"decoder.{name}": value for name, value in fuse(state, config).items()} | state)
    return network


def _load(module: nn.Module, found: dict[str, Tensor]) -> None:
    """Every parameter but embedding and head, which are the target's."""
    left_out, unknown = module.load_state_dict(found, strict=False)
    odd = [*unknown, *(name for name in left_out if not name.endswith(("embedding.weight", "head.weight")))]
    assert not odd, f"parameters without a value or a place: {odd}"


class MsdSpec(FolderSpec):
    """`source`: a folder of ours."""

    kind = "msd"
    key = MSD

    def read(self, folder: Folder | None, target: Target) -> FeatureDrafter:
        assert folder is not None
        vocabulary, limits = folder.vocabulary(), target.executor.limits
        network = read_network(folder).to(limits.device, limits.dtype).eval()
        for module in (network, *network.decoder.layers):
            pack(module, may_round=True)
        return FeatureDrafter.on(target, network, vocabulary, **self.drafting)
