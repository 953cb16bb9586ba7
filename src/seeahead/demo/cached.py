"""A folder that was built once and is trusted later: what was written into it, workspaces, and what may be removed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seeahead.checked import read_json
from seeahead.errors import ModelError
from seeahead.provenance import try_lock, write_json

MANIFEST = "manifest.json"
_LOCK = ".lock"
DOWNLOAD = "demo-download.partial-"
"""What a workspace to download into is called at first. The cache may be a folder with things of the user's own."""
_BUILD = re.compile(r"demo-[0-9a-f]{12}")
_WORKSPACE = re.compile(rf"(?:{_BUILD.pattern}\.partial-|{re.escape(DOWNLOAD)})[a-z0-9_]{{8}}")
_SAMPLE_BYTES, _NUM_SAMPLES = 16_384, 64
_ABANDONED_SECONDS = 3600
_UNUSED_SECONDS = 7 * 24 * 3600


def seal(folder: Path) -> None:
    """Write down what the folder holds, so that `damage` can tell whether it still does."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    known = {path.relative_to(folder).as_posix(): fingerprint_of(path) for path in files}
    write_json(folder / MANIFEST, {"files": known})


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words; None for one that is whole.

    Cheap enough for every start: sizes, and of large files samples, which find what was cut off or set to zero.
    """
    try:
        files = read_json(folder / MANIFEST, "", ModelError).get("files")
    except ModelError:
        files = None
    if not isinstance(files, dict) or not files:
        return f"{MANIFEST} is missing or damaged" if os.path.lexists(folder) else "it is not built"
    for name, fingerprint in files.items():
        try:
            is_whole = fingerprint_of(folder / name) == fingerprint
        except (OSError, ValueError):
            return f"{name} is missing"
        if not is_whole:
            return f"{name} is damaged"
    return None


def fingerprint_of(path: Path) -> str:
    """Its size and a hash of samples."""
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
    """A new folder that is gone afterwards. Locked meanwhile: others see that it is in use."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            try_lock(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(built: Path, folder: Path) -> None:
    """Give a sealed folder inside a workspace its final name; what stands there is kept if whole, else goes."""
    try:
        built.rename(folder)
    except OSError:
        if not os.path.lexists(folder):
            raise
        if damage(folder) is not None:  # a whole one is as good: of another process, which finished first
            folder.rename(built.with_name("replaced"))
            built.rename(folder)


def remove_leftovers(folder: Path) -> None:
    """Note that `folder` serves, and take away beside it what killed processes left and what no version uses any more.

    Builds and downloads go once nobody holds their lock; folders of other builds when they were not used for a week.
    """
    with suppress(OSError):
        os.utime(folder / MANIFEST)
    with suppress(OSError):
        for path in list(folder.parent.iterdir()):
            if path != folder and path.is_dir() and not path.is_symlink() and _is_left(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    now = time.time()
    if _BUILD.fullmatch(path.name):
        manifest = path / MANIFEST
        return manifest.is_file() and now - manifest.stat().st_mtime > _UNUSED_SECONDS
    if not _WORKSPACE.fullmatch(path.name):
        return False
    try:
        with (path / _LOCK).open("r+") as lock:
            is_free = try_lock(lock)
    except OSError:  # not locked yet, or no longer
        return not any(path.iterdir()) and now - path.stat().st_mtime > _ABANDONED_SECONDS
    return now - path.stat().st_mtime > _ABANDONED_SECONDS if is_free is None else is_free
