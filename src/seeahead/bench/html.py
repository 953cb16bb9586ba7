"""The pages of `seeahead bench` and `seeahead demo`: nothing fetched, readable on a phone, on paper, without scripts.

The templates escape everything that comes from a record.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seeahead import metrics
from seeahead.bench import charts
from seeahead.bench.figures import FIGURES, GROUPINGS, SHORT, TABLES, Figure, Sample, grouped
from seeahead.bench.record import PLAIN, Asked, Record, Run
from seeahead.bench.summary import (
    Summary,
    aside,
    coverage,
    difference,
    fastest,
    kept,
    pace,
    summarize,
    temperature_title,
)
from seeahead.bench.words import DEFINITIONS, anchor, heading, times
from seeahead.data.suite import BUNDLED, image_facts
from seeahead.provenance import write_text
from seeahead.records import Origin

TEMPLATES = Path(__file__).with_name("templates")


def write_report(path: Path, record: Record) -> None:
    write_text(path, report(record))


def report(record: Record) -> str:
    """The page of a benchmark."""
    summary = summarize(record)
    best = fastest(summary.headline_methods, is_peer=False)
    examples = list(_examples(record, best.method if best else PLAIN))
    return _page("report.html", summary, best, charts=charts, examples=examples, definitions=DEFINITIONS)


def demo_page(record: Record) -> str:
    """The page of the demo: every question with its images and answers, then the short table."""
    summary = summarize(record)
    used = {name for asked in record.asked for name in asked.pictures}
    return _page(
        "demo.html",
        summary,
        fastest(summary.headline_methods, is_peer=False),
        questions=[(record.asked[place], runs) for place, runs in record.first_answers().items()],
        images={name: {**facts, "data": _data(name)} for name, facts in image_facts().items() if name in used},
        differences=[difference(gap, record.asked) for gap in record.gaps],
        definitions={column.word: DEFINITIONS[column.word] for column in SHORT},
    )


def _page(template: str, summary: Summary, best: Sample | None, **context: Any) -> str:
    command = shlex.join(summary.record.provenance.get("command") or ["seeahead", "bench"])
    shown = {"summary": summary, "record": summary.record, "command": command, "facts": _key_figures(summary, best)}
    return _environment().get_template(template).render(**shown, **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["total"] = lambda split: sum(split.values())
    for function in (anchor, grouped, heading, headings, kept, pace, parts, temperature_title, term, times, verdict):
        environment.globals[function.__name__] = function
    environment.globals |= {"PLAIN": PLAIN, "SHORT": SHORT, "TABLES": TABLES, "GROUPINGS": GROUPINGS}
    return environment


def term(word: str, shown: str = "") -> Markup:
    """A word that leads to its definition."""
    return Markup('<a class="term" href="#{}">{}</a>').format(anchor(word), shown or word)


def headings(columns: Sequence[Figure]) -> list[str]:
    return ["method", *(term(column.word) for column in columns)]


def verdict(entry: Sample) -> str:
    """Who is faster, ours or the peer."""
    ratio = entry["speed-up"]
    if ratio is None:
        return "peer failed or lacks answers"
    is_open = ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high
    found = "no clear winner" if is_open else "ours is faster" if ratio.value > 1 else "the peer is faster"
    return found + aside(entry.record, entry.other.method) + coverage(entry)


def _key_figures(summary: Summary, best: Sample | None) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the fastest method."""
    if best is None:
        return []
    plain = next(entry for entry in summary.headline_methods if entry.method == PLAIN)
    speed_up, tau, rate, whole, same = (
        FIGURES[word].cell(best) for word in ("speed-up", "τ", "tokens/s", "end to end", "identical")
    )
    return [
        (f"speed-up with {best.method}", *speed_up),
        ("tokens per pass (τ)", *tau),
        ("tokens per second", rate.value, f"plain {FIGURES['tokens/s'].cell(plain).value}"),
        ("whole answers, end to end", *whole),
        *([("identical answers", same.value, "token for token")] if best.num_identical is not None else []),
    ]


def _examples(record: Record, method: str) -> Iterator[tuple[Asked, str, dict[str, Run]]]:
    """One question per scenario: that with the scenario's median speed-up of `method`, so that none is hand-picked."""
    answers = record.first_answers()
    for scenario in record.scenarios:
        found = []
        for place, runs in answers.items():
            is_whole = all(name in runs and not runs[name].error for name in (method, PLAIN))
            if is_whole and record.asked[place].scenario == scenario:
                speed_up = metrics.speed_up(runs[method].totals, runs[PLAIN].totals)
                found.append((speed_up if math.isfinite(speed_up) else 0.0, place))
        if found:
            _, place = sorted(found)[(len(found) - 1) // 2]
            yield record.asked[place], method, answers[place]


def _data(name: str) -> str:
    kind = "jpeg" if name.endswith(".jpg") else "png"
    return f"data:image/{kind};base64,{base64.b64encode((BUNDLED / name).read_bytes()).decode()}"


class Part(NamedTuple):
    """Text of one origin, without the blanks around it; `at`: milliseconds after the first token, where known."""

    before: str
    words: str
    after: str
    is_drafted: bool
    at: int | None


def parts(run: Run) -> Iterator[Part]:
    """An answer's text; where nobody knows when its pieces arrived, neighbours of one origin are one part."""
    pieces: Iterable[tuple[str, Origin]] = run.pieces or ((run.text, "target"),)
    if not run.arrivals:
        together = groupby(pieces, lambda piece: piece[1])
        pieces = [("".join(words for words, _ in group), proposer) for proposer, group in together]
    for (words, proposer), at in zip(pieces, run.arrivals or repeat(None)):
        core = words.strip()
        before, _, after = words.partition(core) if core else (words, "", "")
        is_drafted = proposer == "drafted" and bool(core)
        yield Part(before, core, after, is_drafted, None if at is None else round(1000 * at))
