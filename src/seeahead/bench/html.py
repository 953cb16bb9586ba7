"""The pages of `seeahead bench` and `seeahead demo`: nothing fetched, readable on a phone, on paper, without scripts.

The templates escape everything that comes from a record.
"""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, repeat
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seeahead import metrics
from seeahead.bench import bar_charts, charts
from seeahead.bench.figures import FIGURES, GROUPINGS, SHORT, TABLES, Figure, grouped
from seeahead.bench.oracle import beside_others
from seeahead.bench.record import PLAIN, Asked, Record, Run
from seeahead.bench.suites import demo_expects
from seeahead.bench.summary import Summary, difference, kept, pace, summarize, temperature_title, verdict
from seeahead.bench.words import DEFINITIONS, FAILED, SPELLED, anchor, heading, times
from seeahead.data.suite import BUNDLED, image_facts
from seeahead.records import TARGET

_NUM_COLOURS = 5  # as many as marks.css has


def report(record: Record) -> str:
    """The page of a benchmark."""
    summary = summarize(record)
    best = summary.best
    shown = {"bars": bar_charts, "charts": charts, "facts": _key_figures(summary), "definitions": DEFINITIONS}
    return _page("report.html", summary, **shown, examples=list(_examples(record, best.method if best else PLAIN)))


def demo_page(record: Record) -> str:
    """The page of the demo: every question with its images, plain beside the fastest, then the short table."""
    summary = summarize(record)
    best = summary.best
    used = {name for asked in record.asked for name in asked.pictures}
    return _page(
        "demo.html",
        summary,
        best=best,
        is_demo=record.settings.get("model") == "demo",
        beside=(PLAIN, *([best.method] if best else [])),
        questions=[
            (record.asked[at], _is_right(record, at, runs), runs) for at, runs in record.first_answers().items()
        ],
        images={name: {**facts, "data": _data(name)} for name, facts in image_facts().items() if name in used},
        differences=[difference(gap, record.asked) for gap in record.gaps],
        definitions={column.word: DEFINITIONS[column.word] for column in SHORT},
    )


def _is_right(record: Record, place: int, runs: Mapping[str, Run]) -> bool | None:
    """Whether the plain answer has a word of a right one; None where no word tells, or the model is another."""
    expected = demo_expects().get(record.asked[place].id.removesuffix("#1"), ())
    if not expected or PLAIN not in runs or record.settings.get("model") != "demo":
        return None
    return any(word in runs[PLAIN].text.lower() for word in expected)


def _page(template: str, summary: Summary, **context: Any) -> str:
    command = shlex.join(summary.record.provenance.get("command") or ["seeahead", "bench"])
    shown = {"summary": summary, "record": summary.record, "command": command}
    return _environment().get_template(template).render(**shown, **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(charts.TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"total": lambda split: sum(split.values()), "digest": digest}
    named = (anchor, beside_others, grouped, heading, headings, kept, pace, parts, proposers, spelled)
    environment.globals |= {function.__name__: function for function in named}
    environment.globals |= {function.__name__: function for function in (temperature_title, term, times, verdict)}
    environment.globals |= {"PLAIN": PLAIN, "SHORT": SHORT, "TABLES": TABLES, "GROUPINGS": GROUPINGS}
    environment.globals |= {"DEFINITIONS": DEFINITIONS, "FAILED": FAILED}
    return environment


def digest(script: str) -> str:
    """By which a page's policy knows its own script, so that no other one runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def term(word: str, shown: str = "") -> Markup:
    """A word that leads to its definition."""
    return Markup('<a class="term" href="#{}">{}</a>').format(anchor(word), shown or word)


def spelled(word: str) -> str:
    """A word of the trade with an everyday one before it, where there is one."""
    return SPELLED.get(word, word)


def headings(columns: Sequence[Figure]) -> list[str]:
    return ["method", *(term(column.word, spelled(column.word)) for column in columns)]


def _key_figures(summary: Summary) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the fastest method, beside the headline."""
    if (best := summary.best) is None:
        return []
    plain = next(entry for entry in summary.headline_methods if entry.method == PLAIN)
    tau, rate, same = (FIGURES[word].cell(best) for word in ("τ", "tokens/s", "identical"))
    return [
        (f"tokens per second, with {best.method}", rate.value, f"plain {FIGURES['tokens/s'].cell(plain).value}"),
        ("tokens per pass (τ)", *tau),
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
    """Text of one origin, without the blanks around it; `at`: milliseconds after the first token, where known; where
    it was drafted, by whom, and the class of its mark."""

    before: str
    words: str
    after: str
    drafter: str
    mark: str
    at: int | None


def parts(run: Run, marks: Mapping[str, str]) -> Iterator[Part]:
    """An answer's text; where nobody knows when its pieces arrived, neighbours of one origin are one part.

    `marks`: as `proposers` gives them."""
    pieces = run.pieces or ((run.text, TARGET),)
    if not run.arrivals:
        together = groupby(pieces, lambda piece: piece[1])
        pieces = tuple(("".join(words for words, _ in group), proposer) for proposer, group in together)
    for (words, proposer), at in zip(pieces, run.arrivals or repeat(None)):
        core = words.strip()
        before, _, after = words.partition(core) if core else (words, "", "")
        drafter = proposer if proposer != TARGET and core else ""
        yield Part(before, core, after, drafter, marks.get(drafter, ""), None if at is None else round(1000 * at))


def proposers(run: Run) -> dict[str, str]:
    """Where several drafters have words in an answer: those of most letters first, with the classes of their marks."""
    letters = Counter[str]()
    for words, origin in run.pieces:
        if origin != TARGET and words.strip():
            letters[origin] += len(words)
    names = [name for name, _ in letters.most_common()] if len(letters) > 1 else []
    return {name: f"c{number % _NUM_COLOURS}" for number, name in enumerate(names)}
