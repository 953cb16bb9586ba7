"""What the verbs share when they talk to a person: consoles, progress, drafted words in colour.

stdout carries the result, stderr progress and notes. Colour and live drawing only where a person looks: on a terminal,
and not where NO_COLOR or TERM=dumb asks for plain text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.style import Style
from rich.text import Text

from seeahead.cli.streams import Notes
from seeahead.cli.streams import printable as printable
from seeahead.errors import InputError
from seeahead.records import Origin

ReportProgress = Callable[[str, float], None]
"""(what is being done, share of it that is done)."""

STYLES: dict[Origin, Style] = {"drafted": Style(color="green", bold=True), "target": Style()}
LEGEND = Text.assemble(
    ("green", STYLES["drafted"]), " was guessed by the drafter and confirmed by the model; the rest is the model's own"
)


def result_console() -> Console:
    return _console(is_note=False)


def note_console() -> Console:
    return _console(is_note=True)


def _console(*, is_note: bool) -> Console:
    # Rich's own reading of NO_COLOR leaves bold and dim in; plain text has no escapes at all.
    wants_plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        file=cast("TextIO", Notes(sys.stderr)) if is_note else None,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if wants_plain else "auto",
    )


def is_live(console: Console) -> bool:
    """Whether colour and redrawing reach a person who did not ask for plain text."""
    return console.is_terminal and not console.is_dumb_terminal and not console.no_color


def coloured(text: str, origin: Origin) -> Text:
    return Text(printable(text), STYLES[origin])


def read_prompt(given: str | None) -> str:
    """The prompt as given, or from stdin for `-` or nothing. Raises InputError if there is none to read."""
    if given is not None and given != "-":
        return given
    if sys.stdin is None or (given is None and sys.stdin.isatty()):
        raise InputError("no prompt was given; write it after the options, or pipe it in")
    try:
        return sys.stdin.buffer.read().decode("utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"the text on stdin is not UTF-8 (byte {error.start}); convert it first") from None
    except OSError as error:
        raise InputError(f"the prompt cannot be read from stdin: {error.strerror}; pipe a text in") from None


@contextmanager
def progress(console: Console, timed: Collection[str] = ()) -> Iterator[Bar | Lines]:
    """Shows what is being done, such as loading a model: as a bar, or as lines where nobody can see one.

    What is in `timed` must not be disturbed: the bar is then drawn only when it is told something."""
    shown = (Bar if is_live(console) else Lines)(console, timed)
    try:
        yield shown
    finally:
        shown.stop()


class Bar:
    """Moves by itself, from a thread of its own, but for stages that are timed."""

    def __init__(self, console: Console, timed: Collection[str]) -> None:
        self._console, self._timed = console, timed
        self._start("loading the model", is_timed=False)

    def __call__(self, what: str, share: float) -> None:
        if (what in self._timed) != self._is_timed:
            self.stop()
            self._start(what, is_timed=what in self._timed)
        # A share of 0 that stays 0 is a task of unknown length: the bar pulses.
        self._bars.update(self._task, description=what, total=1.0 if share > 0 else None, completed=share)
        if self._is_timed:
            self._bars.refresh()

    def stop(self) -> None:
        self._bars.stop()

    def _start(self, what: str, *, is_timed: bool) -> None:
        self._is_timed = is_timed
        time_column = TimeRemainingColumn() if is_timed else TimeElapsedColumn()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), time_column)
        self._bars = Progress(*columns, console=self._console, transient=True, auto_refresh=not is_timed)
        self._task = self._bars.add_task(what, total=None)
        self._bars.start()


class Lines:
    """For logs: a line when a stage begins, and at every twentieth of one that is timed."""

    def __init__(self, console: Console, timed: Collection[str]) -> None:
        self._console, self._timed = console, timed
        self._last = ("", 0)

    def __call__(self, what: str, share: float) -> None:
        stage = (what, int(20 * share) if what in self._timed else 0)
        if stage != self._last:
            self._last = stage
            far = f" {share:.0%}" if stage[1] else " …"
            self._console.print(f"seeahead: {what}{far}", soft_wrap=True)

    def stop(self) -> None:
        """Nothing is drawn."""
