"""What results in a folder came from, so that those of another target, other data or another recipe are not used again.

A target is known by its class, its settings, its chat template and a few numbers of each of its tensors: enough to tell
a fine-tune from what it was tuned from, and read in a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from seeahead.checked import read_json
from seeahead.errors import InputError, escaped
from seeahead.provenance import write_json
from seeahead.train.optimizers import Limits

if TYPE_CHECKING:
    from seeahead.data.conversations import Conversation
    from seeahead.families.base import Family
    from seeahead.images import ImageSource
    from seeahead.train.recipe import DrafterRecipe, StageRecipe

FILE_NAME = "origin.json"
Origin = Mapping[str, str]
"""What something came from, by name."""
LIMITS = frozenset(field.name for field in fields(Limits))
"""Of a stage's origin, what may change while it is under way."""
_OF_THIS_MACHINE = ("transformers_version", "dtype", "torch_dtype", "use_cache")
_SAMPLED = 64
"""Numbers of a tensor that are looked at."""
_LENGTH = 16
"""Of a digest."""


def origin_of_answers(family: Family, conversations: Sequence[Conversation], recipe: DrafterRecipe) -> Origin:
    """Minutes are left out: given more of them, the target goes on writing."""
    model = family.model
    template = getattr(family.processor, "chat_template", None) or getattr(family.tokenizer, "chat_template", None)
    asked = [[entry.messages, [_identity(image) for image in entry.images]] for entry in conversations]
    return {
        "target": type(model).__name__,
        "target's settings": _digest([_plain(model.config.to_diff_dict()), family.end_token_ids]),
        "target's weights": _sampled(model),
        "target's chat template": _digest(template),
        "data": _digest(asked),
        "seed": str(recipe.seed),
        **{name: str(value) for name, value in asdict(recipe.writing).items() if name != "minutes"},
    }


def origin_of_stage(recipe: DrafterRecipe, entry: StageRecipe, given: Origin) -> dict[str, str]:
    """`given`: what the run started from and learned from. What came before the stage is part of it."""
    before = recipe.stages[: recipe.stages.index(entry)]
    return {
        **{f"[network] {name}": str(value) for name, value in asdict(recipe.network).items()},
        **{name: str(getattr(recipe, name)) for name in ("kind", "seed", "text", "line_tokens")},
        **given,
        **{name: str(value) for name, value in vars(entry).items() if name not in ("name", "limits")},
        **origin_of_limits(entry.limits),
        "stages before": _digest([str(stage) for stage in before]),
    }


def origin_of_limits(limits: Limits) -> dict[str, str]:
    """What a stage's optimizers keep in mind depends on which there are."""
    told = {name: str(value) for name, value in asdict(limits).items()}
    return {**told, "has matrix_rate": str(limits.matrix_rate > 0), "has average": str(limits.average > 0)}


def check_answers(folder: Path, origin: Origin) -> None:
    """Marks an empty folder as one of these answers. Raises InputError for one that holds others."""
    path = folder / FILE_NAME
    if path.is_file():
        found = read_json(path, f"choose another --answers, or delete {folder}", InputError)
        if told := differences(found, origin):
            raise InputError(
                f"the answers in {folder} are not of this run: {told}; choose another --answers or --out, or delete "
                "them"
            )
    elif any(folder.glob("*.jsonl")):
        raise InputError(
            f"{folder} holds .jsonl files but no {FILE_NAME} that says which target wrote them; choose another "
            "--answers, or delete them"
        )
    else:
        write_json(path, origin)


def differences(found: Mapping[str, Any], wanted: Origin) -> str:
    """In words, what is not the same; nothing where all is."""
    told = []
    for name in dict.fromkeys([*wanted, *found]):
        before, now = (str(origin.get(name, "not there")) for origin in (found, wanted))
        if before != now:
            is_digest = len(now) == len(before) == _LENGTH
            told.append(f"another {name}" if is_digest else f"{name} was {escaped(before, 60)}, is {escaped(now, 60)}")
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


def digest_of_file(path: Path) -> str:
    """Of what is in a file; the same for all that are not there."""
    if not path.is_file():
        return "none"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:_LENGTH]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:_LENGTH]


def _plain(config: Any) -> Any:
    """A model's settings without those of one machine or one release."""
    if not isinstance(config, dict):
        return config
    kept = {name: value for name, value in config.items() if name not in _OF_THIS_MACHINE}
    return {name: _plain(value) for name, value in kept.items() if not str(name).startswith("_")}


def _sampled(model: torch.nn.Module) -> str:
    """Of some numbers of every tensor."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        few = value.detach().flatten()[:: max(1, value.numel() // _SAMPLED)][:_SAMPLED]
        digest.update(f"{name} {tuple(value.shape)}".encode() + few.double().cpu().numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]


def _identity(image: ImageSource) -> str:
    """Enough of an image to see that the data are others; what is asked about it stands beside."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if isinstance(image, str | Path):
        path = Path(image)
        return f"{path.name} {path.stat().st_size if path.is_file() else 0}"
    return f"{image.mode} {image.size}" if isinstance(image, Image.Image) else type(image).__name__
