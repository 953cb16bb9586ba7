"""Environments and converted models for other engines, below the cache folder: made once, never seen half there.

An environment is made where it stays, and counts once the note in it says so; a model is converted beside its place and
renamed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from seeahead.bench.peers.table import OTHERS, OtherEngine, Peer, spelled
from seeahead.cache_folder import default_cache
from seeahead.checked import read_json
from seeahead.data.packages import Progress
from seeahead.demo import cached
from seeahead.demo.build import demo_folder, ensure
from seeahead.drafters.at_hand import here
from seeahead.errors import InputError, ModelError, escaped, shown
from seeahead.provenance import try_lock, write_json

COMMAND = "seeahead bench --set-up-peers"
_NOTE = "ready.json"
_LETTERS = 12
_LONGEST = 300


def set_up(target: str = "demo", names: Sequence[str] = (), progress: Progress | None = None) -> list[str]:
    """Environments of the engines, and the target converted for them; by default all. What is there already is kept.

    Returns the peers that are ready. Raises InputError where one is not, once the others are."""
    tell = progress or (lambda what, share: None)
    chosen = [spelled(name) for name in names] or list(OTHERS)
    if wrong := next((name for name in chosen if name not in OTHERS), None):
        raise InputError(f"peer {shown(wrong)} needs no setting up, or is none; allowed: {', '.join(OTHERS)}")
    folder = ensure(progress=progress).target if target == "demo" else folder_of(target)
    peers = [OTHERS[name] for name in chosen]
    failures: dict[str, str] = {}
    for engine in dict.fromkeys(peer.engine for peer in peers):
        try:
            _install(engine, tell)
            for kind in dict.fromkeys(peer.converts_to for peer in peers if peer.engine is engine):
                if kind:
                    _convert(engine, kind, folder, tell)
        except (_CommandError, InputError, OSError) as error:
            failures[engine.title] = str(error)
    if failures:
        raise InputError("; ".join(f"{title} cannot be set up: {reason}" for title, reason in failures.items()))
    return [peer.name for peer in peers]


def check(names: Sequence[str], target: str) -> None:
    """Raises InputError for a peer that is not set up for the target, naming the command."""
    for name in names:
        if not is_ready(OTHERS[name], target):
            own = "" if target == "demo" else f" -m {target}"
            before = _failure_of(OTHERS[name].engine)
            raise InputError(
                f"peer {shown(name)} is not set up for this model{before}; run: {COMMAND}{own} (takes minutes, some GB)"
            )


def is_ready(peer: Peer, target: str) -> bool:
    if not _is_installed(peer.engine):
        return False
    if not peer.converts_to:
        return True
    folder = demo_folder() / "target" if target == "demo" else folder_of(target)
    return cached.damage(converted(peer.engine, peer.converts_to, folder)) is None


def python_of(engine: OtherEngine) -> Path:
    folder = environment(engine)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def model_of(peer: Peer, target: str) -> Path:
    """The folder that the peer reads."""
    folder = ensure().target if target == "demo" else folder_of(target)
    return converted(peer.engine, peer.converts_to, folder) if peer.converts_to else folder


def environment(engine: OtherEngine) -> Path:
    return default_cache() / "peers" / f"{engine.name}-{_digest(engine)}"


def converted(engine: OtherEngine, kind: str, target: Path) -> Path:
    """Where it lies, for the files of this target, and as these programs convert it."""
    files = sorted(path for path in target.iterdir() if path.is_file()) if target.is_dir() else []
    whole = hashlib.sha256("".join(f"{path.name} {cached.fingerprint_of(path)}\n" for path in files).encode())
    how = hashlib.sha256(b"".join(path.read_bytes() for path in engine.programs)).hexdigest()[:_LETTERS]
    return default_cache() / "peers" / "models" / f"{whole.hexdigest()[:_LETTERS]}-{kind}-{_digest(engine)}-{how}"


def folder_of(target: str) -> Path:
    """Of a model that is on this machine. Raises InputError for another one."""
    folder = here(target) or Path(target)
    if not (folder / "config.json").is_file():
        raise InputError(f"model {shown(target)} is not on this machine; give a folder, or load the hub's model once")
    return folder


class _CommandError(RuntimeError):
    """Of a command, in one line."""


def _digest(engine: OtherEngine) -> str:
    return hashlib.sha256(repr((engine.packages, engine.unwanted)).encode()).hexdigest()[:_LETTERS]


def _note(engine: OtherEngine) -> Mapping[str, object]:
    try:
        return read_json(environment(engine) / _NOTE, "", ModelError)
    except ModelError:
        return {}


def _is_installed(engine: OtherEngine) -> bool:
    return _note(engine).get("is_ready") is True and python_of(engine).exists()


def _failure_of(engine: OtherEngine) -> str:
    reason = _note(engine).get("error")
    return f", and the last attempt failed ({escaped(reason, _LONGEST)})" if isinstance(reason, str) else ""


def _install(engine: OtherEngine, tell: Progress) -> None:
    if _is_installed(engine):
        return
    folder, python = environment(engine), str(python_of(engine))
    with _locked(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that did not end
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        steps = [
            ("an environment", [sys.executable, "-m", "venv", str(folder)]),
            ("its packages; this takes minutes", [*pip, "install", "--quiet", *engine.packages]),
            *([("what is in the way", [*pip, "uninstall", "--yes", *engine.unwanted])] if engine.unwanted else []),
        ]
        try:
            for number, (what, command) in enumerate(steps):
                tell(f"{engine.title}: {what}", number / len(steps))
                _run(command)
        except _CommandError as error:
            write_json(folder / _NOTE, {"is_ready": False, "error": str(error)})
            raise
        write_json(folder / _NOTE, {"is_ready": True})


def _convert(engine: OtherEngine, kind: str, target: Path, tell: Progress) -> None:
    folder = converted(engine, kind, target)
    if cached.damage(folder) is None:
        return
    with _locked(folder), cached.workspace(folder.parent, "download-") as workspace:
        tell(f"{engine.title}: the model in {kind}", 0.0)
        made = workspace / "made"
        _run(engine.command(python_of(engine), "convert", str(target), str(made), kind))
        cached.seal(made)
        cached.put_in_place(made, folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        if try_lock(lock) is False:
            raise InputError(f"another process is setting up {folder.name}; wait for its end")
        yield


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".split("\n") if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines or ["nothing was said"]
        ended = f"{Path(command[0]).name} ended with exit code {done.returncode}"
        raise _CommandError(f"{ended}: {escaped(errors[-1], _LONGEST)}")
