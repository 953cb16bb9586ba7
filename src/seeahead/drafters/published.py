"""Readers of drafters as their authors published them: EAGLE-3 (raw and speculators), EAGLE-1 for VLMs, ViSpec, MSD.

A reader says which tensors a file must have and where each goes; no other is allowed. Shapes come from the config and
are checked against the tensors before one is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seeahead.checked import as_table, placed
from seeahead.drafters.dialects import Choice, TargetFacts, coupled_choice, eagle3_choice, plain_choice
from seeahead.drafters.feature_decoder import FeatureDecoder, Form
from seeahead.drafters.features import FeatureNetwork
from seeahead.drafters.formats import FORMATS, SPECULATORS, format_of, stripped, weight_files
from seeahead.drafters.head_networks import CoupledNetwork, Eagle3Network, ImageAdaptor, ViSpecNetwork
from seeahead.drafters.head_tensors import Layout
from seeahead.drafters.msd import MsdOptions
from seeahead.drafters.vocabulary import mapped
from seeahead.errors import ModelError
from seeahead.executors.llama import LlamaShape
from seeahead.executors.tensor_files import AGAIN, WHOLE, Entry, Shapes, opened, read_entries

_BOOLS = ("BOOL", "U8", "I64")
_OF_SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")


@dataclass(frozen=True)
class Published:
    """A drafter that was read. `target_ids`, `head` [draft ids, width] and `embedding` [tokens, width] are its own,
    None: the target's. `digest` stands for the weights."""

    format: str
    network: FeatureNetwork
    choice: Choice
    target_ids: Tensor | None
    head: Tensor | None
    embedding: Tensor | None
    digest: str


def read_published(folder: Path, values: Mapping[str, Any], target: TargetFacts, target_width: int) -> Published:
    """Raises ModelError, in one line, for anything that is missing, unknown or of another shape."""
    where, files = placed(folder / "config.json"), weight_files(folder)
    nested = as_table(values.get("transformer_layer_config") or {}, f"{where}: transformer_layer_config", ModelError)
    values = {**values, **nested, "architectures": values.get("architectures")}
    with opened(files) as raw:
        entries = stripped(raw)
        reader = _Reader(entries, values, where, target_width)
        network = reader.network()
        places = list(reader.layout.places(network))
        wanted: Shapes = {name: shape for _, parts in places for name, shape in parts}
        own, further = reader.tables()
        kinds = {"d2t": WHOLE, "t2d": _BOOLS}
        tensors = read_entries(entries, placed(files[0]), {**wanted, **own}, further, kinds)
    state = {ours: torch.cat([tensors[name] for name, _ in parts]) for ours, parts in places}
    _fill(network, state)
    ids = None
    if "d2t" in tensors:
        ids = mapped(tensors["d2t"], f"d2t of {placed(files[0])}")
        _check_members(ids, tensors.get("t2d"), placed(files[0]))
    head, embedding = tensors.get("lm_head.weight"), tensors.get("embed_tokens.weight")
    return Published(reader.format, network, reader.choice(target), ids, head, embedding, _digest(tensors))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, shapes and a few values of each."""
    told = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        flat = value.flatten()
        told.update(f"{name} {tuple(value.shape)}".encode())
        told.update(flat[:: max(1, len(flat) // 256)].double().numpy().tobytes())
    return told.hexdigest()


def _check_members(ids: Tensor, members: Tensor | None, where: str) -> None:
    """Raises ModelError where `t2d` [target tokens] names other tokens than `d2t`."""
    if members is not None and not torch.equal(members.nonzero()[:, 0], ids.sort().values):
        raise ModelError(f"{where}: t2d names other tokens than d2t; {AGAIN}")


def _fill(network: FeatureNetwork, state: Mapping[str, Tensor]) -> None:
    own = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value.view(own[name].shape))
        for name in own.keys() - state.keys():
            if name.endswith(".bias"):  # the file has none
                own[name].zero_()


@dataclass
class _Reader:
    """Of one file: what its tensors and its config make of the network."""

    entries: Mapping[str, Entry]
    values: Mapping[str, Any]
    where: str
    target_width: int

    def __post_init__(self) -> None:
        found = format_of(self.entries)
        if found is None:
            raise ModelError(f"{self.where}: its tensors are none of the formats {', '.join(FORMATS)}; {AGAIN}")
        self.format = found
        is_mid = "midlayer.hidden_norm.weight" in self.entries
        count = len({name.split(".")[1] for name in self.entries if name.startswith("layers.")})
        self.prefixes = ["midlayer."] if is_mid else [f"layers.{index}." for index in range(count)]
        self.is_nemo = "img_adaptor.query" in self.entries
        self.shape, self.form = self._shape(), self._form()
        biases = [one for one in ("fc", "img_fc") if self._has(f"{one}.bias")]
        self.layout = Layout(self.shape, self.form, self.prefixes, biases, self.is_nemo)
        columns = self.entries["fc.weight"].shape[-1]
        self.num_states = max(1, columns // self.target_width)

    def _has(self, name: str) -> bool:
        return name in self.entries

    def _shape(self) -> LlamaShape:
        known = {name: self.values[name] for name in _OF_SHAPE if self.values.get(name) is not None}
        heads, rows = known.get("num_attention_heads"), self._rows("q_proj")
        if isinstance(heads, int) and heads > 0 and rows and rows % heads == 0:
            known.setdefault("head_dim", rows // heads)
        if self.is_nemo:  # which makes keys for every head, whatever its config says
            known["num_key_value_heads"] = heads
        fixed = {"model_type": "llama", "vocab_size": 1, "max_position_embeddings": 1}
        further = {
            name: self.values[name] for name in ("rms_norm_eps", "hidden_act", "mlp_bias") if name in self.values
        }
        return LlamaShape.from_json({**known, **further, **fixed, "num_hidden_layers": len(self.prefixes)}, self.where)

    def _rows(self, name: str) -> int | None:
        entry = self.entries.get(f"{self.prefixes[0]}self_attn.{name}.weight") if self.prefixes else None
        return None if entry is None or len(entry.shape) != 2 else entry.shape[0]

    def _form(self) -> Form:
        first, joins = self.prefixes[0], self.format == "eagle3"
        is_fed = not joins or (self._is_speculators and self.values.get("norm_output") is True)
        return Form(
            joins=joins,
            has_input_norm=self._has(f"{first}input_layernorm.weight"),
            has_bias=self._has(f"{first}self_attn.q_proj.bias"),
            has_head_norms=self._has(f"{first}self_attn.q_norm.weight"),
            last_norm="none" if not self._has("norm.weight") else "fed" if is_fed else "head",
        )

    @property
    def _is_speculators(self) -> bool:
        named = self.values.get("architectures") or []
        return "speculators_model_type" in self.values or any(one in SPECULATORS for one in named)

    def network(self) -> FeatureNetwork:
        decoder, shape = FeatureDecoder(self.shape, self.form), self.shape
        if self.format == "eagle3":
            norms = "whole" if self._has("input_norm.weight") else "chunks" if self._has("fc_norm.0.weight") else "none"
            return Eagle3Network(decoder, self.target_width, self.num_states, norms)
        if self.format in ("msd", "eagle"):
            return CoupledNetwork(shape, MsdOptions(), decoder)
        name = "img_adaptor.query" if self.is_nemo else "imadpt.q"
        found = self.entries.get(name)
        queries = found.shape[0] if found is not None and found.shape else 1
        has_bias = self._has(f"{name.partition('.')[0]}.k_proj.bias")
        return ViSpecNetwork(decoder, ImageAdaptor(queries, shape.num_attention_heads, shape.hidden_size, has_bias))

    def choice(self, target: TargetFacts) -> Choice:
        if self.format == "eagle3":
            values = {**self.values, "architectures": [*SPECULATORS[:1]] if self._is_speculators else self._named()}
            return eagle3_choice(values, self.where, self.num_states, self.shape.head_dim, target)
        if self.format == "msd":
            return coupled_choice(self.values, self.where, is_open=not self.form.has_input_norm)
        return plain_choice(self.values, self.where)

    def _named(self) -> list[str]:
        named = self.values.get("architectures")
        return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []

    def tables(self) -> tuple[Shapes, Shapes]:
        """Tensors that are no part of the network: those that must be there, and those that may."""
        if self.format != "eagle3":
            return {}, {"embed_tokens.weight": (None, None)}
        drafted = self.entries.get("d2t")
        size = drafted.shape[0] if drafted is not None and len(drafted.shape) == 1 else None
        head = {"lm_head.weight": (size, self.shape.hidden_size)}
        return head, {"d2t": (None,), "t2d": (None,), "embed_tokens.weight": (None, None)}
