"""Under which names published files have the tensors of a network: what the reader and the writer share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from seeahead.drafters.feature_decoder import Form
from seeahead.drafters.features import FeatureNetwork
from seeahead.drafters.head_networks import Eagle3Network, ViSpecNetwork
from seeahead.executors.checkpoint import PARTS, part_shapes
from seeahead.executors.llama import LlamaShape

Place = tuple[str, list[tuple[str, tuple[int, ...]]]]
"""Our name of a tensor, and of each part that it is made of the file's name and its shape."""


@dataclass(frozen=True)
class Layout:
    """Of one file. `prefixes`: of its layers' names. `biases`: of `fc` and `img_fc`, which have one. `is_nemo`: ViSpec
    as NeMo names it."""

    shape: LlamaShape
    form: Form
    prefixes: Sequence[str]
    biases: Collection[str] = ()
    is_nemo: bool = False

    def tensors(self, network: FeatureNetwork) -> dict[str, Tensor]:
        """Those of the network, under the file's names."""
        own, found = dict(network.named_parameters()), dict[str, Tensor]()
        for ours, parts in self.places(network):
            values = own[ours].detach().split([shape[0] for _, shape in parts])
            found |= {theirs: value for (theirs, _), value in zip(parts, values, strict=True)}
        return found

    def places(self, network: FeatureNetwork) -> Iterator[Place]:
        """Of every tensor that the network takes from the file."""
        named = {
            "fc.weight": "fc.weight",
            **{f"{one}.bias": f"{one}.bias" for one in self.biases},
            **self._own_names(network),
        }
        own = dict(network.named_parameters())
        for ours, theirs in named.items():
            yield ours, [(theirs, tuple(own[ours].shape))]
        if self.form.last_norm != "none":
            yield "decoder.norm", [("norm.weight", (self.shape.hidden_size,))]
        for index, prefix in enumerate(self.prefixes):
            yield from self._layer(index, prefix)

    def _own_names(self, network: FeatureNetwork) -> Mapping[str, str]:
        if isinstance(network, ViSpecNetwork):
            theirs, query = ("img_adaptor", "query") if self.is_nemo else ("imadpt", "q")
            names = (name for name, _ in network.adaptor.named_parameters())
            adaptor = {f"adaptor.{name}": f"{theirs}.{query if name == 'q' else name}" for name in names}
            return {"img_fc.weight": "img_fc.weight", **adaptor}
        if isinstance(network, Eagle3Network):
            if len(network.state_norms) == 1:
                return {"state_norms.0": "input_norm.weight"}
            return {f"state_norms.{index}": f"fc_norm.{index}.weight" for index in range(len(network.state_norms))}
        return {}

    def _layer(self, index: int, prefix: str) -> Iterator[Place]:
        shape, form, joins = self.shape, self.form, self.form.joins and index == 0
        width, size = shape.hidden_size, shape.head_dim
        shapes = dict(part_shapes(shape, 2 * width if joins else width))
        if not (joins or form.has_input_norm or index):
            del shapes["attention_norm"]
        for name, sizes in shapes.items():
            parts = [(f"{prefix}{part}.weight", own) for part, own in zip(PARTS[name], sizes, strict=True)]
            yield f"decoder.layers.{index}.{name}", parts
        further = {"feature_norm": ("hidden_norm", width)} if joins else {}
        if form.has_head_norms:
            further |= {"query_norm": ("self_attn.q_norm", size), "key_norm": ("self_attn.k_norm", size)}
        for ours, (theirs, number) in further.items():
            yield f"decoder.layers.{index}.{ours}", [(f"{prefix}{theirs}.weight", (number,))]
        if form.has_bias:
            biases = [(f"{prefix}{part}.bias", own[:1]) for part, own in zip(PARTS["qkv.weight"], shapes["qkv.weight"])]
            yield f"decoder.layers.{index}.qkv.bias", biases
