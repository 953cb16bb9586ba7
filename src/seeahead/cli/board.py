"""Shows a comparison while it runs: columns that fill side by side on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from seeahead.bench.compare import Answer, Event, Round, Said
from seeahead.bench.definitions import heading
from seeahead.bench.figures import pace
from seeahead.bench.record import PLAIN
from seeahead.cli import terminal
from seeahead.demo.scenarios import Question

_COLUMN_WIDTH = 26
"""Narrower columns are hard to read: fewer then stand side by side."""

_SECONDS_PER_FRAME = 0.05


class Board:
    """Follows the events of `compare`. `methods` are shown in this order, whoever goes first."""

    def __init__(self, console: Console, methods: Sequence[str], num_questions: int) -> None:
        self._console, self._methods, self._total = console, methods, num_questions
        self._number = 0

    def show(self, event: Event) -> None:
        match event:
            case Question():
                self._number += 1
                self.ask(event)
            case Said():
                self.say(event)
            case Answer():
                self.finish(event)
            case Round():
                self.conclude(event)

    def ask(self, question: Question) -> None:
        pictures = f" · {', '.join(question.pictures)}" if question.pictures else ""
        title = f"{self._number}/{self._total} {question.scenario}{pictures}"
        self._console.print(Rule(escape(title), align="left", style="dim"))
        self._console.print(Text(terminal.printable(question.text), style="bold"))

    def say(self, said: Said) -> None:
        """A part of an answer arrived."""

    def finish(self, answer: Answer) -> None:
        """An answer is complete."""

    def conclude(self, round_: Round) -> None:
        """All answers are there."""

    def close(self) -> None:
        """The comparison is over, or was interrupted."""


class LineBoard(Board):
    """No redrawing and no colour: each answer when it is complete, a repeated one in a word."""

    def conclude(self, round_: Round) -> None:
        self._console.print(terminal.printable(round_.plain.text), soft_wrap=True)
        for method, answer in round_.answers.items():
            same = "" if method == PLAIN else " · same answer" if round_.is_identical(method) else " · another answer:"
            self._console.print(f"  {method:<10} {pace(answer)}{same}", soft_wrap=True)
            if same.endswith(":"):
                self._console.print(f"  {terminal.printable(answer.text)}", soft_wrap=True)
        self._console.print()


class LiveBoard(Board):
    """One column per method, filled as the words are confirmed."""

    def __init__(self, console: Console, methods: Sequence[str], num_questions: int) -> None:
        super().__init__(console, methods, num_questions)
        self._texts: dict[str, Text] = {}
        self._footers: dict[str, str] = {}
        self._drawn = 0.0
        self._live: Live | None = None

    def ask(self, question: Question) -> None:
        super().ask(question)
        self._texts = {method: Text() for method in self._methods}
        self._footers = dict.fromkeys(self._methods, "")
        # Drawn by hand, between steps: a drawing thread would take time from the model.
        self._live = Live(self._columns(), console=self._console, auto_refresh=False)
        self._live.start()

    def say(self, said: Said) -> None:
        self._texts[said.method].append_text(terminal.coloured(said.part.text, said.part.origin))
        if monotonic() - self._drawn > _SECONDS_PER_FRAME:
            self._draw()

    def finish(self, answer: Answer) -> None:
        self._footers[answer.method] = pace(answer)
        self._draw()

    def conclude(self, round_: Round) -> None:
        for method in self._methods:
            if method != PLAIN:
                same = "= same answer" if round_.is_identical(method) else "≠ another answer"
                self._footers[method] += f"\n{same}"
        self._draw()
        self.close()
        self._console.print()

    def close(self) -> None:
        # Leaves what is drawn, and gives the cursor back.
        if self._live is not None:
            self._live.stop()
            self._live = None

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
            grid.add_row(*(Text(self._footers[method], style="dim") for method in row))
        return grid


def board_for(console: Console, methods: Sequence[str], num_questions: int) -> Board:
    kind = LiveBoard if terminal.is_live(console) else LineBoard
    return kind(console, methods, num_questions)
