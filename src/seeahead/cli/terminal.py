"""What the verbs share when they talk to a person: consoles, progress, drafted words in colour.

stdout carries the result, stderr progress and notes. Colour and live drawing only where a person looks: on a terminal,
and not where NO_COLOR or TERM=dumb asks for plain text.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from time import monotonic
from typing import Any

from rich import progress as bars
from rich.console import Console
from rich.style import Style
from rich.text import Text

from seeahead.cli.streams import Talk, note, printable, talk
from seeahead.records import TARGET, Origin

_DRAFTED = Style(color="green", bold=True)
LEGEND = Text.assemble(
    ("green", _DRAFTED), " was guessed by the drafter and confirmed by the model; the rest is the model's own"
)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """For `main` to tell, where rich would end the process with a code of its own."""
        raise  # noqa: PLE0704 - rich calls it while it handles the error


def console(*, stderr: bool = False) -> Console:
    # Rich's own reading of NO_COLOR leaves bold and dim in; plain text has no escapes at all.
    colours: Any = None if os.environ.get("NO_COLOR") else "auto"
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, color_system=colours)


def is_live(at: Console) -> bool:
    """Whether colour and redrawing reach a person who did not ask for plain text."""
    return at.is_terminal and not at.is_dumb_terminal and not at.no_color


def coloured(text: str, origin: Origin) -> Text:
    return Text(printable(text), Style() if origin == TARGET else _DRAFTED)


class Progress:
    """What is being done, such as loading a model: a bar where a person looks, elsewhere a line per stage.

    What is in `timed` must not be disturbed: its bar is drawn only when it is told something, where others move by
    themselves, from a thread of their own. As it is long, it has a line at every twentieth.
    Lines that say when, and no bar, where the user wants to be told more.
    """

    def __init__(self, timed: Collection[str] = (), notes: Console | None = None) -> None:
        self._console = notes or console(stderr=True)
        self._timed, self._last = timed, ("", 0)
        self._started, self._says_when = monotonic(), talk() is Talk.VERBOSE
        self._bar: bars.Progress | None = None

    def __enter__(self) -> Progress:
        if is_live(self._console) and talk() is Talk.NORMAL:
            self._bar = self._drawn("loading the model", is_timed=False)
        if self._says_when:
            self("loading the model", 0.0)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        if self._says_when:
            note(f"{self._when()}done")

    def __call__(self, what: str, share: float) -> None:
        is_timed = what in self._timed
        stage = (what, int(20 * share) if is_timed else 0)
        if self._bar is None:
            if stage != self._last:
                note(f"{self._when()}{what} {share:.0%}" if stage[1] else f"{self._when()}{what} …")
        else:
            if is_timed == self._bar.live.auto_refresh:
                self.stop()
                self._bar = self._drawn(what, is_timed=is_timed)
            # A share of 0 that stays 0 is a task of unknown length: the bar pulses.
            total = 1.0 if share > 0 else None
            self._bar.update(self._bar.task_ids[0], description=what, total=total, completed=share, refresh=is_timed)
        self._last = stage

    def _when(self) -> str:
        return f"{monotonic() - self._started:.1f} s: " if self._says_when else ""

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _drawn(self, what: str, *, is_timed: bool) -> bars.Progress:
        left = bars.TimeRemainingColumn() if is_timed else bars.TimeElapsedColumn()
        named = (bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.BarColumn())
        columns = (*named, bars.TaskProgressColumn(), left)
        drawn = bars.Progress(*columns, console=self._console, transient=True, auto_refresh=not is_timed)
        drawn.add_task(what, total=None)
        drawn.start()
        return drawn
