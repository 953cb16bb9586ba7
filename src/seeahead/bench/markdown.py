"""A benchmark run as Markdown, for the terminal and for documents: the figures of the page without its charts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from seeahead.bench.figures import GROUPINGS, SHORT, TABLES, Figure, Sample, grouped
from seeahead.bench.oracle import beside_others
from seeahead.bench.summary import Summary, coverage, relation, temperature_title
from seeahead.bench.words import DEFINITIONS, FAILED, Cell, heading, times

_RATIOS = ("end to end", "speed-up")
_WIDEST = 40
"""Cells longer than this, such as error messages, do not widen their column."""


WORDS = "\n".join(["## What the words mean", "", *(f"- **{word}**: {text}" for word, text in DEFINITIONS.items())])


def markdown(summary: Summary, words: str = WORDS) -> str:
    """`words`: where readers find what the words mean."""
    return "\n\n".join(_parts(summary, words)) + "\n"


def short(summary: Summary) -> str:
    """The result on one screen: headline, machine, figures of the first temperature, warnings, ours over peers."""
    shown = figures("", summary.headline_methods, SHORT)
    against = next(iter(summary.against.values()), ())
    return "\n\n".join([*_head(summary), shown, *warnings(summary), *over_peers(against)]) + "\n"


def over_peers(entries: Sequence[Sample]) -> Iterator[str]:
    """A table, if there is anything to compare."""
    rows = [
        [
            plain_words(f"{heading(entry.method)} / {entry.other.method}"),
            *(shown(times(entry[word])) for word in _RATIOS),
            f"{relation(entry.record, entry.other.method)}{coverage(entry)}",
        ]
        for entry in entries
    ]
    if rows:
        yield table("Ours over peers", ["ours / peer", *_RATIOS, "the peer is"], rows)


def warnings(summary: Summary) -> Iterator[str]:
    """What has to be known of a run beside its figures, as one list, if there is anything."""
    if summary.warnings:
        yield "\n".join(["Caveats:", "", *(f"- {plain_words(line)}" for line in summary.warnings)])


def _head(summary: Summary) -> tuple[str, str]:
    return f"**{plain_words(' '.join(summary.headline))}**", plain_words(summary.machine)


def _parts(summary: Summary, words: str) -> Iterator[str]:
    yield from _head(summary)
    yield from warnings(summary)
    yield from map(plain_words, beside_others(summary))
    for temperature, methods in summary.methods.items():
        yield f"## {temperature_title(temperature)}"
        yield from (figures(title, methods, columns) for title, columns in TABLES.items())
        yield from over_peers(summary.against[temperature])
        yield from (groups(title, methods) for title in GROUPINGS)
        yield from reliability(methods)
    measured = summary.record.costs
    if measured.seconds:
        costs = ", ".join(f"V({k}) = {measured.ratio(k):.2f}" for k in sorted(measured.seconds))
        yield f"One pass over k tokens, after {measured.num_cached} cached ones: {costs}."
    yield words
    command = shlex.join(summary.record.provenance.get("command") or ["seeahead", "bench"])
    yield f"## The command of this run\n\n{fenced(command)}"
    yield plain_words(summary.origin)


def name(entry: Sample) -> str:
    return plain_words(heading(entry.method)) + (" (peer)" if entry.is_peer else "")


def shown(cell: Cell) -> str:
    return f"{cell.value} ({cell.spread})" if cell.spread else cell.value


def figures(title: str, methods: Sequence[Sample], columns: Sequence[Figure]) -> str:
    rows = [[name(entry), *row_cells(entry, columns)] for entry in methods]
    return table(title, ["method", *(column.word for column in columns)], rows)


def row_cells(entry: Sample, columns: Sequence[Figure]) -> list[str]:
    """A method's figures; of one that failed the error stands among the warnings."""
    if not entry.num_answers and entry.own.errors:
        return [FAILED, *[""] * (len(columns) - 1)]
    return [shown(column.cell(entry)) for column in columns]


def groups(title: str, methods: Sequence[Sample]) -> str:
    """The table of GROUPINGS that is called so."""
    counts, rows = grouped(title, methods)
    body = [["questions", *map(str, counts.values())], *([name(entry), *map(shown, cells)] for entry, cells in rows)]
    return table(title, ["method", *map(plain_words, counts)], body)


def reliability(methods: Sequence[Sample]) -> Iterator[str]:
    """A table of what drafters expected of their tokens beside what came, if any said so."""
    known = [(entry, entry.reliability) for entry in methods if entry.reliability]
    if known:
        columns = [f"{10 * said} to {10 * said + 10} %" for said in range(10)]
        rows = []
        for entry, found in known:
            cells = {min(int(10 * said), 9): f"{said:.2f}, {seen:.2f}" for said, seen, _ in found}
            rows.append([name(entry), *(cells.get(place, "") for place in range(len(columns)))])
        yield table("Expected, and accepted, by what was expected of tokens", ["method", *columns], rows)


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The one way a table is written; without a title if that is empty. It lines up in a terminal too."""
    widths = [max(3, *(len(cell) for cell in column if len(cell) <= _WIDEST)) for column in zip(headings, *rows)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (headings, rule, *rows):
        first, *others = zip(row, widths, strict=True)
        lines.append(f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |")
    return "\n".join([f"### {title}\n", *lines] if title else lines)


def plain_words(words: str) -> str:
    """One line that Markdown takes literally, as far as it needs to."""
    # Underscores inside a word are letters.
    words = re.sub(r"([\\`*~|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(words.split()))
    # As entities and not behind a backslash: not every reader of Markdown knows that one before a tag.
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(words: str) -> str:
    """One line of code in a block that nothing in it can close."""
    words = " ".join(words.split("\n"))
    fence = "`" * max([2, *map(len, re.findall("`+", words))]) + "`"
    return f"{fence}\n{words}\n{fence}"
