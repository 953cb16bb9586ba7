"""Readers of drafters as their authors published them: EAGLE-3 (raw and speculators), EAGLE-1 for VLMs, ViSpec, MSD.

A reader says which tensors a file must have and where each goes; no other is allowed. Shapes come from the config and
are checked against the tensors before one is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seeahead.checked import as_table, placed, shown_value
from seeahead.drafters.dialects import Choice, TargetFacts, eagle3_choice, eagle_of, plain_choice
from seeahead.drafters.feature_decoder import FeatureDecoder, Form
from seeahead.drafters.features import FeatureNetwork
from seeahead.drafters.formats import FORMATS, SPECULATORS, format_of, stripped, weight_files, writer_of
from seeahead.drafters.head_networks import NUM_STATES, CoupledNetwork, Eagle3Network, ImageAdaptor, ViSpecNetwork
from seeahead.drafters.head_tensors import Layout
from seeahead.drafters.msd import MsdOptions
from seeahead.drafters.vocabulary import mapped
from seeahead.errors import ModelError
from seeahead.executors.llama import LlamaShape
from seeahead.executors.tensor_files import AGAIN, WHOLE, Entry, Shapes, opened, read_entries

_BOOLS = ("BOOL", "U8", "I64")
_OF_SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")


_MOST_STATES, _MOST_QUERIES = 64, 1 << 16
"""Far beyond what was ever published: shapes of empty tensors may say anything."""


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
        with torch.device("meta"):  # a config may name any size: nothing takes memory before the tensors have it too
            places = list(reader.layout.places(reader.network()))
        wanted: Shapes = {name: shape for _, parts in places for name, shape in parts}
        own, further = reader.tables()
        kinds = {"d2t": WHOLE, "t2d": _BOOLS}
        tensors = read_entries(entries, placed(files[0]), {**wanted, **own}, further, kinds)
    state = {ours: torch.cat([tensors[name] for name, _ in parts]) for ours, parts in places}
    network, ids = reader.network(), None
    _fill(network, state)
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
        self.prefixes = ["midlayer."] if is_mid else [f"layers.{index}." for index in range(max(1, count))]
        self.is_nemo = "img_adaptor.query" in self.entries
        self.shape, self.form = self._shape(), self._form()
        self.layout = Layout(self.shape, self.form, self.prefixes, self._biases(), self.is_nemo)
        self.num_states = self._num_states() if self.format == "eagle3" else 1

    def _has(self, *names: str) -> bool:
        return any(name in self.entries for name in names)

    def _says(self, *names: str) -> bool:
        return any(self.values.get(name) is True for name in names)

    def _biases(self) -> list[str]:
        """Of `fc` and `img_fc`: EAGLE-3 has none; of the others all but NeMo's have them where they say nothing."""
        joints = {"eagle3": (), "vispec": ("fc", "img_fc")}.get(self.format, ("fc",))
        usual = not (self.is_nemo or self._has("norm.weight"))
        is_wanted = self.values.get("fc_bias", self.values.get("bias", usual)) is True
        return [one for one in joints if is_wanted or self._has(f"{one}.bias")]

    def _num_states(self) -> int:
        """Of the target that `fc` reads. Raises ModelError where they are those of a target of another width."""
        ids = eagle_of(self.values, self.where).eagle_aux_hidden_state_layer_ids
        sizes, width, told = self.entries["fc.weight"].shape, self.target_width, self.values.get("target_hidden_size")
        if len(sizes) != 2:  # which is told with all other shapes
            return NUM_STATES
        is_usual = not ids or len(ids) == NUM_STATES
        if told not in (None, width) or sizes[1] % width or (is_usual and sizes[1] != NUM_STATES * width):
            raise ModelError(
                f"{self.where}: made for features of width {shown_value(told or sizes[1] // NUM_STATES)}, the target "
                f"has width {width}; take one trained for this target, or drafter='lookup'"
            )
        if sizes[1] // width > _MOST_STATES:
            raise ModelError(f"{self.where}: fc reads {sizes[1] // width} states of the target; at most {_MOST_STATES}")
        return sizes[1] // width

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
        entry = self.entries.get(f"{self.prefixes[0]}self_attn.{name}.weight")
        return None if entry is None or len(entry.shape) != 2 else entry.shape[0]

    def _form(self) -> Form:
        """What the file has; and what its config says that it has, so that it is missed where it is not there."""
        first, joins = f"{self.prefixes[0]}self_attn.", self.format == "eagle3"
        is_speculators = writer_of(self.values) in SPECULATORS
        is_fed = not joins or (is_speculators and self._says("norm_output"))
        says_bias = self._says("qkv_bias", *(["attention_bias"] if is_speculators else []))
        is_qwen3 = is_speculators and self.values.get("model_type") == "qwen3"
        return Form(
            joins=joins,
            has_input_norm=joins or self._has(f"{self.prefixes[0]}input_layernorm.weight"),
            has_bias=says_bias or self._has(*(f"{first}{one}_proj.bias" for one in "qkv")),
            has_head_norms=is_qwen3 or self._has(f"{first}q_norm.weight", f"{first}k_norm.weight"),
            last_norm="none" if not (joins or self._has("norm.weight")) else "fed" if is_fed else "head",
        )

    def network(self) -> FeatureNetwork:
        decoder, shape = FeatureDecoder(self.shape, self.form), self.shape
        if self.format == "eagle3":
            is_whole = self._says("norm_before_fc") or self._has("input_norm.weight")
            is_cut = self._says("fc_norm") or self._has("fc_norm.0.weight")
            norms = "whole" if is_whole else "chunks" if is_cut else "none"
            return Eagle3Network(decoder, self.target_width, self.num_states, norms)
        if self.format in ("msd", "eagle"):
            return CoupledNetwork(shape, MsdOptions(), decoder)
        name = "img_adaptor.query" if self.is_nemo else "imadpt.q"
        found = self.entries.get(name)
        queries = found.shape[0] if found is not None and found.shape else 2
        if not 2 <= queries <= _MOST_QUERIES:
            allowed = f"2 to {_MOST_QUERIES}, the last for the whole"
            raise ModelError(f"{self.where}: {name} has {queries} queries; allowed: {allowed}")
        if shape.hidden_size % shape.num_attention_heads:
            raise ModelError(
                f"{self.where}: num_attention_heads is {shape.num_attention_heads}; allowed: a divisor of hidden_size, "
                f"{shape.hidden_size}, which its image adaptor shares among them"
            )
        own = name.partition(".")[0]
        has_bias = self._says("qkv_bias") or self._has(f"{own}.k_proj.bias", f"{own}.v_proj.bias")
        return ViSpecNetwork(decoder, ImageAdaptor(queries, shape.num_attention_heads, shape.hidden_size, has_bias))

    def choice(self, target: TargetFacts) -> Choice:
        values, where, size = self.values, self.where, self.shape.head_dim
        if self.format != "eagle3":
            of_msd = ("alone",) if self.form.has_input_norm else ("alone", "seen")
            return plain_choice(values, where, size, of_msd if self.format == "msd" else ("seen",))
        found = eagle3_choice(values, where, self.num_states, size, target)
        if self.shape.hidden_size == self.target_width:
            return found
        # What the target sees has the target's width.
        return replace(found, of_images=tuple(one for one in found.of_images if one.visual != "seen"))

    def tables(self) -> tuple[Shapes, Shapes]:
        """Tensors that are no part of the network: those that must be there, and those that may."""
        if self.format != "eagle3":
            return {}, {"embed_tokens.weight": (None, None)}
        drafted = self.entries.get("d2t")
        size = drafted.shape[0] if drafted is not None and len(drafted.shape) == 1 else None
        head: Shapes = {"lm_head.weight": (size, self.shape.hidden_size)}
        others: Shapes = {"d2t": (None,), "t2d": (None,), "embed_tokens.weight": (None, None)}
        # The target's does where it reads as many numbers.
        return ({}, {**others, **head}) if self.shape.hidden_size == self.target_width else (head, others)
