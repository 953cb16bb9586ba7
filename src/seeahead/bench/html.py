"""The pages of `seeahead bench` and `seeahead demo`: nothing fetched, readable on a phone, on paper, without scripts.

The templates escape everything that comes from a record.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seeahead import metrics
from seeahead.bench import charts
from seeahead.bench.figures import Against
from seeahead.bench.glossary import DEFINITIONS, GROUPINGS, SHORT, TABLES, Column, anchor, heading, number, times
from seeahead.bench.headline import difference, fastest, kept, pace, temperature_title
from seeahead.bench.record import PLAIN, Asked, Record, Run
from seeahead.bench.summary import Summary, machine, origin, summarize
from seeahead.data.suite import BUNDLED, image_facts
from seeahead.provenance import write_text


def write_report(path: Path, record: Record) -> None:
    write_text(path, report(record))


def report(record: Record) -> str:
    """The page of a benchmark."""
    summary = summarize(record)
    best = fastest(summary.headline_methods, is_peer=False)
    return _page(
        "report.html",
        summary,
        facts=_key_figures(summary),
        charts=charts,
        colours=charts.SHARE_COLOURS,
        tables=TABLES,
        groupings=GROUPINGS,
        examples=list(_examples(record, best.method if best else PLAIN)),
        all_scenarios=Markup("all scenarios, {}").format(term("speed-up")),
        speed_against_tau=Markup("{} against {}").format(term("speed-up"), term("τ")),
        definitions=DEFINITIONS,
    )


def demo_page(record: Record) -> str:
    """The page of the demo: every question with its images and answers, then the short table."""
    summary = summarize(record)
    used = {name for asked in record.asked for name in asked.pictures}
    return _page(
        "demo.html",
        summary,
        facts=[(name, value, "") for name, value, _ in _key_figures(summary)],
        questions=[(record.asked[place], runs) for place, runs in record.first_answers().items()],
        images={name: {**facts, "data": _data(name)} for name, facts in image_facts().items() if name in used},
        columns=SHORT,
        methods=summary.headline_methods,
        differences=[difference(gap, record.asked) for gap in record.gaps],
        definitions={column.word: DEFINITIONS[column.word] for column in SHORT},
    )


def _page(template: str, summary: Summary, **context: Any) -> str:
    command = shlex.join(summary.provenance.get("command") or ["seeahead", "bench"])
    shown = {"summary": summary, "machine": machine(summary), "origin": origin(summary), "command": command}
    return _environment().get_template(template).render(**shown, **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["total"] = lambda split: sum(split.values())
    for function in (anchor, heading, headings, kept, pace, parts, temperature_title, term, times, verdict):
        environment.globals[function.__name__] = function
    environment.globals["PLAIN"] = PLAIN
    return environment


def term(word: str, shown: str = "") -> Markup:
    """A word that leads to its definition."""
    return Markup('<a class="term" href="#{}">{}</a>').format(anchor(word), shown or word)


def headings(columns: Sequence[Column]) -> list[str]:
    return ["method", *(term(column.word) for column in columns)]


def verdict(entry: Against) -> str:
    """Who is faster, ours or the peer."""
    ratio = entry.ratio
    if ratio is None:
        return "peer failed or lacks answers"
    is_open = ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high
    found = "no clear winner" if is_open else "ours is faster" if ratio.value > 1 else "the peer is faster"
    return found + entry.coverage


def _key_figures(summary: Summary) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the fastest method."""
    methods = summary.headline_methods
    if (best := fastest(methods, is_peer=False)) is None:
        return []
    plain = next(entry for entry in methods if entry.method == PLAIN)
    efficiency = number(best.drafts.block_efficiency if best.drafts else None)
    speed_up, end_to_end, rate = times(best.speed_up), times(best.end_to_end), number(best.token_rate, 1)
    same = f"{best.num_identical} of {best.num_answers}"
    return [
        (f"speed-up with {best.method}", speed_up.value, speed_up.spread),
        ("tokens per pass (τ)", efficiency.value, efficiency.spread),
        ("tokens per second", rate.value, f"plain {number(plain.token_rate, 1).value}"),
        ("whole answers, end to end", end_to_end.value, end_to_end.spread),
        *([("identical answers", same, "token for token")] if best.num_identical is not None else []),
    ]


def _examples(record: Record, method: str) -> Iterator[tuple[Asked, str, dict[str, Run]]]:
    """One question per scenario: that with the scenario's median speed-up of `method`, so that none is hand-picked."""
    answers = record.first_answers()
    for scenario in dict.fromkeys(entry.scenario for entry in record.asked):
        found = [
            (_finite(metrics.speed_up(runs[method].totals, runs[PLAIN].totals)), place)
            for place, runs in answers.items()
            if record.asked[place].scenario == scenario
            and all(name in runs and not runs[name].error for name in (method, PLAIN))
        ]
        if found:
            _, place = sorted(found)[(len(found) - 1) // 2]
            yield record.asked[place], method, answers[place]


def _finite(figure: float) -> float:
    return figure if math.isfinite(figure) else 0.0


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
    held: list[tuple[str, bool, float | None]] = []
    for place, (words, proposer) in enumerate(run.pieces or ((run.text, "target"),)):
        at, is_drafted = (run.arrivals[place] if run.arrivals else None), proposer == "drafted"
        if held and at is None and held[-1][1] == is_drafted:
            held[-1] = (held[-1][0] + words, is_drafted, None)
        else:
            held.append((words, is_drafted, at))
    for words, is_drafted, at in held:
        core = words.strip()
        before, _, after = words.partition(core) if core else (words, "", "")
        yield Part(before, core, after, is_drafted and bool(core), None if at is None else round(1000 * at))
