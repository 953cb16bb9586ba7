"""The compact decoder on disk: an ordinary Hugging Face Llama checkpoint, whose projections are fused when read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from seeahead.checked import placed
from seeahead.errors import ModelError
from seeahead.executors.linear import pack
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.executors.tensor_files import Shapes, read_tensors

WEIGHTS = "model.safetensors"
_MOST_POSITIONS = 1 << 25
"""Of a drafter's table of positions, numbers: this table is the only thing whose size no tensor of the file tells."""


def read_layers(folder: Path, config: LlamaShape, others: Shapes, optional: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors in a drafter's folder: those of the layers that `config` tells, their last norm, and `others`."""
    most = _MOST_POSITIONS // config.head_dim
    if config.max_position_embeddings > most:
        raise ModelError(
            f"{placed(folder / 'config.json')}: max_position_embeddings is {config.max_position_embeddings}; "
            f"allowed: up to {most:,}"
        )
    return read_tensors(folder / WEIGHTS, {**layer_shapes(config), **others}, optional)


PARTS: Mapping[str, tuple[str, ...]] = {
    "qkv.weight": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output.weight": ("self_attn.o_proj",),
    "gate_up.weight": ("mlp.gate_proj", "mlp.up_proj"),
    "down.weight": ("mlp.down_proj",),
    "attention_norm": ("input_layernorm",),
    "mlp_norm": ("post_attention_layernorm",),
}
"""Our names of a layer's tensors, and theirs of the parts that each is made of."""


def part_shapes(config: LlamaShape, read: int | None = None) -> Mapping[str, list[tuple[int, ...]]]:
    """Of each of `PARTS`; `read`: the width of what attention reads, where that is another."""
    width, inner = config.hidden_size, config.intermediate_size
    read = width if read is None else read
    heads, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    return {
        "qkv.weight": [(heads, read), (kv, read), (kv, read)],
        "output.weight": [(width, heads)],
        "gate_up.weight": [(inner, width), (inner, width)],
        "down.weight": [(width, inner)],
        "attention_norm": [(width,)],
        "mlp_norm": [(width,)],
    }


def layer_shapes(config: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Of the tensors that `unfuse` gives."""
    shapes: dict[str, tuple[int, ...]] = {"model.norm.weight": (config.hidden_size,)}
    for index in range(config.num_hidden_layers):
        for name, own in part_shapes(config).items():
            shapes |= {f"model.layers.{index}.{part}.weight": shape for part, shape in zip(PARTS[name], own)}
    return shapes


def read_language(folder: Path, config: LlamaShape) -> dict[str, Tensor]:
    """All tensors of a Hugging Face Llama folder. Raises ModelError where they are not those that `config` tells."""
    table = (config.vocab_size, config.hidden_size)
    embedding, head = {"model.embed_tokens.weight": table}, {"lm_head.weight": table}
    if config.tie_word_embeddings:
        return read_layers(folder, config, embedding, head)
    return read_layers(folder, config, embedding | head)


def load_llama(folder: Path, config: LlamaShape, dtype: torch.dtype, device: torch.device) -> Llama:
    """The decoder of a Hugging Face Llama folder. Raises ModelError as `read_language` does."""
    fused = fuse(read_language(folder, config), config)
    if config.tie_word_embeddings:
        fused["head.weight"] = fused["embedding.weight"]
    decoder = Llama(config)
    decoder.load_state_dict(fused)
    decoder.to(device, dtype).eval()
    for module in (*decoder.layers, decoder):
        pack(module, may_round=True)
    return decoder


def unfuse(decoder: Llama) -> dict[str, Tensor]:
    """The layers' and the last norm's tensors under their Hugging Face names: what `fuse` takes."""
    state: dict[str, Tensor] = {"model.norm.weight": decoder.norm}
    for index, layer in enumerate(decoder.layers):
        for name, shapes in part_shapes(decoder.config).items():
            owner, _, last = name.rpartition(".")
            fused: Tensor = getattr(layer.get_submodule(owner), last)
            parts = fused.split([shape[0] for shape in shapes])
            state |= {f"model.layers.{index}.{part}.weight": own for part, own in zip(PARTS[name], parts)}
    return {name: value.detach().contiguous() for name, value in state.items()}


def fuse(state: dict[str, Tensor], config: LlamaShape) -> dict[str, Tensor]:
    """Take the tensors of a Hugging Face Llama `state` out of it, under our names; what is left there is unknown."""
    wanted = {"embedding.weight": ["model.embed_tokens"], "norm": ["model.norm"], "head.weight": ["lm_head"]}
    for index in range(config.num_hidden_layers):
        for name, parts in PARTS.items():
            wanted[f"layers.{index}.{name}"] = [f"model.layers.{index}.{part}" for part in parts]
    fused = {}
    for name, theirs in wanted.items():
        found = [state.pop(f"{part}.weight") for part in theirs if f"{part}.weight" in state]
        if len(found) == len(theirs):
            fused[name] = torch.cat(found)
    return fused
