"""Pictures in, answers out: the embedded model, plain beside drafted, and what the drafts were worth.

examples:
  seeahead demo
  seeahead demo --quick
  seeahead demo --html out/demo.html
  seeahead demo -m llava-hf/llava-1.5-7b-hf -d lookup -d path/to/drafter
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seeahead.cli import streams, terminal
from seeahead.cli.generate import check_drafter
from seeahead.provenance import check_writable, provenance

if TYPE_CHECKING:
    from seeahead.api import Engine
    from seeahead.bench.compare import Difference, Round
    from seeahead.demo.scenarios import Scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (__doc__ or "").partition("\n\n")[2]
    add = parser.add_argument
    add("--quick", action="store_true", help="three short questions instead of all")
    add("--html", type=Path, metavar="FILE", help="write the run as one self-contained page")
    add("--json", action="store_true", help="the last line of stdout is the run as JSON")
    add("-m", "--model", default="demo", help="'demo' (the default), a folder, or a hub id")
    add(
        "-d",
        "--drafter",
        action="append",
        help="what to compare with plain decoding; repeat it for several (default: lookup, language, msd)",
    )
    add("--dtype", default="auto", help="auto (the checkpoint's own), float32, bfloat16, float16")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")


def run(args: argparse.Namespace) -> int:
    from seeahead.bench.compare import differences
    from seeahead.bench.figures import as_json

    drafters = check(args)
    engines, scenarios = prepare(args, drafters)
    console = terminal.result_console()
    if terminal.is_live(console):
        console.print(terminal.LEGEND)
    rounds = watch(console, engines, scenarios)
    found = list(differences(next(iter(engines.values())).family, rounds))
    summarize(console, rounds, found)
    record = {"provenance": provenance(), **describe(engines)}
    if args.html is not None:
        from seeahead.bench.page import write_page

        write_page(args.html, rounds, found, record)
        terminal.note_console().print(f"page: {args.html}", soft_wrap=True)
    if args.json:
        streams.print_json({**record, **as_json(rounds, found)})
    return 0


def check(args: argparse.Namespace) -> list[str]:
    """The drafters to compare. Refuses what needs no model to be known wrong."""
    from seeahead.families.loading import check_model_type, pick_device, pick_dtype

    pick_dtype(args.dtype)
    pick_device(args.device)
    if args.html is not None:
        check_writable(args.html)
    drafters = args.drafter or (["lookup", "language", "msd"] if args.model == "demo" else ["lookup"])
    for spec in drafters:
        check_drafter(spec, has_own=args.model == "demo")
    if args.model != "demo":
        check_model_type(args.model)
    return [spec for spec in drafters if spec != "none"]


def prepare(args: argparse.Namespace, drafters: list[str]) -> tuple[dict[str, Engine], tuple[Scenario, ...]]:
    """Load everything and run it in; the scenarios are those that the model can serve."""
    from seeahead.bench.compare import warm_up
    from seeahead.demo.scenarios import QUICK, SCENARIOS

    with terminal.progress(terminal.note_console()) as report:
        engines = load_engines(args, drafters, report)
        scenarios = QUICK if args.quick else SCENARIOS
        if not next(iter(engines.values())).family.can_see:
            scenarios = tuple(scenario for scenario in scenarios if not scenario.conversations[0].pictures)
        for share in warm_up(engines, scenarios):
            report("warming up", share)
    return engines, scenarios


def load_engines(args: argparse.Namespace, drafters: list[str], report: terminal.ReportProgress) -> dict[str, Engine]:
    """Plain first, then one engine per drafter, all on one target."""
    from seeahead.api import load
    from seeahead.bench.record import PLAIN

    plain = load(args.model, PLAIN, dtype=args.dtype, device=args.device, progress=report)
    engines = {PLAIN: plain}
    for spec in drafters:
        engine = plain.with_drafter(spec)
        name = engine.drafter.name
        engines[name if name not in engines else f"{name} {len(engines)}"] = engine
    return engines


def watch(console: Console, engines: Mapping[str, Engine], scenarios: tuple[Scenario, ...]) -> list[Round]:
    from seeahead.bench.compare import Round, compare, num_questions
    from seeahead.cli.board import board_for

    board = board_for(console, list(engines), num_questions(scenarios))
    rounds = []
    with ExitStack() as stack:
        stack.callback(board.close)
        for event in compare(engines, scenarios):
            board.show(event)
            if isinstance(event, Round):
                rounds.append(event)
    return rounds


def summarize(console: Console, rounds: list[Round], found: list[Difference]) -> None:
    """The closing table, its definitions, and every answer that differs."""
    from seeahead.bench.definitions import heading
    from seeahead.bench.figures import COLUMNS, cells, definitions, difference_line, summary_of

    rows = [(heading(entry.method), *cells(entry)) for entry in summary_of(rounds).headline_methods]
    show_figures(console, ("drafter", *COLUMNS), rows)
    for difference in found:
        console.print(terminal.printable(difference_line(difference)), soft_wrap=True)
    for name, meaning in definitions().items():
        console.print(Text(f"{name}: {meaning}", style="dim"))


def show_figures(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table where it fits; else a paragraph per row, so that no figure is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    unbounded = console.options.update(width=10_000)
    if console.measure(table, options=unbounded).maximum <= console.width:
        console.print(table)
        console.print()
        return
    width = max(map(len, names[1:]), default=0)
    for first, *figures in rows:
        console.print(Text(first, style="bold"))
        for name, figure in zip(names[1:], figures, strict=True):
            console.print(f"  {name:<{width}}  {figure}", soft_wrap=True)
        console.print()


def describe(engines: Mapping[str, Engine]) -> dict[str, Any]:
    """What was run, in words that may be published: no path of this machine."""
    import torch

    family = next(iter(engines.values())).family
    return {
        "model_type": family.model.config.model_type,
        "num_parameters": sum(weight.numel() for weight in family.model.parameters()),
        "dtype": str(family.dtype).removeprefix("torch."),
        "device": family.device.type,
        "num_threads": torch.get_num_threads(),
    }
