"""The compact decoder on disk: an ordinary Hugging Face Llama checkpoint, whose projections are fused when read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seeahead.checked import placed
from seeahead.errors import ModelError, shown
from seeahead.executors.int8 import pack_rounded
from seeahead.executors.llama import Layer, Llama, LlamaShape

WEIGHTS = "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "I16", "U16", "U32")
"""Kinds of numbers, by their names in safetensors files."""
Shapes = Mapping[str, tuple[int | None, ...]]
"""By the tensor's name; None: any length."""
_AGAIN = "get the whole drafter folder again"
_MOST_POSITIONS = 1 << 25
"""Of a drafter's table of positions, numbers: this table is the only thing whose size no tensor of the file tells."""


def read_tensors(
    path: Path, wanted: Shapes, optional: Shapes | None = None, kinds: tuple[str, ...] = FLOATS
) -> dict[str, Tensor]:
    """The tensors of a safetensors file, all of them, each of the shape and one of the `kinds` it should have.

    What the file says of itself is checked before a tensor is read. Raises ModelError, in one line naming the file, for
    a file that is missing, damaged or another one, and for weights that are not finite."""
    where = placed(path)
    try:
        if not path.is_file():
            raise ModelError(f"{where} is missing; {_AGAIN}")
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            parts = {name: file.get_slice(name) for name in names}
            _check_names(names, wanted, optional or {}, where)
            for name, part in parts.items():
                shape = wanted[name] if name in wanted else (optional or {})[name]
                _check_shape(name, tuple(part.get_shape()), shape, where)
                if part.get_dtype() not in kinds:
                    raise ModelError(f"{where}: {name} holds {part.get_dtype()}; allowed: {', '.join(kinds)}; {_AGAIN}")
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or "it is cut off or no such file"
        raise ModelError(f"{where} cannot be read: {reason}; {_AGAIN}") from None
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelError(f"{where}: {name} holds values that are no finite numbers; {_AGAIN}")
    return tensors


def _check_names(names: Iterable[str], wanted: Shapes, optional: Shapes, where: str) -> None:
    missing, unknown = sorted(wanted.keys() - set(names)), sorted(set(names) - wanted.keys() - optional.keys())
    if missing or unknown:
        raise ModelError(
            f"{where} does not fit its config.json: missing {_few(missing)}, unknown {_few(unknown)}; {_AGAIN}"
        )


def _few(names: list[str]) -> str:
    told = ", ".join(shown(name)[1:-1] for name in names[:3]) or "nothing"
    return told if len(names) <= 3 else f"{told} and {len(names) - 3:,} more"


def _check_shape(name: str, found: tuple[int, ...], wanted: tuple[int | None, ...], where: str) -> None:
    if len(found) != len(wanted) or any(size not in (None, own) for own, size in zip(found, wanted, strict=True)):
        told = " x ".join("any" if size is None else str(size) for size in wanted)
        given = " x ".join(map(str, found))
        raise ModelError(f"{where} does not fit its config.json: {name} is {given}, not {told}; {_AGAIN}")


def read_layers(folder: Path, config: LlamaShape, others: Shapes, optional: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors in a drafter's folder: those of the layers that `config` tells, their last norm, and `others`."""
    most = _MOST_POSITIONS // config.head_dim
    if config.max_position_embeddings > most:
        raise ModelError(
            f"{placed(folder / 'config.json')}: max_position_embeddings is {config.max_position_embeddings}; "
            f"allowed: up to {most:,}"
        )
    return read_tensors(folder / WEIGHTS, {**layer_shapes(config), **others}, optional)


def layer_shapes(config: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Of the tensors that `unfuse` gives."""
    width, inner = config.hidden_size, config.intermediate_size
    heads, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    of_layer = {
        "self_attn.q_proj": (heads, width),
        "self_attn.k_proj": (kv, width),
        "self_attn.v_proj": (kv, width),
        "self_attn.o_proj": (width, heads),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    layers = range(config.num_hidden_layers)
    shapes = {f"model.layers.{index}.{name}.weight": shape for index in layers for name, shape in of_layer.items()}
    return {"model.norm.weight": (width,), **shapes}


def read_language(folder: Path, config: LlamaShape) -> dict[str, Tensor]:
    """All tensors of a Hugging Face Llama folder. Raises ModelError where they are not those that `config` tells."""
    table = (config.vocab_size, config.hidden_size)
    head = {"lm_head.weight": table}
    embedding = {"model.embed_tokens.weight": table}
    if config.tie_word_embeddings:
        return read_layers(folder, config, embedding, head)
    return read_layers(folder, config, {**embedding, **head})


def load_llama(folder: Path, config: LlamaShape, dtype: torch.dtype, device: torch.device) -> Llama:
    """The decoder of a Hugging Face Llama folder. Raises ModelError as `read_language` does."""
    fused = fuse(read_language(folder, config), config)
    if config.tie_word_embeddings:
        fused["head.weight"] = fused["embedding.weight"]
    decoder = Llama(config)
    decoder.load_state_dict(fused)
    decoder.to(device, dtype).eval()
    for module in (*decoder.layers, decoder):
        pack_rounded(module)
    return decoder


def unfuse(decoder: Llama) -> dict[str, Tensor]:
    """The layers' and the last norm's tensors under their Hugging Face names: what `fuse` takes."""
    config = decoder.config
    heads, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    state: dict[str, Tensor] = {"model.norm.weight": decoder.norm}
    for index, layer in enumerate(decoder.layers):
        assert isinstance(layer, Layer)
        name = f"model.layers.{index}"
        query, key, value = layer.qkv.weight.split((heads, kv, kv))
        gate, up = layer.gate_up.weight.chunk(2)
        state |= {
            f"{name}.self_attn.q_proj.weight": query,
            f"{name}.self_attn.k_proj.weight": key,
            f"{name}.self_attn.v_proj.weight": value,
            f"{name}.self_attn.o_proj.weight": layer.output.weight,
            f"{name}.mlp.gate_proj.weight": gate,
            f"{name}.mlp.up_proj.weight": up,
            f"{name}.mlp.down_proj.weight": layer.down.weight,
            f"{name}.input_layernorm.weight": layer.attention_norm,
            f"{name}.post_attention_layernorm.weight": layer.mlp_norm,
        }
    return {name: value.detach().contiguous() for name, value in state.items()}


def fuse(state: dict[str, Tensor], config: LlamaShape) -> dict[str, Tensor]:
    """Take the tensors of a Hugging Face Llama `state` out of it, under our names; what is left there is unknown."""

    def take(*names: str) -> Tensor | None:
        parts = [state.pop(f"{name}.weight") for name in names if f"{name}.weight" in state]
        return torch.cat(parts) if len(parts) == len(names) else None

    fused = {"embedding.weight": take("model.embed_tokens"), "norm": take("model.norm")}
    fused["head.weight"] = take("lm_head")
    for index in range(config.num_hidden_layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        attention = f"{theirs}.self_attn"
        fused |= {
            f"{ours}.qkv.weight": take(f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"),
            f"{ours}.output.weight": take(f"{attention}.o_proj"),
            f"{ours}.gate_up.weight": take(f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"),
            f"{ours}.down.weight": take(f"{theirs}.mlp.down_proj"),
            f"{ours}.attention_norm": take(f"{theirs}.input_layernorm"),
            f"{ours}.mlp_norm": take(f"{theirs}.post_attention_layernorm"),
        }
    return {name: tensor for name, tensor in fused.items() if tensor is not None}
