"""Prove a model on itself: trees against whole passes, then whole answers against transformers' generate.

examples:
  seeahead check -m demo
  seeahead check -m HuggingFaceTB/SmolVLM-256M-Instruct --dtype float32
  seeahead check -m ./my-model -d ./my-drafter --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from rich.table import Table

from seeahead.cli import streams, terminal
from seeahead.cli.options import add_target, loaded
from seeahead.provenance import provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser, "also answer with this drafter: a kind, a folder, or a hub id")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """0 if everything holds, 1 if something does not."""
    with terminal.Progress() as report:
        from seeahead.self_check import check

        given = args.drafter or "none"  # so that a wrong name is told before weights are read
        engine = loaded(args, given, report, self_check=False)
        rows = list(check(engine, args.drafter, report))
    failed = sum(not row.holds for row in rows)
    if args.json:
        found = {"holds": not failed, "rows": [asdict(row) for row in rows], "provenance": provenance()}
        streams.print_json(found)
        return min(failed, 1)
    table = Table("check", "holds", "figure", title=f"self-check of {args.model}", title_justify="left")
    for row in rows:
        table.add_row(row.check, "yes" if row.holds else "NO", row.figure)
    console = terminal.console()
    console.print(table)
    verdict = f"{failed} of {len(rows)} do not hold: do not decode it with drafts" if failed else "everything holds"
    console.print(verdict, soft_wrap=True)
    return min(failed, 1)
