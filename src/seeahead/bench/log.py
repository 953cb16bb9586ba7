"""Answers of a run under way, one JSON line each: what was interrupted goes on, and two runs never share a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Self

from seeahead.bench.record import Run
from seeahead.errors import InputError
from seeahead.provenance import try_lock

Key = tuple[int, str, int, float]
"""Question, method, repeat, temperature."""

_START = b'{"asked": '


class Log:
    """Answers so far, after a first line that says what was asked of whom. Locked for this process while it is open."""

    def __init__(self, path: Path | None, asked: Mapping[str, Any]) -> None:
        """`asked`: what has to be equal for a run to go on, as far as it is known before a model is loaded. Without a
        path answers are kept in memory alone.

        Raises InputError when the file belongs to another run, is damaged or cannot be written."""
        self.runs = dict[Key, Run]()
        self.path, self._asked = path, _as_stored(asked)
        self._found: Any = None
        self._stream = None if path is None else self._opened(path)

    def begin(self, found: Mapping[str, Any]) -> None:
        """Say the rest of what has to be equal, once the model is loaded, and compare it or write it down."""
        stored = _as_stored(found)
        if self._found is None:
            self._line({"asked": self._asked, "found": stored})
            self._found = stored
        self._compare(self._found, stored)

    def add(self, run: Run) -> None:
        self.runs[run.key] = run
        self._line(run.to_json())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._found is None:  # nothing was begun, so there is nothing to keep
            self.finish()
        elif self._stream is not None:
            self._stream.close()

    def finish(self) -> None:
        """The run is over and stored elsewhere: the file goes, while it is locked. Closed, it may be another run's."""
        if self._stream is not None and self.path is not None:
            if os.name == "nt":  # where nothing is locked, and what is open stays
                self._stream.close()
            try:
                self.path.unlink(missing_ok=True)
            finally:
                self._stream.close()

    def _opened(self, path: Path) -> FileIO:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: nothing that could not be written comes up again when the file is closed.
            stream = path.open("a+b", buffering=0)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another --output") from None
        try:
            is_ours = try_lock(stream) is not False
            # Opened just before the other run was done and removed it: what is written into it would be lost.
            if not is_ours or not (path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat())):
                raise InputError(f"another run is writing {path}; wait for its end, or choose another --output")
            self._read(stream)
        except BaseException:
            stream.close()
            raise
        return stream

    def _read(self, stream: FileIO) -> None:
        stream.seek(0)
        data = stream.readall() or b""
        whole = data[: data.rfind(b"\n") + 1]
        is_ours = bool(whole) or data.startswith(_START) or _START.startswith(data)
        for number, line in enumerate(whole.split(b"\n")[:-1] if is_ours else [data], 1):
            try:
                if number > 1:
                    run = Run.read(line)
                    self.runs[run.key] = run
                    continue
                head = json.loads(line)
                asked, self._found = head["asked"], dict(head["found"])
            except (ValueError, TypeError, KeyError, RecursionError):
                raise InputError(
                    f"{self.path} is damaged in line {number}; delete it, or choose another --output"
                ) from None
            self._compare(asked, self._asked)
        stream.truncate(len(whole))  # what was cut in the middle of a line

    def _line(self, value: Mapping[str, Any]) -> None:
        if self._stream is None:
            return
        left = memoryview(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; what was answered is kept; once that is mended, "
                "the same command goes on"
            ) from None

    def _compare(self, before: Any, now: Mapping[str, Any]) -> None:
        if before != now:
            others = before if isinstance(before, Mapping) else {}
            names = ", ".join(name for name in now if others.get(name) != now[name])
            raise InputError(
                f"{self.path} holds a run of other settings ({names or 'more of them'}); finish that one, delete it, "
                "or choose another --output"
            )


def _as_stored(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value))
