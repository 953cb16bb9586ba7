"""Render the page of a benchmark run from its record; needs neither the model nor torch.

examples:
  seeahead report out/bench/bench.json
  seeahead report results/bench-demo.json --html page.html --markdown table.md
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seeahead.cli import terminal
from seeahead.errors import InputError
from seeahead.provenance import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", type=Path, help="JSON file written by seeahead bench")
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to write (default: beside the record)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also as Markdown")


def run(args: argparse.Namespace) -> int:
    from seeahead.bench.html import write_report
    from seeahead.bench.markdown import markdown
    from seeahead.bench.record import read_record
    from seeahead.bench.summary import summarize
    from seeahead.provenance import write_text

    page = args.html or args.record.with_suffix(".html")
    check_places(args.record, *(path for path in (page, args.markdown) if path is not None))
    record = read_record(args.record)
    write_report(page, record)
    if args.markdown is not None:
        write_text(args.markdown, markdown(summarize(record)))
    for path in (page, args.markdown):
        if path is not None:
            terminal.note_console().print(f"written: {path}", soft_wrap=True)
    return 0


def check_places(record: Path, *places: Path) -> None:
    """Refuse a file that cannot be written, and two texts in one file, before anything is read."""
    taken = {os.path.realpath(record): "the record"}
    for place in places:
        check_writable(place)
        if before := taken.get(os.path.realpath(place)):
            raise InputError(f"'{place}' is {before} already; give another file, with --html or --markdown")
        taken[os.path.realpath(place)] = "the page"
