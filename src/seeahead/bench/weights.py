"""Which weights a drafter had in a run: found by its name as given, identified by a hash of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from seeahead.drafters import split_settings

_NUM_LETTERS = 16


def weights_of(spec: str, own: Mapping[str, Path]) -> Path | None:
    """The folder that a drafter is read from; None for one without weights. `own`: the target's, by kind."""
    name, options = split_settings(spec)
    if name == "tabed":
        name = split_settings(options.get("vision", "vision"))[0]
    if name in own:
        return own[name]
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def digest(folder: Path) -> str:
    """Of all weights and settings in a folder: equal only for equal files."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".safetensors", ".bin") or path.name == "config.json":
            with path.open("rb") as stream:
                whole.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:_NUM_LETTERS]
