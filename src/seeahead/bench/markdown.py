"""A benchmark run as Markdown, for the terminal and for documents: the figures of the page without its charts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seeahead.bench.figures import Against, MethodSummary
from seeahead.bench.glossary import DEFINITIONS, GROUPINGS, SHORT, TABLES, Cell, Column, Grouping, heading, times
from seeahead.bench.headline import temperature_title
from seeahead.bench.summary import Summary, machine, origin

_WIDEST = 40
"""Cells longer than this, such as error messages, do not widen their column."""


def markdown(summary: Summary) -> str:
    return "\n\n".join(_parts(summary)) + "\n"


def short(summary: Summary) -> str:
    """The result on one screen: headline, machine, a table of the first temperature, warnings, ours over peers."""
    parts = [f"**{plain_words(summary.headline)}**", plain_words(machine(summary))]
    rows = [[name(entry), *row_cells(entry, SHORT)] for entry in summary.headline_methods]
    parts.append(table("", ["method", *(column.word for column in SHORT)], rows))
    return "\n\n".join([*parts, *warnings(summary), *over_peers(summary)]) + "\n"


def over_peers(summary: Summary) -> Iterator[str]:
    """One sentence about the first temperature, where there are peers."""
    if against := next(iter(summary.against.values()), ()):
        parts = (f"{_rivals(entry, 'over')} {_ratio(entry)}" for entry in against)
        yield f"Ours over peers on the same weights, by token rate: {'; '.join(parts)}."


def warnings(summary: Summary) -> Iterator[str]:
    """What has to be known of a run beside its figures, as one list, if there is anything."""
    if summary.warnings:
        yield "\n".join(["Know before you believe it:", "", *(f"- {plain_words(line)}" for line in summary.warnings)])


def _parts(summary: Summary) -> Iterator[str]:
    yield f"**{plain_words(summary.headline)}**"
    yield plain_words(machine(summary))
    yield from warnings(summary)
    for temperature, methods in summary.methods.items():
        yield f"## {temperature_title(temperature)}"
        for title, columns in TABLES.items():
            words = [column.word for column in columns]
            rows = [[name(entry), *row_cells(entry, columns)] for entry in methods]
            yield table(title, ["method", *words], rows)
        if summary.against[temperature]:
            yield _peers(summary.against[temperature])
        yield from (grouped(grouping, methods) for grouping in GROUPINGS)
    known = sorted(summary.costs.seconds)
    if known:
        costs = ", ".join(f"V({k}) = {summary.costs.ratio(k):.2f}" for k in known)
        yield f"One pass over k tokens, after {summary.costs.num_cached} cached ones: {costs}."
    yield "\n".join(["## What the words mean", "", *(f"- **{word}**: {text}" for word, text in DEFINITIONS.items())])
    command = shlex.join(summary.provenance.get("command") or ["seeahead", "bench"])
    yield f"## Run it again\n\n{fenced(command)}"
    yield plain_words(origin(summary))


def name(entry: MethodSummary) -> str:
    return plain_words(heading(entry.method)) + (" (peer)" if entry.is_peer else "")


def row_cells(entry: MethodSummary, columns: Sequence[Column]) -> list[str]:
    """A method's figures; one that failed shows its error instead."""
    if not entry.num_answers and entry.errors:
        return [f"failed: {plain_words(entry.errors[0])}", *[""] * (len(columns) - 1)]
    return [shown(column.cell(entry)) for column in columns]


def shown(cell: Cell) -> str:
    return f"{cell.value} ({cell.spread})" if cell.spread else cell.value


def _peers(entries: Sequence[Against]) -> str:
    rows = [[_rivals(entry, "/"), _ratio(entry)] for entry in entries]
    return table("Ours over peers, by token rate", ["ours / peer", "ratio"], rows)


def _rivals(entry: Against, between: str) -> str:
    return plain_words(f"{heading(entry.method)} {between} {entry.peer}")


def _ratio(entry: Against) -> str:
    return shown(times(entry.ratio)) + entry.coverage


def grouped(grouping: Grouping, methods: Sequence[MethodSummary]) -> str:
    names = grouping.columns(methods)
    counts = [str(grouping.num_questions(methods, group)) for group in names]
    rows = [
        [name(entry), *(shown(grouping.cell(grouping.groups(entry)[group])) for group in names)] for entry in methods
    ]
    return table(grouping.title, ["method", *map(plain_words, names)], [["questions", *counts], *rows])


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The one way a table is written; without a title if that is empty."""
    widths = [max(3, *(len(cell) for cell in column if len(cell) <= _WIDEST)) for column in zip(headings, *rows)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = "\n".join(_line(row, widths) for row in (headings, rule, *rows))
    return f"### {title}\n\n{lines}" if title else lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Columns that also line up in a terminal: names to the left, figures to the right."""
    first, *others = zip(cells, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"


def measured(source: Mapping[str, Any]) -> str:
    """Where the figures of a study come from, by its provenance."""
    where = f"at commit `{str(source['commit'])[:12]}` on {source['hardware']['cpu']}"
    return f"Measured by `{' '.join(source['command'])}` {where}"


def plain_words(words: str) -> str:
    """One line that Markdown takes literally, as far as it needs to."""
    words = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(words.split()))
    # As entities and not behind a backslash: not every reader of Markdown knows that one before a tag.
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(words: str) -> str:
    """One line of code in a block that nothing in it can close."""
    words = " ".join(words.split("\n"))
    longest = max((len(run) for run in re.findall("`+", words)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{words}\n{fence}"
