"""A checkpoint with the names of weights that older releases of transformers write, which other engines read."""

from __future__ import annotations

import shutil
from pathlib import Path


def write(target: str, folder: str) -> None:
    """The same numbers."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(target, folder)
    for path in Path(folder).glob("*.safetensors"):
        named = {_old(name): weight for name, weight in load_file(path).items()}
        save_file(named, path, metadata={"format": "pt"})


def _old(name: str) -> str:
    """Newer ones leave a level of a CLIP tower out."""
    begin, end = "vision_tower.", "vision_tower.vision_model."
    return name if not name.startswith(begin) or name.startswith(end) else end + name.removeprefix(begin)
