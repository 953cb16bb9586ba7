"""Shows the demo while it runs: columns that fill side by side on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from seeahead.bench.harness import Watch
from seeahead.bench.record import PLAIN, Run
from seeahead.bench.summary import pace
from seeahead.bench.words import heading
from seeahead.cli import streams, terminal
from seeahead.data.suite import Question
from seeahead.records import Origin

_COLUMN_WIDTH = 26
"""Narrower columns are hard to read: fewer then stand side by side."""

_SECONDS_PER_FRAME = 0.05


def _place(method: str) -> int:
    """Plain decoding stands beside what is to be used, and the others after them."""
    return (PLAIN, "auto").index(method) if method in (PLAIN, "auto") else 2


class Board(Watch):
    """A column per method, filled as words are confirmed. Where nothing can be drawn: the answers to a question when
    all are complete, a repeated one in a word."""

    def __init__(self, console: Console, before: Callable[[], None], about: str = "") -> None:
        """When the asking begins, `before` is called and `about` is said."""
        self._console, self._before, self._about = console, before, about
        self._methods: Sequence[str] = ()
        self._runs: dict[str, Run] = {}
        self._texts: dict[str, Text] = {}
        self._number = self._total = 0
        self._live: Live | None = None
        self._drawn = 0.0

    def begin(self, methods: Sequence[str], num_questions: int) -> None:
        self._methods, self._total = sorted(methods, key=_place), num_questions
        self._before()
        if self._about:
            self._console.print(self._about)
        if terminal.is_live(self._console):
            self._console.print(terminal.LEGEND)

    def ask(self, question: Question) -> None:
        self._number, self._runs = self._number + 1, {}
        self._texts = {method: Text() for method in self._methods}
        images = f" · {', '.join(Path(name).name for name in question.images)}" if question.images else ""
        title = f"{self._number}/{self._total} {question.scenario}{images}"
        self._console.print(Rule(Text(title), align="left", style="dim"))
        self._console.print(Text(streams.printable(question.text), style="bold"))
        if terminal.is_live(self._console):
            # Drawn by hand, between steps: a drawing thread would take time from the model.
            self._live = Live(self._columns(), console=self._console, auto_refresh=False)
            self._live.start()

    def piece(self, method: str, text: str, origin: Origin) -> None:
        self._texts[method].append_text(terminal.coloured(text, origin))
        if monotonic() - self._drawn > _SECONDS_PER_FRAME:
            self._draw()

    def finish(self, run: Run) -> None:
        self._runs[run.method] = run
        self._draw()
        if len(self._runs) == len(self._methods):
            if self._live is None:
                self._print_answers()
            self.close()
            self._console.print()

    def close(self) -> None:
        """Leaves what is drawn, and gives the cursor back: the run is over, or was interrupted."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print_answers(self) -> None:
        self._console.print(streams.printable(self._runs[PLAIN].text), soft_wrap=True)
        for method in self._methods:
            is_same = self._is_same(method)
            same = "" if method == PLAIN else " · same answer" if is_same else " · another answer:"
            self._console.print(f"  {method:<10} {pace(self._runs[method])}{same}", soft_wrap=True)
            if not is_same:
                self._console.print(f"  {streams.printable(self._runs[method].text)}", soft_wrap=True)

    def _is_same(self, method: str) -> bool:
        return self._runs[method].token_ids == self._runs[PLAIN].token_ids

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._columns(), refresh=True)
            self._drawn = monotonic()

    def _columns(self) -> Table:
        per_row = max(1, self._console.width // _COLUMN_WIDTH)
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(min(per_row, len(self._methods))):
            grid.add_column(ratio=1, overflow="fold")
        for start in range(0, len(self._methods), per_row):
            row = self._methods[start : start + per_row]
            grid.add_row(*(Text(heading(method), style="dim") for method in row))
            grid.add_row(*(self._texts[method] for method in row))
            grid.add_row(*(Text(self._footer(method), style="dim") for method in row))
        return grid

    def _footer(self, method: str) -> str:
        if method not in self._runs:
            return ""
        if method == PLAIN or len(self._runs) < len(self._methods):
            return pace(self._runs[method])
        return pace(self._runs[method]) + ("\n= same answer" if self._is_same(method) else "\n≠ another answer")
