"""The program that a process of another engine runs, with the Python of that engine's environment.

python answer.py run_genai.py '{"model": FOLDER, "uses_lookup": false, "num_threads": 2}'
python answer.py run_genai.py convert TARGET FOLDER int8

The file named has `Engine(settings)` with `versions` and `answer(asked)`, and `convert`. Lines of JSON go in and out:
first versions, then an answer to every question, or an error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def main() -> None:
    path, *words = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if words[0] == "convert":
        module.convert(*words[1:])
        return
    # Libraries print what they like; answers go out by a door of their own.
    door = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(told: Mapping[str, Any]) -> None:
        door.write(json.dumps(told) + "\n")
        door.flush()

    try:
        engine = module.Engine(json.loads(words[0]))
    except Exception as error:  # noqa: BLE001 (told to whom it concerns)
        tell({"error": f"{type(error).__name__}: {error}"})
        return
    tell({"versions": {**engine.versions, "python": sys.version.partition(" ")[0]}})
    for line in sys.stdin:
        start_counting()
        try:
            told = engine.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001
            told = {"error": f"{type(error).__name__}: {error}"}
        tell({**told, "peak_bytes": peak_bytes()})


def start_counting() -> None:
    """Count peak memory anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Resident memory of this process at its highest since; 0 if unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
