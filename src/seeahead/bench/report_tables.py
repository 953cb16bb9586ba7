"""The tables of the report. Every heading leads to its definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from seeahead.bench.by_method import Against, MethodSummary
from seeahead.bench.definitions import TABLES, Cell, Grouping, anchor, heading, times
from seeahead.bench.record import Costs
from seeahead.bench.words import counted

Methods = Sequence[MethodSummary]


def figures(methods: Methods) -> str:
    """All tables of all methods; one that failed shows its error instead of figures."""
    found = []
    for title, columns in TABLES.items():
        rows = []
        for entry in methods:
            if not entry.num_answers and entry.errors:
                failed = f'<td class="failed" colspan="{len(columns)}">failed: {escape(entry.errors[0])}</td>'
                cells = [failed]
            else:
                cells = [_cell(column.cell(entry)) for column in columns]
            rows.append(_row(entry.method, cells, "peer" if entry.is_peer else ""))
        found.append(_table(title, ["method", *(term(column.word) for column in columns)], rows))
    return "\n".join(found)


def grouped(grouping: Grouping, methods: Methods) -> str:
    """One figure by method (a row each) and group of questions."""
    names = grouping.columns(methods)
    counts = [f"<td>{grouping.num_questions(methods, name)}</td>" for name in names]
    rows = [_row("questions", counts)]
    for entry in methods:
        own = grouping.groups(entry)
        rows.append(_row(entry.method, [_cell(grouping.cell(own[name])) for name in names]))
    return _table(grouping.title, ["method", *map(escape, names)], rows)


def against_peers(entries: Sequence[Against]) -> str:
    rows = []
    for entry in entries:
        verdict = "peer failed or lacks answers" if entry.ratio is None else _verdict(entry)
        if entry.ratio is not None and not entry.is_of_all:
            verdict += f", on {entry.num_questions} of {counted(entry.num_asked, 'question')}"
        name = f"{heading(entry.method)} / {entry.peer}"
        rows.append(_row(name, [_cell(times(entry.ratio)), f'<td class="left">{escape(verdict)}</td>']))
    return _table("Ours over peers, by token rate", ["ours / peer", "ratio", ""], rows) if rows else ""


def _verdict(entry: Against) -> str:
    if entry.ratio is None:
        return ""
    is_clear = entry.ratio.low is not None and entry.ratio.high is not None
    if is_clear and (entry.ratio.low or 0) <= 1 <= (entry.ratio.high or 0):
        return "no clear winner"
    return "ours is faster" if entry.ratio.value > 1 else "the peer is faster"


def costs(table: Costs) -> str:
    """V(k) of this machine."""
    known = sorted(table.seconds)
    rows = [_row(str(k), [f"<td>{table.seconds[k] * 1000:.1f}</td><td>{table.ratio(k):.2f}</td>"]) for k in known]
    return _table("", ["k", "milliseconds", term("V(k)")], rows)


def term(word: str) -> str:
    return f'<a class="term" href="#{anchor(word)}">{escape(word)}</a>'


def _row(name: str, cells: Iterable[str], note: str = "") -> str:
    remark = f"<small>{note}</small>" if note else ""
    return f'<tr><th scope="row">{escape(heading(name))}{remark}</th>{"".join(cells)}</tr>'


def _cell(cell: Cell) -> str:
    spread = f"<small>{escape(cell.spread)}</small>" if cell.spread else ""
    return f"<td>{escape(cell.value)}{spread}</td>"


def _table(title: str, headings: Iterable[str], rows: Iterable[str]) -> str:
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    head = "".join(f'<th scope="col">{words}</th>' if words else "<td></td>" for words in headings)
    # A region that scrolls sideways must be reachable by keyboard.
    opened = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title or "table")}">'
    return f"{opened}<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
