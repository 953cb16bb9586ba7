"""Prove a model on itself: trees against whole passes, then whole answers against transformers' generate.

examples:
  seeahead check -m demo
  seeahead check -m HuggingFaceTB/SmolVLM-256M-Instruct --dtype float32
  seeahead check -m ./my-model -d ./my-drafter --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from seeahead.cli import streams, terminal
from seeahead.cli.options import add_target
from seeahead.provenance import provenance

if TYPE_CHECKING:
    from seeahead.self_check import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser, "also answer with this drafter: a kind, a folder, or a hub id")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """0 if everything holds, 1 if something does not."""
    with terminal.progress(terminal.note_console()) as report:
        from seeahead.api import load
        from seeahead.self_check import check

        given = args.drafter or "none"  # so that a wrong name is told before weights are read
        engine = load(args.model, given, dtype=args.dtype, device=args.device, self_check=False, progress=report)
        rows = list(check(engine, args.drafter, report))
    holds = all(row.holds for row in rows)
    if args.json:
        streams.print_json({"holds": holds, "rows": [asdict(row) for row in rows], "provenance": provenance()})
    else:
        _show(rows, args.model)
    return 0 if holds else 1


def _show(rows: list[Row], model: str) -> None:
    table = Table(title=f"self-check of {model}", title_justify="left")
    table.add_column("check")
    table.add_column("holds")
    table.add_column("figure")
    for row in rows:
        table.add_row(row.check, "yes" if row.holds else "NO", row.figure)
    console = terminal.result_console()
    console.print(table)
    failed = sum(not row.holds for row in rows)
    verdict = "everything holds" if not failed else f"{failed} of {len(rows)} do not hold: do not decode it with drafts"
    console.print(verdict, soft_wrap=True)
