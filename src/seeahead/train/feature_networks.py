"""Networks of feature drafters: as they begin beside a target, and as folders that are gone on from and drafted with.

MSD and EAGLE-2 are written in a form of ours; EAGLE-3 as SpecForge writes it and ViSpec as NeMo does, with the target's
fingerprint beside it, so that the readers of published drafters read them.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seeahead.drafters.feature_decoder import FeatureDecoder, FeatureLayer, Form, Rotation
from seeahead.drafters.features import FeatureNetwork
from seeahead.drafters.folder import HEAD, KEY, MSD, Folder, fingerprint_of
from seeahead.drafters.head_networks import (
    NUM_STATES,
    Dialect,
    Eagle3Network,
    ImageAdaptor,
    ViSpecNetwork,
    spoken,
)
from seeahead.drafters.head_writing import LONGEST, Head, specforge, vispec, write_files
from seeahead.drafters.heads import facts_of
from seeahead.drafters.msd import MsdNetwork, MsdOptions, last_layer, read_network
from seeahead.drafters.published import read_published
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError
from seeahead.executors.checkpoint import unfuse
from seeahead.executors.llama import LlamaShape
from seeahead.executors.tensor_files import write_tensors
from seeahead.families.base import Family
from seeahead.target import Target
from seeahead.train.data import inner_layers
from seeahead.train.recipe import COMPRESSED, DrafterRecipe


class Learner(NamedTuple):
    """What is trained. `head` [draft ids, width]: the drafter's own; None: the target's."""

    network: FeatureNetwork
    vocabulary: DraftVocabulary
    head: Tensor | None = None


def begun(recipe: DrafterRecipe, family: Family, vocabulary: DraftVocabulary) -> Learner:
    """From scratch: as the target's last layer where that is a plain Llama's, else at random."""
    model, sizes = family.model, recipe.network
    if recipe.kind == "eagle3":
        rows: Tensor = family.executor.head_rows(vocabulary.target_ids)
        return Learner(_eagle3(family), vocabulary, rows.float().clone())
    if sizes.pictures == COMPRESSED:
        return Learner(_vispec(model, sizes.visual_tokens), vocabulary)
    options = MsdOptions(sizes.decoupled, sizes.pictures, sizes.visual_tokens)
    return Learner(MsdNetwork.beside(model, options, LONGEST), vocabulary)


@torch.no_grad()
def _eagle3(family: Family) -> Eagle3Network:
    """The last layer on what the highest of the three layers reads; embeddings join at random."""
    shape = LlamaShape.for_features(family.text_config, 1)
    decoder = FeatureDecoder(shape, Form(joins=True, last_norm="head"))
    dialect = Dialect(Rotation(shape.rope_theta), inner_layers(family), visual="placeholder")
    network = spoken(Eagle3Network(decoder, shape.hidden_size, NUM_STATES), dialect)
    width, [layer] = shape.hidden_size, network.decoder.layers
    assert isinstance(layer, FeatureLayer)
    network.fc.weight.zero_()
    network.fc.weight[:, -width:] = torch.eye(width)
    found = last_layer(family.model)
    own = {
        "qkv.weight": layer.qkv.weight[:, width:],  # of features; those of embeddings are before them
        "attention_norm": layer.feature_norm,
        **{name: layer.get_parameter(name) for name in ("output.weight", "gate_up.weight", "down.weight", "mlp_norm")},
    }
    for name, value in own.items() if found else ():
        value.copy_(found[f"layers.0.{name}"])
    if found:
        network.decoder.norm.copy_(found["norm"])
    return network.float()


@torch.no_grad()
def _vispec(model: Any, num_tokens: int) -> ViSpecNetwork:
    """The last layer, with keys of their own for heads that share them; an image's few slots are learned.

    Raises ModelError for a target whose width its heads do not divide."""
    plain = LlamaShape.for_features(model.config.get_text_config(), 1)
    heads, kv, width, size = plain.num_attention_heads, plain.num_key_value_heads, plain.hidden_size, plain.head_dim
    if width % heads:
        raise ModelError(f"the target's {heads} heads do not divide its width of {width}; leave pictures out")
    shape = replace(plain, num_key_value_heads=heads)
    decoder = FeatureDecoder(shape, Form(rotation=Rotation(plain.rope_theta)))
    network = ViSpecNetwork(decoder, ImageAdaptor(num_tokens + 1, heads, width, has_bias=False))
    torch.nn.init.normal_(network.adaptor.q)
    for joint, kept in ((network.img_fc, slice(None, width)), (network.fc, slice(width, None))):
        joint.weight.zero_()
        joint.weight[:, kept] = torch.eye(width)
        joint.bias.zero_()
    if found := last_layer(model):
        query, *shared = found["layers.0.qkv.weight"].split([heads * size, kv * size, kv * size])
        own = [part.view(kv, size, width).repeat_interleave(heads // kv, 0).flatten(0, 1) for part in shared]
        found["layers.0.qkv.weight"] = torch.cat((query, *own))
        for name, value in found.items():
            decoder.get_parameter(name).copy_(value)
    return spoken(network, Dialect(decoder.form.rotation)).float()


# ---- on disk


def saved(learner: Learner, target: Target, folder: Path) -> None:
    """A drafter folder, in bfloat16: config.json, model.safetensors, and the vocabulary's map, beside or in it."""
    network, vocabulary, head = learner
    ours: dict[str, Any] = {"kind": HEAD, "target": fingerprint_of(target)}
    if isinstance(network, MsdNetwork):
        own = {name: value for name, value in network.state_dict().items() if not name.startswith("decoder.")}
        config = {"model_type": "llama", **asdict(network.decoder.config), MSD: network.options.to_json()}
        tensors, values = unfuse(network.decoder) | own, config
        ours["kind"] = "msd"
    elif isinstance(network, ViSpecNetwork):
        tensors, values = vispec(network, target.vocab_size)
    else:
        assert head is not None
        assert target.family is not None
        model = target.family.model
        eagle3 = Head(network, vocabulary.target_ids, head, target.vocab_size)
        tensors, values = specforge(eagle3, model.config.model_type)
        ours |= {"layers": list(network.layers), "architecture": type(model).__name__}
    told = {"target_vocab_size": target.vocab_size, "unknown_draft_id": vocabulary.unknown}
    write_files((tensors, {**values, **told, KEY: ours}), folder)
    if "d2t" not in tensors:
        write_tensors({folder / VOCABULARY_FILE: {"d2t": vocabulary.offsets()}})


def to_train(folder: Path, family: Family) -> Learner:
    """A feature drafter to go on from. Raises ModelError for what is none, or is one for another target."""
    found = Folder.read(folder)
    if found.kind == HEAD:
        learner = _head_to_train(found, family)
    else:
        learner = Learner(read_network(found), found.vocabulary())
    highest, theirs = learner.vocabulary.highest, learner.network.decoder.config.hidden_size
    if theirs != family.width or highest >= family.vocab_size or found.is_of_other_words(family):
        raise ModelError(
            f"'{folder}' is for features of width {theirs} and tokens up to {highest}; the target has width "
            f"{family.width}, {family.vocab_size} tokens, or other words for them; start from one for this target, or "
            "leave --start out"
        )
    return learner


def _head_to_train(found: Folder, family: Family) -> Learner:
    """EAGLE-3 or ViSpec, in the dialect that its config tells."""
    read = read_published(found.path, found.values, facts_of(Target.of(family)), family.width)
    network = spoken(read.network, read.choice.first).float()
    if read.target_ids is None:
        return Learner(network, found.vocabulary())
    if read.head is None:
        raise ModelError(f"'{found.path}' has no lm_head.weight to go on from; start from one that has, or from none")
    return Learner(network, DraftVocabulary(read.target_ids, 0), read.head.float())
