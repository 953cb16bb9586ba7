"""Folders of drafters and of models, as somebody may put them on a hub."""

import json
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save

from seeahead.drafters import bind
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.vision import AdapterConfig, ImageAdapter
from seeahead.executor import ModelInputs
from seeahead.executors.checkpoint import unfuse
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.families.loading import check_model_type
from seeahead.target import Target
from seeahead.testing import answer, tiny_model, tiny_processor

_SHAPE = LlamaShape(6, 8, 12, 1, 2, 1, 4, 32)
_CONFIG = {
    "model_type": "llama", "vocab_size": 6, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "unknown_draft_id": 0,
    "target_vocab_size": 40,
}  # fmt: skip


@cache
def _folders():
    """The smallest drafter of every kind: (config, {file name: tensors})."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder, adapter = Llama(_SHAPE), ImageAdapter(AdapterConfig(8, 8, 4, 4))
        network = MsdNetwork(LlamaShape(1, 8, 12, 1, 2, 1, 4, 32), MsdOptions(visual="query"))
    vocabulary = {"d2t": torch.arange(6) * 5}
    weights = unfuse(decoder) | {"model.embed_tokens.weight": decoder.embedding.weight.detach()}
    own = {"fc.weight": network.fc.weight, "fc.bias": network.fc.bias, "query": network.query}
    features = unfuse(network.decoder) | {name: value.detach() for name, value in own.items()}
    vision = {**_CONFIG, "image_adapter": {"input_width": 8, "width": 8, "hidden_width": 4, "num_tokens": 4}}
    msd = {**_CONFIG, "vocab_size": 1, "feature_drafter": MsdOptions(visual="query").to_json()}
    names = ("model.safetensors", "draft_vocabulary.safetensors", "adapter.safetensors")
    saved = adapter.state_dict()
    return (
        (_CONFIG, dict(zip(names, (save(weights), save(vocabulary))))),
        (vision, dict(zip(names, (save(weights), save(vocabulary), save(saved))))),
        (msd, dict(zip(names, (save(features), save(vocabulary))))),
    )


def make_folder(mutator):
    """A drafter folder as {file name: bytes}, with one or two of its files damaged or gone."""
    config, files = mutator.pick(_folders())
    files = {"config.json": json.dumps(config).encode(), **files}
    for name in {mutator.pick(list(files)) for _ in range(mutator.pick((1, 1, 2)))}:
        if mutator.chance(0.05):
            del files[name]
        elif name == "config.json":
            files[name] = mutator.json([config, *(other for other, _ in _folders())])
        else:
            others = [data for _, tensors in _folders() for data in tensors.values()]
            files[name] = _damaged_tensors(mutator, files[name], others)
    # Without a vocabulary a folder is taken for one of transformers' own models, which takes its time.
    if "draft_vocabulary.safetensors" not in files and mutator.chance(0.9):
        files["draft_vocabulary.safetensors"] = b""
    return files


def _damaged_tensors(mutator, data, others):
    if mutator.chance(0.3):
        return mutator.data([data, *others])
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if mutator.chance(0.4):
        entry = header[mutator.pick([name for name in header if name != "__metadata__"])]
        # Other types of as many bytes: the file is whole, what is in it is not what was meant.
        kinds = ("F32", "I32", "U32") if entry["dtype"] == "F32" else ("I64", "F64", "U64")
        entry["dtype"] = mutator.pick(kinds)
        if mutator.chance(0.5):
            entry["shape"] = entry["shape"][::-1]
    else:
        header = mutator.value([header])
    if mutator.chance(0.2):
        filling = mutator.pick((b"\xff", b"\0", b"\x7f"))
        body = filling * len(body)
    try:
        text = json.dumps(header).encode()
    except (TypeError, ValueError, RecursionError):
        return data[: len(data) // 2]
    return struct.pack("<Q", len(text)) + text + body


def read_folder(value, folder):
    """What was accepted must also draft, and must change no token of an answer, whatever its weights are."""
    _write(value, folder)
    target, inputs = _target(), ModelInputs(torch.tensor([[3, 5, 10, 15, 20]]))
    drafted = answer(target, inputs, bind(str(folder), target), max_new_tokens=6)
    assert drafted.token_ids == _plain_answer()


def _write(files, folder):
    for name, data in files.items():
        (folder / name).write_bytes(data)


@cache
def _target():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Target(Llama(LlamaShape(40, 8, 12, 1, 2, 1, 4, 32)).eval())


@cache
def _plain_answer():
    return answer(_target(), ModelInputs(torch.tensor([[3, 5, 10, 15, 20]])), max_new_tokens=6).token_ids


@cache
def _model_configs():
    kinds = ("llama", "llava", "qwen2_vl", "gemma3")
    values = [tiny_model(kind).config.to_dict() for kind in kinds]
    return tuple(json.loads(json.dumps(value, default=str)) for value in values)


@cache
def _model_files():
    """An ordinary checkpoint of transformers' as {file name: bytes}."""
    with TemporaryDirectory() as name:
        tiny_model("llama").save_pretrained(name)
        tiny_processor("llama").save_pretrained(name)
        return {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}


_SHARE_LOADED = 0.08


def make_model(mutator):
    """A config.json, which is looked at first; now and then a whole folder, which takes its time to load."""
    if not mutator.chance(_SHARE_LOADED):
        return {"config.json": mutator.json(_model_configs())}
    files = dict(_model_files())
    name = mutator.pick(("config.json", mutator.pick(list(files))))
    if name.endswith(".json"):
        files[name] = mutator.json([json.loads(files[name])])
    elif name.endswith(".safetensors"):
        files[name] = _damaged_tensors(mutator, files[name], list(files.values()))
    else:
        files[name] = mutator.data([files[name]])
    return files


def read_model(value, folder):
    _write(value, folder)
    if len(value) > 1:
        return bind(str(folder), _target())
    return check_model_type(folder)
