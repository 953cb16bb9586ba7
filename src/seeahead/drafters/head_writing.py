"""Networks of ours as the files of published drafters, which our readers and those of other engines read.

EAGLE-3 is written as SpecForge does (vLLM and SGLang read that) or in the form of speculators (vLLM), ViSpec as NeMo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seeahead.drafters.feature_decoder import FeatureDecoder
from seeahead.drafters.features import FeatureNetwork
from seeahead.drafters.formats import LAYER_IDS, SPECFORGE, SPECULATORS
from seeahead.drafters.head_networks import ViSpecNetwork
from seeahead.drafters.head_tensors import Layout
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.executors.tensor_files import write_tensors
from seeahead.provenance import write_json

LONGEST = 8192
"""Tokens of an answer with its question that a feature drafter reads in training."""


class Head(NamedTuple):
    """An EAGLE-3 network with the `target_ids` [draft ids] of its own `head` [draft ids, width], for a target of
    `vocab_size` tokens."""

    network: FeatureNetwork
    target_ids: Tensor
    head: Tensor
    vocab_size: int


Files = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and what config.json says."""


def specforge(head: Head, target_type: str) -> Files:
    """For a target of `target_type`. No list of layers: readers count them in two ways, and agree on the usual ones."""
    values = {
        "architectures": [SPECFORGE],
        **_of_layer(head.network, head.vocab_size),
        "draft_vocab_size": len(head.target_ids),
        "target_model_type": target_type,
    }
    return _eagle3_tensors(head, "midlayer."), values


def speculators(head: Head, layers: Sequence[int], verifier: Mapping[str, Any]) -> Files:
    """`layers`: whose inputs are read. `verifier`: the target's `name_or_path` and `architectures`."""
    values = {
        "architectures": [SPECULATORS[0]],
        "speculators_model_type": "eagle3",
        "speculators_version": "0.9.0",
        "speculators_config": {
            "algorithm": "eagle3",
            "default_proposal_method": "greedy",
            "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 3}],
            "verifier": dict(verifier),
        },
        "transformer_layer_config": {**_of_layer(head.network, head.vocab_size), "attention_bias": False},
        "draft_vocab_size": len(head.target_ids),
        "target_hidden_size": head.network.target_width,
        LAYER_IDS: list(layers),
        "norm_before_residual": False,
        "norm_before_fc": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    return _eagle3_tensors(head, "layers.0."), values


def vispec(network: ViSpecNetwork, vocab_size: int) -> Files:
    """Over all of the target's tokens: a map of fewer is ours alone."""
    decoder = network.decoder
    tensors = Layout(decoder.config, decoder.form, ["layers.0."], ("fc", "img_fc"), is_nemo=True).tensors(network)
    further = {"draft_num_hidden_layers": 1, "qkv_bias": False, "fc_bias": True}
    return tensors, {
        **_of_layer(network, vocab_size),
        **further,
        "vispec_num_query_tokens": len(network.adaptor.q),
    }


def write_files(files: Files, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """config.json, and model.safetensors in `dtype`."""
    tensors, values = files
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    write_tensors({folder / WEIGHTS: kept}, {"format": "pt"})
    write_json(folder / "config.json", values)


def _eagle3_tensors(head: Head, prefix: str) -> dict[str, Tensor]:
    decoder = head.network.decoder
    assert isinstance(decoder, FeatureDecoder)
    members = torch.zeros(head.vocab_size, dtype=torch.bool)
    members[head.target_ids] = True
    return {
        **Layout(decoder.config, decoder.form, [prefix]).tensors(head.network),
        "lm_head.weight": head.head.detach(),
        "d2t": head.target_ids - torch.arange(len(head.target_ids)),
        "t2d": members,
    }


def _of_layer(network: FeatureNetwork, vocab_size: int) -> dict[str, Any]:
    """What every form's config says of the layer."""
    decoder = network.decoder
    assert isinstance(decoder, FeatureDecoder)
    return {
        **asdict(decoder.config),
        "model_type": "llama",
        "vocab_size": vocab_size,
        "max_position_embeddings": LONGEST,
        "rope_theta": decoder.form.rotation.theta,
        "rope_scaling": None,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
