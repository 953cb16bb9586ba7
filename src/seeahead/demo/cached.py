"""A folder that was built once and is trusted later: what was written into it, workspaces, and what may be removed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seeahead.provenance import try_lock, write_json

MANIFEST = "manifest.json"
_LOCK = ".lock"
_SAMPLE_BYTES, _NUM_SAMPLES = 16_384, 64
_ABANDONED_SECONDS = 3600
_UNUSED_SECONDS = 7 * 24 * 3600


def seal(folder: Path) -> None:
    """Write down what the folder holds, so that `damage` can tell whether it still does."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, _LOCK))
    write_json(
        folder / MANIFEST, {"files": {path.relative_to(folder).as_posix(): _fingerprint(path) for path in files}}
    )


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words; None for one that is whole.

    Cheap enough for every start: sizes, and of large files samples, which find what was cut off or set to zero.
    """
    if not folder.is_dir():
        return "it is no folder"
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        known = {str(name): str(fingerprint) for name, fingerprint in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{MANIFEST} is missing or damaged"
    if not known:
        return f"{MANIFEST} names no files"
    for name, fingerprint in known.items():
        try:
            found = _fingerprint(folder / name)
        except (OSError, ValueError):
            return f"{name} is missing"
        if found != fingerprint:
            return f"{name} is damaged"
    return None


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for start in range(0, size, max(_SAMPLE_BYTES, size // _NUM_SAMPLES)):
            stream.seek(start)
            digest.update(stream.read(_SAMPLE_BYTES))
        stream.seek(max(0, size - _SAMPLE_BYTES))
        digest.update(stream.read())
    return f"{size} {digest.hexdigest()}"


@contextmanager
def workspace(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder that is gone afterwards, unless it was moved. Locked meanwhile: others see that it is in use."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            try_lock(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(built: Path, folder: Path) -> None:
    """Give a sealed workspace its final name; what stands there already is kept if it is whole, else removed."""
    built.chmod(0o755)
    (built / _LOCK).unlink(missing_ok=True)
    try:
        built.rename(folder)
    except OSError:
        if damage(folder) is None:  # another process finished first, which is as good
            return
        if not os.path.lexists(folder):
            raise
        aside = folder.with_name(f"{folder.name}.partial-{uuid.uuid4().hex}")
        folder.rename(aside)
        built.rename(folder)
        _remove(aside)


def mark_used(folder: Path) -> None:
    """Remember when the folder served last: see `remove_leftovers`."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def remove_leftovers(folder: Path) -> None:
    """Take away, beside `folder`, what killed processes left and what no version of the package uses any more.

    Builds and downloads go once nobody holds their lock; folders of other builds when they were not used for a week, or
    at once where they are older than manifests.
    """
    with suppress(OSError):
        for path in list(folder.parent.iterdir()):
            if path == folder or path.is_symlink() or not path.is_dir():
                continue
            is_workspace = re.fullmatch(r"demo-[0-9a-f]{12}\.partial-.*|download-.*", path.name)
            is_build = re.fullmatch(r"demo-[0-9a-f]{12}", path.name)
            manifest = path / MANIFEST
            is_outdated = not manifest.exists() or _age(manifest) > _UNUSED_SECONDS
            if (is_workspace and _is_abandoned(path)) or (is_build and is_outdated):
                shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(workspace: Path) -> bool:
    try:
        with (workspace / _LOCK).open("r+") as lock:
            is_free = try_lock(lock)
    except OSError:  # not locked yet, or no longer
        is_free = None
    return _age(workspace) > _ABANDONED_SECONDS if is_free is None else is_free


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
