"""Takes in new releases: resolves everything that `make demo`, `make test` and `make docs` install anew, and pins it.

    make lock

Writes constraints.txt (newest transformers) and constraints-oldest.txt (oldest supported one), and moves the tested
upper bound of transformers in pyproject.toml and in `seeahead.compat`. torch stays where it is pinned. Afterwards
`make check test test-oldest` says whether the project holds with what is new.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT, COMPAT = ROOT / "pyproject.toml", ROOT / "src" / "seeahead" / "compat.py"
NEWEST_FILE, OLDEST_FILE = ROOT / "constraints.txt", ROOT / "constraints-oldest.txt"
EXTRAS = ("demo", "dev", "docs")
HEADER = """\
# Everything that `make {targets}` install{s}, pinned, so that a new release anywhere changes nothing here.
# Renewed by `make lock`; pyproject.toml keeps the ranges wide for everybody else.
"""


def main() -> int:
    """Exit code 0, or that of the first command that failed; nothing is written before all has been resolved."""
    torch = _pinned_torch()
    wanted = [torch, *_requirements()]
    oldest = _oldest()
    with tempfile.TemporaryDirectory() as folder:
        print("resolving with the newest transformers", file=sys.stderr)
        newest_pins = _resolve(Path(folder) / "newest", [*wanted, "transformers<6"])
        print(f"resolving with transformers {oldest}", file=sys.stderr)
        oldest_pins = _resolve(Path(folder) / "oldest", [*wanted, f"transformers=={oldest}.*"])
    _write(NEWEST_FILE, HEADER.format(targets="demo`, `make test` and `make docs", s="") + newest_pins)
    _write(OLDEST_FILE, HEADER.format(targets="test-oldest", s="s") + oldest_pins)
    _move_bound(newest_pins)
    return 0


def _pinned_torch() -> str:
    return next(line for line in NEWEST_FILE.read_text().splitlines() if line.startswith("torch=="))


def _requirements() -> list[str]:
    """What the project and the extras of these commands ask for, torch and transformers apart."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    named = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    build = tomllib.loads(PYPROJECT.read_text())["build-system"]["requires"]
    return [line for line in [*named, *build] if re.match(r"[\w-]+", line).group() not in ("torch", "transformers")]


def _resolve(folder: Path, requirements: list[str]) -> str:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *requirements], check=True)
    frozen = subprocess.run([*pip, "freeze", "--all"], check=True, capture_output=True, text=True).stdout
    # A build of torch for one kind of machine ("+cpu") is the same release elsewhere.
    lines = [line.partition("+")[0] for line in frozen.splitlines() if "==" in line and not line.startswith("pip==")]
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def _oldest() -> str:
    """The oldest supported release, as the one line of compat.py states it."""
    found = re.search(r'^OLDEST, NEWEST = "([\d.]+)", "[\d.]+"$', COMPAT.read_text(), re.MULTILINE)
    assert found is not None, "compat.py states the supported range in one line"
    return found.group(1)


def _move_bound(pins: str) -> None:
    version = re.search(r"^transformers==(\d+)\.(\d+)", pins, re.MULTILINE)
    assert version is not None
    major, minor = version.groups()
    oldest = _oldest()
    line = f'OLDEST, NEWEST = "{oldest}", "{major}.{minor}"'
    compat = re.sub("^OLDEST, NEWEST = .*$", line, COMPAT.read_text(), flags=re.MULTILINE)
    bound = f'"transformers>={oldest},<{major}.{int(minor) + 1}"'
    _write(COMPAT, compat)
    _write(PYPROJECT, re.sub(r'"transformers>=[^"]*"', bound, PYPROJECT.read_text()))


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
