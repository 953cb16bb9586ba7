"""Render the page of a benchmark run from its record; needs neither the model nor torch.

examples:
  seeahead report out/bench/bench.json
  seeahead report results/bench-demo.json -o page.html -o tables.md
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
    about = "file to write: .html a page, .md Markdown; repeat it for both (default: a page beside the record)"
    parser.add_argument("-o", "--output", type=Path, action="append", metavar="FILE", help=about)


def run(args: argparse.Namespace) -> int:
    from seeahead.bench.html import report
    from seeahead.bench.markdown import markdown
    from seeahead.bench.record import read_record
    from seeahead.bench.summary import summarize

    if not args.record.name:
        raise InputError(f"'{args.record}' is a folder; give the JSON file that seeahead bench wrote")
    written = args.output or [args.record.with_suffix(".html")]
    # What cannot be written, and two texts in one file, are refused before anything is read.
    taken = {os.path.realpath(args.record): "the record"}
    for path in written:
        check_writable(path)
        if path.suffix not in (".html", ".md"):
            raise InputError(f"'{path}' ends in neither .html nor .md; give --output a file that says what it is to be")
        if before := taken.get(os.path.realpath(path)):
            raise InputError(f"'{path}' is {before} already; give --output another file")
        taken[os.path.realpath(path)] = "written"
    record = read_record(args.record)
    for path in written:
        write_text(path, report(record) if path.suffix == ".html" else markdown(summarize(record)))
        streams.say(f"written: {path}")
    return 0
