"""What the verbs share when they talk to a person: consoles, progress, drafted words in colour.

stdout carries the result, stderr progress and notes. Colour and live drawing only where a person looks: on a terminal,
and not where NO_COLOR or TERM=dumb asks for plain text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
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
def progress(console: Console) -> Iterator[ReportProgress]:
    """A bar while a model is loaded or built; a line per stage of the building where nobody can see a bar.

    Gone before anything is timed: it draws from a thread of its own.
    """
    if not is_live(console):
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("loading the model", total=None)

        def report(what: str, share: float) -> None:
            # A share of 0 that stays 0 is a task of unknown length: the bar pulses.
            bars.update(task, description=what, total=1.0 if share > 0 else None, completed=share)

        yield report


@contextmanager
def still_progress(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that is drawn only when it is advanced: what runs in between is timed. Lines where nobody can see a bar."""
    if not is_live(console):
        yield _Milestones(console, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, transient=True, auto_refresh=False)
    with bars:
        task = bars.add_task(what, total=total)

        def advance() -> None:
            bars.advance(task)
            bars.refresh()

        yield advance


class _Milestones:
    """A line at every twentieth part: for logs."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total, self._done = console, what, total, 0

    def __call__(self) -> None:
        self._done += 1
        if 20 * self._done // self._total > 20 * (self._done - 1) // self._total:
            share = self._done / self._total
            self._console.print(f"seeahead: {self._what} {share:.0%} ({self._done} of {self._total})", soft_wrap=True)


class _Lines:
    """One line when a stage begins: for logs."""

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, ""

    def __call__(self, what: str, share: float) -> None:
        if what != self._last:
            self._last = what
            self._console.print(f"seeahead: {what} …", soft_wrap=True)
