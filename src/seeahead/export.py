"""Drafters that were trained here, as files that other engines load.

An EAGLE-3 or ViSpec drafter is written as a published head. A language drafter becomes an ordinary Llama over all of
the target's tokens, which transformers takes as `assistant_model` and vLLM as `draft_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from seeahead.checked import checked, several, whole
from seeahead.drafters.dialects import TargetFacts
from seeahead.drafters.folder import KEY, Folder
from seeahead.drafters.head_networks import ViSpecNetwork, spoken
from seeahead.drafters.head_writing import Files, Head, specforge, speculators, vispec, write_files
from seeahead.drafters.language import shape_of
from seeahead.drafters.published import Published, read_published
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError, ModelError, shown
from seeahead.executors.checkpoint import read_language
from seeahead.executors.llama import LlamaShape
from seeahead.executors.tensor_files import AGAIN

_WAYS_OUT = {
    "msd": "no other engine reads msd; train one by recipes/drafters/eagle3.toml",
    "vision": "no other engine reads vision; make a language drafter of it by recipes/drafters/vision-text.toml",
}
_SPARE = 16
"""Numbers that a full-vocabulary model is wider, at least: one that is never zero, and more to keep rows aligned."""
_ALWAYS, _LARGE = 2.0**-10, 2.0**14
"""The number that is never zero, too small to be felt by a norm; and what makes it one that no token survives."""


@dataclass(frozen=True)
class _Own:
    """What a folder says of the target that it was trained for."""

    layers: Annotated[tuple[Annotated[int, whole(0, 1023)], ...], several("layers")]
    architecture: str = ""


def export(source: Path | str, form: str, out: Path, verifier: str = "") -> Path:
    """Writes the drafter in the folder or hub id `source` in another form to the folder `out`, and returns that.

    `verifier`: the target's hub id or folder, which the form of speculators names. Raises SeeaheadError, in one line,
    for a drafter that has no such form."""
    folder = Folder.find(source)
    if folder is None or not folder.is_ours:
        raise InputError(f"{shown(str(source))} is no drafter that was trained here; give the folder of one")
    if form not in (forms := ALLOWED.get(folder.method, {})):
        way_out = _WAYS_OUT.get(folder.method) or f"allowed: {', '.join(forms)}"
        raise InputError(f"{shown(str(source))} is {folder.method}, which has no form {shown(form)}: {way_out}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{shown(str(out))} is not empty; give a new folder with -o")
    files, was_there = forms[form](folder, verifier), out.is_dir()
    try:
        # A full-vocabulary model's norms would not survive 16 bits as they are.
        write_files(files, out, torch.float32 if form == "draft-model" else torch.bfloat16)
    except BaseException:  # half of it would have the same command refused
        for path in out.glob("*"):
            path.unlink()
        if not was_there:
            with suppress(OSError):
                out.rmdir()
        raise
    return out


def _read(folder: Folder) -> Published:
    """In the dialect that its config tells, but for its target's layers. Raises ModelError for tensors that do not
    fit."""
    width = folder.values.get("hidden_size")
    found = read_published(folder.path, folder.values, TargetFacts(8), width if isinstance(width, int) else 1)
    return replace(found, network=spoken(found.network, found.choice.first))


def _own(folder: Folder) -> _Own:
    return checked(_Own, folder.own, f"{folder.where}: {KEY}", ModelError, is_open=True)


def _head(folder: Folder) -> Head:
    found = _read(folder)
    if found.target_ids is None or found.head is None:
        raise ModelError(f"{folder.where} is eagle3's, beside tensors without a d2t and an lm_head.weight; {AGAIN}")
    return Head(found.network, found.target_ids, found.head, _vocab_size(folder))


def _vocab_size(folder: Folder) -> int:
    size = folder.values.get("target_vocab_size")
    if not isinstance(size, int) or size < 1:
        raise ModelError(f"{folder.where} does not say how many tokens its target has; train the drafter again")
    return size


def _as_specforge(folder: Folder, verifier: str) -> Files:
    layers = _own(folder).layers
    if len(set(layers)) < len(layers):
        raise InputError(f"the target has too few layers for a form that names none; take {shown('speculators')}")
    target_type = folder.values.get("target_model_type")
    return specforge(_head(folder), target_type if isinstance(target_type, str) else "")


def _as_speculators(folder: Folder, verifier: str) -> Files:
    if not verifier:
        raise InputError("the form of speculators names its target; give its hub id or folder with -m")
    own = _own(folder)
    named = {"name_or_path": verifier, "architectures": [own.architecture] if own.architecture else []}
    return speculators(_head(folder), own.layers, named)


def _as_vispec(folder: Folder, verifier: str) -> Files:
    network = _read(folder).network
    if not isinstance(network, ViSpecNetwork):
        raise ModelError(f"{folder.where} is vispec's, beside tensors of another format; {AGAIN}")
    return vispec(network, _vocab_size(folder))


# ---- a language drafter over all of the target's tokens


def _as_draft_model(folder: Folder, verifier: str) -> Files:
    vocabulary = folder.vocabulary()
    shape, size = shape_of(folder, vocabulary), _vocab_size(folder)
    tensors = full_vocabulary(read_language(folder.path, shape), shape, vocabulary, size)
    left_out = (KEY, "unknown_draft_id", "target_vocab_size")
    values = {name: value for name, value in folder.values.items() if name not in left_out}
    ids = {name: value for name, value in values.items() if name.endswith("_token_id") and isinstance(value, int)}
    width = shape.hidden_size + _spare(shape)
    return tensors, {
        **values,
        **{name: vocabulary.to_target([value])[0] for name, value in ids.items() if value < len(vocabulary)},
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": size,
        "hidden_size": width,
        "head_dim": shape.head_dim,
        "rms_norm_eps": shape.rms_norm_eps * shape.hidden_size / width,
        "tie_word_embeddings": False,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def full_vocabulary(
    tensors: dict[str, Tensor], shape: LlamaShape, vocabulary: DraftVocabulary, vocab_size: int
) -> dict[str, Tensor]:
    """A Llama's tensors over `vocab_size` tokens, with the same logits for those that it knows; the others are read as
    the unknown one, and their logits are so low that they are never drafted.

    A Llama's head has no bias, so the model is made wider: one number of its states is the same for every token, no
    layer reads or changes it, and the rows of tokens that are not known have nothing but that."""
    width, spare = shape.hidden_size, _spare(shape)
    embedding = tensors["model.embed_tokens.weight"].float()
    head = embedding if shape.tie_word_embeddings else tensors["lm_head.weight"].float()
    rows = torch.zeros(vocab_size, width + spare)
    rows[:, :width] = embedding[vocabulary.table(vocab_size, vocabulary.unknown)]
    rows[:, width] = _ALWAYS
    scores = torch.zeros(vocab_size, width + spare)
    scores[:, width] = -_LARGE
    scores[vocabulary.target_ids] = F.pad(head, (0, spare))
    found = {name: _wider(name, value.float(), width, spare) for name, value in tensors.items()}
    found["model.norm.weight"][width] = _LARGE
    return {**found, "model.embed_tokens.weight": rows, "lm_head.weight": scores}


def _spare(shape: LlamaShape) -> int:
    """transformers takes no width that its heads do not divide, whatever width a head has."""
    width = shape.hidden_size + _SPARE
    return _SPARE + -width % shape.num_attention_heads


def _wider(name: str, value: Tensor, width: int, spare: int) -> Tensor:
    """A layer's tensor or a norm in states that are wider by `spare` numbers of which it knows nothing."""
    if value.ndim == 1:  # a mean over more numbers is smaller
        return F.pad(value * (width / (width + spare)) ** 0.5, (0, spare))
    writes = name.endswith(("o_proj.weight", "down_proj.weight"))
    return F.pad(value, (0, 0, 0, spare) if writes else (0, spare))


ALLOWED: dict[str, dict[str, Callable[[Folder, str], Files]]] = {
    "eagle3": {"eagle3": _as_specforge, "speculators": _as_speculators},
    "vispec": {"vispec": _as_vispec},
    "language": {"draft-model": _as_draft_model},
}
"""Forms that a drafter has, by its method, and what makes their files."""
