"""A process that answers: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any


class Worker:
    """A process that answers."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def read(self) -> dict[str, Any]:
        while line := self._output.readline():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"a worker ended: {' '.join(self._process.args)[:200]}")  # type: ignore[arg-type]

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._input.write(json.dumps(asked) + "\n")
        self._input.flush()
        return self.read()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
