"""A process that answers: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from seeahead.errors import escaped

LIMIT_SECONDS = 600.0
"""For one answer."""
LOADING_SECONDS = 1800.0
"""For a model that is loaded, by an engine that may compile it first."""


class PeerError(RuntimeError):
    """What another engine failed with, in one line."""


class Worker:
    """A process that answers. What it says to stderr is kept, so that the reason is known when it ends."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        pipe, self._errors = subprocess.PIPE, tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        text: Any = {"encoding": "utf-8", "errors": "replace"}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._errors, env=env, **text)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def read(self, limit_seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
        """The next answer; lines that are no JSON object are passed over. Raises PeerError where the process ends
        instead, tells an `error`, or takes longer than the limit, after which it is ended."""
        timer = threading.Timer(limit_seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            while line := self._output.readline():
                answer = _object_in(line)
                if answer is not None and "error" in answer:
                    raise PeerError(_in_one_line(str(answer["error"])))
                if answer is not None:
                    return answer
        finally:
            timer.cancel()
        raise PeerError(self._how_it_ended())

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Raises PeerError."""
        try:
            self._input.write(json.dumps(asked) + "\n")
            self._input.flush()
        except OSError:  # it has ended before
            raise PeerError(self._how_it_ended()) from None
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._input, self._output, self._errors):
            with suppress(OSError):  # what was not written yet has nobody to read it
                stream.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
        return f"its process ended with exit code {code}: {_in_one_line(last)}"


def _object_in(line: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(line), dict):
            return found
    return None


def _in_one_line(words: str) -> str:
    return escaped(" ".join(words.split()), 300)
