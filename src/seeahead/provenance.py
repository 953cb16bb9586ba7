"""Where a number or a weight came from: command, commit, versions, hardware, seed, date; atomic writing, and locks.

Written beside every result and checkpoint, and published with it: so it never carries an absolute path,
a user name or a host name. Knows nothing of the rest of the package but its errors.
"""

import errno
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from seeahead.errors import InputError

_PACKAGES = ("seeahead", "torch", "transformers")
_MAX_ARGUMENT_LENGTH = 200
_PROBE_BYTES = 64 * 1024  # a full disk takes an empty file
# An absolute or upward path inside an argument, also after `=`, `,` or `:`; never the slash of "and/or" or of a URL.
_PATH = re.compile(r"""(?<![\w/.:~-])(?:~?/|\.\./|[A-Za-z]:[\\/])[^\s,;:="']+|(?<=:)/(?!/)[^\s,;:="']+""")
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


def provenance(seed: int | None = None) -> dict[str, object]:
    """JSON-ready record of how this process came to its result."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "command": command_line(sys.argv),
        "commit": _git("rev-parse", "HEAD"),
        "has_local_changes": None if changes is None else changes != "",
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in _PACKAGES},
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": _cpu_model(),
            "num_cores": _num_cores(),
            "gpu": _gpu_name(),
        },
    }


def command_line(argv: list[str]) -> list[str]:
    """`argv` as it may be published: the program by name, paths relative to here or by their last part."""
    program = Path(argv[0]).name if argv else ""
    head = ["python", "-m", "seeahead"] if program == "__main__.py" else [program]
    return head + [publishable(argument) for argument in argv[1:]]


def publishable(argument: str) -> str:
    """Words without paths of this machine and names of its users, and not endless."""
    shown = _PATH.sub(lambda match: _short_path(match.group()), _USER_IN_URL.sub("", argument))
    shown = shown.encode("utf-8", "backslashreplace").decode()  # a name of bytes that are no text
    return shown if len(shown) <= _MAX_ARGUMENT_LENGTH else shown[:_MAX_ARGUMENT_LENGTH] + "…"


def check_writable(path: str | Path) -> None:
    """Raise InputError where `write_text` could not write `path` now: asked before work whose result goes there."""
    try:
        real = Path(os.path.realpath(path))
        _refuse_what_is_no_file(real)
        with beside(next(folder for folder in real.parents if folder.exists()) / real.name) as probe:
            _fill(probe, bytes(_PROBE_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"'{path}' cannot be written as a file: {reason}; give the path of a file in a folder you can write to"
        ) from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write so that a reader, or a crash, sees the old file or the new one and never half of it.

    An OSError names the file that was asked for. A link is followed, and stays one.
    """
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_what_is_no_file(path)  # a replace would put a file in the place of a device
        with beside(path) as temporary:
            _fill(temporary, data)
            temporary.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as `write_bytes` does, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def file_digest(path: Path) -> str:
    """SHA-256 of what is in a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def try_lock(stream: IO[Any]) -> bool | None:
    """Lock an open file for this process until it is closed: True; False where another process holds it.

    None where the system or the disk knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _refuse_what_is_no_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is a folder, a pipe or a device")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name in the same folder, since a replace is atomic only within one file system; afterwards no file has it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):  # never the reason for an error: a read-only disk refuses even this
            temporary.unlink()


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _short_path(path: str) -> str:
    if re.match(r"[A-Za-z]:", path):
        return PureWindowsPath(path).name
    inside = Path(path)
    if inside.is_absolute() and inside.is_relative_to(Path.cwd()):
        return inside.relative_to(Path.cwd()).as_posix()
    return PurePosixPath(path).name


def _git(*command: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    # Installed inside some other project's environment, git would answer for that project.
    if not (root / ".git").exists() or not (root / "src" / "seeahead").is_dir():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return getattr(sys.modules.get(package), "__version__", None)


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _num_cores() -> int:
    # The cores this process may use: a container often gets fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu_name() -> str | None:
    # A process that never imported torch has no result that a GPU could have shaped.
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None
