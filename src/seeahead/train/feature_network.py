"""Feature networks on disk, as they are trained: written as a drafter folder, read back to go on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from seeahead.drafters.folder import KEY, MSD, Folder, fingerprint_of
from seeahead.drafters.msd import MsdNetwork, read_network
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError
from seeahead.executors.checkpoint import WEIGHTS, unfuse
from seeahead.provenance import write_json
from seeahead.target import Target


def save_feature_network(network: MsdNetwork, vocabulary: DraftVocabulary, target: Target, folder: Path) -> None:
    """A drafter folder, in bfloat16: config.json, model.safetensors (a Llama layer and fc), the vocabulary's map."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("decoder.")}
    tensors = unfuse(network.decoder) | own
    save_file({name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
    save_file({"d2t": vocabulary.offsets()}, folder / VOCABULARY_FILE)
    values = {
        "model_type": "llama",
        **asdict(network.decoder.config),
        "target_vocab_size": target.vocab_size,
        KEY: {"kind": "msd", "target": fingerprint_of(target)},
        "unknown_draft_id": vocabulary.unknown,
        MSD: network.options.to_json(),
    }
    write_json(folder / "config.json", values)


def load_to_train(folder: Path, width: int, vocab_size: int) -> tuple[MsdNetwork, DraftVocabulary]:
    """A feature drafter to go on from. Raises ModelError for what is none, or is one for another target."""
    found = Folder.read(folder) if (folder / "config.json").is_file() else Folder(folder, {})
    if MSD not in found.values:
        raise ModelError(
            f"'{folder}' is not an msd drafter to start from; give the folder of one, or leave --start out"
        )
    network, vocabulary = read_network(found), found.vocabulary()
    highest, theirs = vocabulary.highest, network.decoder.config.hidden_size
    if theirs != width or highest >= vocab_size:
        raise ModelError(
            f"'{folder}' is for features of width {theirs} and tokens up to {highest}; the target has width {width}, "
            f"{vocab_size} tokens; start from one for this target, or leave --start out"
        )
    return network, vocabulary
