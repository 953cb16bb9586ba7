"""Images in, answers out: the embedded model, plain beside drafted, and what the drafts gained.

examples:
  seeahead demo
  seeahead demo --quick
  seeahead demo -o out/demo.html
  seeahead demo --quick --json > demo.json
  seeahead demo -m llava-hf/llava-1.5-7b-hf -d lookup -d path/to/drafter
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seeahead.cli import streams, terminal
from seeahead.cli.options import add_target
from seeahead.provenance import check_writable, write_text

ABOUT = "The model is tiny, and some of what it says is wrong. Drafts change no answer and bring it sooner."

if TYPE_CHECKING:
    from seeahead.bench import Result
    from seeahead.bench.figures import Sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--quick", action="store_true", help="three short questions instead of all")
    add("-o", "--output", type=Path, metavar="FILE", help="write the run as one self-contained HTML page")
    add("--json", action="store_true", help="print one line of JSON instead of answers and table")
    several = (
        "what to compare with plain decoding; repeat it for several (default: lookup, language, msd, vision, auto; "
        "with another model lookup, auto)"
    )
    add_target(parser, several, takes_several=True, asks_user=False)


def run(args: argparse.Namespace) -> int:
    from seeahead import bench
    from seeahead.bench.benchmark import ASKING
    from seeahead.bench.harness import Watch
    from seeahead.bench.html import demo_page
    from seeahead.bench.suites import demo_questions
    from seeahead.cli.live import Board

    if args.output is not None:
        check_writable(args.output)
    console = terminal.console()
    about = ABOUT if args.model == "demo" else ""
    # The demo model is small enough to run where drafts change no token at all.
    is_open = args.model == "demo" and args.dtype == args.executor == "auto"
    # A board draws the asking itself: a bar beside it would be drawn over.
    with terminal.Progress(timed=(ASKING,) if args.json else ()) as report, ExitStack() as stack:
        board = Watch() if args.json else stack.enter_context(closing(Board(console, report.stop, about)))
        result = bench.run(
            args.model,
            args.drafter,
            demo_questions(quick=args.quick),
            temperatures=[0.0],
            dtype="float32" if is_open else args.dtype,
            device=args.device,
            executor=args.executor,
            measures_costs=False,
            is_shuffled=False,
            progress=report,
            watch=board,
        )
    if args.json:
        streams.print_json(as_json(result))
    else:
        show(console, result)
    if args.output is not None:
        write_text(args.output, demo_page(result.record))
        streams.say(f"written: {args.output}")
    return 0


def show(console: Console, result: Result) -> None:
    """The closing table, every answer that differs, and what the words mean."""
    from seeahead.bench.figures import SHORT
    from seeahead.bench.summary import difference
    from seeahead.bench.words import DEFINITIONS, heading

    words = [column.word for column in SHORT]
    methods = result.summary.headline_methods
    rows = [(heading(entry.method), *(column.cell(entry).value for column in SHORT)) for entry in methods]
    show_figures(console, ("drafter", *words), rows)
    for gap in result.record.gaps:
        console.print(streams.printable(difference(gap, result.record.asked)), soft_wrap=True)
    for word in words:
        console.print(Text(f"{word}: {DEFINITIONS[word]}", style="dim"))


def show_figures(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table where it fits; else a paragraph per row, so that no figure is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
        console.print(table)
        console.print()
        return
    width = max(map(len, names[1:]))
    for first, *figures in rows:
        console.print(Text(first, style="bold"))
        for name, figure in zip(names[1:], figures, strict=True):
            console.print(f"  {name:<{width}}  {figure}", soft_wrap=True)
        console.print()


def as_json(result: Result) -> dict[str, Any]:
    """The run, its figures (null where there is none), and the answers that they are derived from."""
    from seeahead.bench.figures import SHORT
    from seeahead.bench.words import DEFINITIONS

    record = result.record
    described = ("model_type", "num_parameters", "dtype", "device", "num_threads")
    return {
        "provenance": record.provenance,
        **{name: record.settings[name] for name in described},
        "definitions": {column.word: DEFINITIONS[column.word] for column in SHORT},
        "methods": [_figures(entry) for entry in result.summary.headline_methods],
        "differences": [
            {"question": record.asked[gap.asked].question, **_fields(gap, "method", "position", "logit_gap")}
            for gap in record.gaps
        ],
        "rounds": [
            {
                "question": {
                    "text": record.asked[place].question,
                    **_fields(record.asked[place], "scenario", "pictures", "max_new_tokens", "earlier"),
                },
                "answers": {
                    name: {"text": run.text, **(run.generation.to_json() if run.generation else {})}
                    for name, run in runs.items()
                },
            }
            for place, runs in record.first_answers().items()
        ],
    }


_STORED = {
    "token_rate": "tokens/s",
    "speed_up": "speed-up",
    "end_to_end": "end to end",
    "block_efficiency": "τ",
    "host_share": "host",
    "draft_share": "draft",
}
"""Figures under the names that the JSON has for them."""


def _figures(entry: Sample) -> dict[str, Any]:
    return {
        "method": entry.method,
        "num_answers": entry.num_answers,
        "num_tokens": sum(len(run.token_ids) for run in entry.own.runs),
        "num_identical": entry.num_identical,
        **{name: _value(entry, word) for name, word in _STORED.items()},
        "speed_up_by_scenario": {name: _value(one, "ratio of sums") for name, one in entry.groups["scenario"].items()},
    }


def _value(sample: Sample, word: str) -> float | None:
    return None if (figure := sample[word]) is None else figure.value


def _fields(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}
