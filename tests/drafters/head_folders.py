"""Writes published drafters in every dialect, from one random network each, as their authors' code writes them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WIDTH, INNER, HEADS, KV, VOCAB, DRAFTED = 64, 96, 4, 2, 160, 60
D2T = torch.arange(4, 160, 2)[:DRAFTED] - torch.arange(DRAFTED)
SECTIONS = {16: [2, 3, 3], 24: [4, 4, 4]}

# Name -> format, width of a head, keys, what its config says beside sizes.
ROPE_M = {"type": "mrope", "rope_type": "mrope"}
DIALECTS: dict[str, dict[str, Any]] = {
    "msd llava": {"format": "msd"},
    "msd qwen2_vl": {"format": "msd", "has_bias": True, "has_norm": True},
    "eagle llava": {"format": "eagle"},
    "eagle qwen2_5_vl": {"format": "eagle", "has_bias": True},
    "vispec llava": {"format": "vispec", "kv": HEADS},
    "vispec qwen2_5_vl": {"format": "vispec", "kv": HEADS, "has_bias": True, "queries": 3},
    "vispec nemo": {"format": "vispec", "kv": HEADS, "has_norm": True, "last_norm": True, "is_nemo": True},
    "eagle3 specforge": {"architecture": "LlamaForCausalLMEagle3", "rope": ROPE_M},
    "eagle3 specforge 1-d": {"architecture": "LlamaForCausalLMEagle3", "rope": {"rope_type": "default"}},
    "eagle3 angelslim": {"architecture": "Eagle3LlamaForCausalLM", "rope": {**ROPE_M, "mrope_interleaved": True}},
    "eagle3 speculators": {"architecture": "Eagle3Speculator", "has_head_norms": True, "layers": 2, "norms": "whole"},
    "eagle3 newer": {"architecture": "LlamaForCausalLMEagle3", "norms": "chunks", "prefix": "module."},
}


def described(name: str) -> dict[str, Any]:
    is_eagle3 = name.startswith("eagle3")
    usual = {
        "format": "eagle3",
        "kv": KV,
        "size": 24 if is_eagle3 else 16,
        "has_bias": False,
        "has_norm": False,
        "last_norm": is_eagle3,
        "has_head_norms": False,
        "layers": 1,
        "norms": "none",
        "queries": 2,
        "is_nemo": False,
        "rope": {},
        "architecture": "",
        "prefix": "",
        "theta": 50.0,
    }
    return {**usual, **DIALECTS[name]}


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    told = described(name)
    rope = dict(told["rope"])
    if rope.get("type") == "mrope":
        rope["mrope_section"] = SECTIONS[told["size"]]
    values: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": told["kv"],
        "num_hidden_layers": told["layers"],
        "rms_norm_eps": 1e-5,
        "rope_theta": told["theta"],
        "max_position_embeddings": 8,
        "vocab_size": VOCAB,
        "hidden_act": "silu",
        "model_type": "llama",
        "rope_scaling": rope or None,
    }
    if told["format"] == "eagle3":
        values |= {"head_dim": told["size"], "draft_vocab_size": DRAFTED, "tie_word_embeddings": True}
        values["architectures"] = [told["architecture"]]
    if told["is_nemo"]:
        values |= {"vispec_num_query_tokens": told["queries"], "num_key_value_heads": 1}
    if told["architecture"] == "Eagle3Speculator":
        layer = {key: values.pop(key) for key in ("hidden_size", "intermediate_size", "head_dim", "rope_theta")}
        layer |= {key: values.pop(key) for key in ("num_attention_heads", "num_key_value_heads", "num_hidden_layers")}
        layer |= {"model_type": "qwen3", "rms_norm_eps": values.pop("rms_norm_eps")}
        values |= {"transformer_layer_config": layer, "speculators_model_type": "eagle3", "norm_before_residual": True}
    return {**values, **changes}


def tensors_of(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random bfloat16 weights under the file's names; norms and biases that are not trivial."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for key, shape in {**_layer_shapes(name), **_other_shapes(name)}.items():
        noise = torch.randn(shape, generator=generator)
        is_norm = "norm" in key and len(shape) == 1
        scale = 1 + 0.4 * noise if is_norm else 0.3 * noise if len(shape) == 1 else noise * (1.2 / shape[-1] ** 0.5)
        tensors[key] = scale.to(torch.bfloat16)
    return tensors


def _layer_shapes(name: str) -> dict[str, tuple[int, ...]]:
    told, shapes = described(name), dict[str, tuple[int, ...]]()
    heads, kv = HEADS * told["size"], told["kv"] * told["size"]
    is_eagle3 = told["format"] == "eagle3"
    for index in range(told["layers"]):
        is_mid = is_eagle3 and told["layers"] == 1 and told["norms"] == "none"
        own, joins = "midlayer." if is_mid else f"layers.{index}.", is_eagle3 and index == 0
        read = 2 * WIDTH if joins else WIDTH
        for part, rows in (("q", heads), ("k", kv), ("v", kv)):
            shapes[f"{own}self_attn.{part}_proj.weight"] = (rows, read)
            if told["has_bias"]:
                shapes[f"{own}self_attn.{part}_proj.bias"] = (rows,)
            if told["has_head_norms"] and part != "v":
                shapes[f"{own}self_attn.{part}_norm.weight"] = (told["size"],)
        shapes[f"{own}self_attn.o_proj.weight"] = (WIDTH, heads)
        for part in ("gate", "up", "down"):
            shapes[f"{own}mlp.{part}_proj.weight"] = (WIDTH, INNER) if part == "down" else (INNER, WIDTH)
        norms = ["post_attention_layernorm", *(["input_layernorm"] if is_eagle3 or told["has_norm"] else [])]
        for norm in (*norms, *(["hidden_norm"] if joins else [])):
            shapes[f"{own}{norm}.weight"] = (WIDTH,)
    return shapes


def _other_shapes(name: str) -> dict[str, tuple[int, ...]]:
    told = described(name)
    is_eagle3 = told["format"] == "eagle3"
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (WIDTH, (3 if is_eagle3 else 2) * WIDTH)}
    if told["last_norm"]:
        shapes["norm.weight"] = (WIDTH,)
    if is_eagle3:
        shapes["lm_head.weight"] = (DRAFTED, WIDTH)
        if told["norms"] == "chunks":
            shapes |= {f"fc_norm.{index}.weight": (WIDTH,) for index in range(3)}
        if told["norms"] == "whole":
            shapes["input_norm.weight"] = (3 * WIDTH,)
    else:
        shapes["fc.bias"] = (WIDTH,)
    if told["format"] == "vispec":
        own = "img_adaptor" if told["is_nemo"] else "imadpt"
        shapes |= {"img_fc.weight": (WIDTH, 2 * WIDTH), "img_fc.bias": (WIDTH,)}
        shapes[f"{own}.{'query' if told['is_nemo'] else 'q'}"] = (told["queries"], HEADS, WIDTH // HEADS)
        shapes |= {f"{own}.{part}_proj.weight": (WIDTH, WIDTH) for part in "kvo"}
        shapes |= {f"{own}.{part}_proj.bias": (WIDTH,) for part in "kv" if told["has_bias"]}
    return shapes


def write_head(name: str, folder: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    """A folder as it is on the hub; `changes` go into its config."""
    told, found = described(name), dict(tensors or tensors_of(name))
    folder.mkdir(parents=True, exist_ok=True)
    if told["format"] == "eagle3":
        members = torch.zeros(VOCAB, dtype=torch.bool)
        members[torch.arange(DRAFTED) + D2T] = True
        found = {"d2t": D2T, "t2d": members} | found
    found = {f"{told['prefix']}{key}": value.contiguous() for key, value in found.items()}
    if told["format"] == "vispec" and not told["is_nemo"]:
        save_file(found, folder / "model.safetensors")
    elif told["is_nemo"]:
        names = sorted(found)
        for number, part in enumerate((names[::2], names[1::2]), 1):
            save_file({key: found[key] for key in part}, folder / f"model-0000{number}-of-00002.safetensors")
    elif name.startswith("msd"):
        torch.save(found, folder / "pytorch_model.bin")
    else:
        save_file(found, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_of(name, **changes)))
    return folder
