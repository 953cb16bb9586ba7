"""The figures of the demo's comparison: its rounds as a benchmark record, of which `summary` makes the figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from seeahead import metrics
from seeahead.bench.by_method import MethodSummary
from seeahead.bench.compare import Answer, Difference, Round
from seeahead.bench.definitions import DEFINITIONS, SHORT
from seeahead.bench.record import Asked, Costs, Record, Run
from seeahead.bench.statistics import Interval
from seeahead.bench.summary import Summary, summarize

COLUMNS = tuple(column.word for column in SHORT)
"""Headings of the table, keys of `definitions.DEFINITIONS`."""


def summary_of(rounds: Sequence[Round]) -> Summary:
    """Figures of the rounds; a demo's few questions are no ground for intervals, so those are not shown."""
    asked = tuple(
        Asked(str(number), question.scenario, question.text, question.pictures, question.earlier)
        for number, question in enumerate(round_.question for round_ in rounds)
    )
    runs = tuple(_run(number, answer) for number, round_ in enumerate(rounds) for answer in round_.answers.values())
    return summarize(Record({}, {}, {}, Costs(0, {}), tuple(rounds[0].answers), (), asked, runs))


def _run(number: int, answer: Answer) -> Run:
    generation = answer.generation
    first = generation.seconds_prefill + generation.seconds_drafter_start
    total = first + answer.decode_seconds
    return Run(number, answer.method, 0, 0.0, generation.token_ids, answer.text, first, total, 0, generation)


def definitions() -> dict[str, str]:
    return {word: DEFINITIONS[word] for word in COLUMNS}


def cells(entry: MethodSummary) -> list[str]:
    """A method's row, in the order of COLUMNS."""
    return [column.cell(entry).value for column in SHORT]


def as_json(rounds: Sequence[Round], found: Iterable[Difference]) -> dict[str, Any]:
    """Figures and every record they are derived from; a figure that does not exist is null."""
    return {
        "definitions": definitions(),
        "methods": [_figures(entry) for entry in summary_of(rounds).headline_methods],
        "differences": [
            {
                "method": entry.method,
                "question": entry.question.text,
                "position": entry.position,
                "logit_gap": entry.logit_gap,
            }
            for entry in found
        ],
        "rounds": [
            {
                "question": asdict(round_.question),
                "answers": {
                    name: {"text": answer.text, **answer.generation.to_json()}
                    for name, answer in round_.answers.items()
                },
            }
            for round_ in rounds
        ],
    }


def _figures(entry: MethodSummary) -> dict[str, Any]:
    drafts = entry.drafts
    figures: Mapping[str, Interval | None] = {
        "block_efficiency": drafts.block_efficiency if drafts else None,
        "token_rate": entry.token_rate,
        "speed_up": entry.speed_up,
        "end_to_end": entry.end_to_end,
        "host_share": drafts.host_share if drafts else None,
        "draft_share": drafts.draft_share if drafts else None,
    }
    by_scenario = {name: _value(speed.speed_up) for name, speed in entry.by_scenario.items()}
    return {
        "method": entry.method,
        "num_answers": entry.num_answers,
        "num_tokens": entry.num_tokens,
        "num_identical": entry.num_identical,
        **{name: _value(figure) for name, figure in figures.items()},
        "speed_up_by_scenario": by_scenario,
    }


def _value(figure: Interval | None) -> float | None:
    return None if figure is None else figure.value


def pace(answer: Answer) -> str:
    """How fast one answer was, in a few words."""
    own = [answer.generation]
    if not answer.generation.steps:
        return "1 token"
    rate, efficiency = metrics.token_rate(own), metrics.block_efficiency(own)
    return f"{rate:.1f} tokens/s · τ {efficiency:.2f} · {answer.decode_seconds:.1f} s"


def difference_line(entry: Difference) -> str:
    """One sentence for people about an answer that left the plain one."""
    gap = "one answer ends earlier" if entry.logit_gap is None else f"logit gap {entry.logit_gap:+.3f}"
    return f"{entry.method}: '{entry.question.text}' differs from plain at token {entry.position + 1}, {gap}"
