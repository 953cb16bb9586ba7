"""Render the page of a benchmark run from its record; needs neither the model nor torch.

examples:
  seeahead report out/bench/bench.json
  seeahead report results/bench-demo.json --html page.html --markdown table.md
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seeahead.cli import streams
from seeahead.errors import InputError
from seeahead.provenance import check_writable, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", type=Path, help="JSON file written by seeahead bench")
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to write (default: beside the record)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also as Markdown")


def run(args: argparse.Namespace) -> int:
    from seeahead.bench.html import write_report
    from seeahead.bench.markdown import markdown
    from seeahead.bench.record import read_record
    from seeahead.bench.summary import summarize

    page = args.html or args.record.with_suffix(".html")
    written = [page] if args.markdown is None else [page, args.markdown]
    # A file that cannot be written, and two texts in one file, are refused before anything is read.
    taken = {os.path.realpath(args.record): "the record"}
    for path in written:
        check_writable(path)
        if before := taken.get(os.path.realpath(path)):
            raise InputError(f"'{path}' is {before} already; give another file, with --html or --markdown")
        taken[os.path.realpath(path)] = "the page"
    record = read_record(args.record)
    write_report(page, record)
    if args.markdown is not None:
        write_text(args.markdown, markdown(summarize(record)))
    for path in written:
        streams.say(f"written: {path}")
    return 0
