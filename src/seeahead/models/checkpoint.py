"""The compact decoder on disk: an ordinary Hugging Face Llama checkpoint, whose projections are fused when read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from seeahead.errors import ModelError
from seeahead.models.decoder import Decoder, DecoderConfig, Layer
from seeahead.models.packed import pack_rounded


def load_decoder(folder: Path, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> Decoder:
    """The decoder of a Hugging Face Llama folder. Raises ModelError naming tensors that are missing or not known."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(
            f"'{path.name}' is missing in '{folder}'; a drafter folder holds config.json and model.safetensors"
        )
    state = load_file(path)
    fused = fuse(state, config)
    if config.tie_word_embeddings and "embedding.weight" in fused:
        fused["head.weight"] = fused["embedding.weight"]
    decoder = Decoder(config)
    missing = sorted(decoder.state_dict().keys() - fused.keys())
    if missing or state:
        raise ModelError(
            f"checkpoint '{path.name}' does not fit its config: missing {missing or 'nothing'}, "
            f"unknown {sorted(state) or 'nothing'}; get the whole folder again"
        )
    decoder.load_state_dict(fused)
    decoder.to(device, dtype).eval()
    for module in (*decoder.layers, decoder):
        pack_rounded(module)
    return decoder


def unfuse(decoder: Decoder) -> dict[str, Tensor]:
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


def fuse(state: dict[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
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
