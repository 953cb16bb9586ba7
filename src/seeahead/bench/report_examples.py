"""Answers as they were given, for the report: who proposed each word, and which drafts were kept or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from seeahead import metrics
from seeahead.bench import charts
from seeahead.bench.definitions import heading
from seeahead.bench.record import PLAIN, Asked, Record, Run
from seeahead.bench.words import counted

_DRAFTED = "drafted"

Answers = Mapping[str, Run]
"""By method the answers to one question, of one repeat."""


def examples(record: Record, method: str) -> str:
    """One question per scenario: that with the scenario's median speed-up of `method`, so that none is hand-picked."""
    return "\n".join(_example(record, place, method, answers) for place, answers in _typical(record, method))


def _typical(record: Record, method: str) -> Iterator[tuple[int, Answers]]:
    lowest = min((run.temperature for run in record.runs), default=0.0)
    asked: dict[int, dict[str, Run]] = {}
    for run in record.runs:
        if run.temperature == lowest and run.repeat == 0:
            asked.setdefault(run.asked, {})[run.method] = run
    for scenario in dict.fromkeys(entry.scenario for entry in record.asked):
        found = [
            (_speed_up(answers[method], answers[PLAIN]), place)
            for place, answers in asked.items()
            if record.asked[place].scenario == scenario
            and all(name in answers and not answers[name].error for name in (method, PLAIN))
        ]
        if found:
            _, place = sorted(found)[(len(found) - 1) // 2]
            yield place, {name: asked[place][name] for name in record.methods if name in asked[place]}


def _speed_up(run: Run, plain: Run) -> float:
    rates = [each.num_decoded / each.seconds_decode if each.seconds_decode > 0 else 0.0 for each in (run, plain)]
    return rates[0] / rates[1] if rates[1] else 0.0


def _example(record: Record, place: int, method: str, answers: Answers) -> str:
    asked = record.asked[place]
    shown, plain = answers[method], answers[PLAIN]
    others = "\n".join(_answer(run, plain, f"e{place}m{number}") for number, run in enumerate(answers.values()))
    return f"""<article class="round">
<p class="quiet">{escape(_about(asked))}</p>
<h3>{escape(asked.question)}</h3>
{_answer(shown, plain, f"e{place}")}
<details><summary>the answers of {f"all {len(answers)} methods" if len(answers) > 1 else "the one method"}</summary>
{others}
</details>
</article>"""


def _about(asked: Asked) -> str:
    parts = [asked.scenario, ", ".join(asked.pictures) or "no picture"]
    if asked.earlier:
        parts.append("after an earlier question")
    return " · ".join(parts)


def _answer(run: Run, plain: Run, ident: str) -> str:
    name = f"<h4>{escape(heading(run.method))}</h4>"
    if run.error:
        return f'<div class="answer">{name}<p class="failed">failed: {escape(run.error)}</p></div>'
    same = ""
    if run.method != PLAIN and run.temperature == 0 and run.token_ids != plain.token_ids:
        same = " · <strong>another answer than plain</strong>"
    return (
        f'<div class="answer">{name}<p class="said">{_words(run)}</p>{_passes(run, ident)}'
        f'<p class="quiet">{escape(_pace(run))}{same}</p></div>'
    )


def _words(run: Run) -> str:
    """The text; neighbours of one origin share a mark, and blanks at its ends stay outside it."""
    if not run.pieces:
        return escape(run.text)
    found = []
    for text, is_drafted in _joined(run.pieces):
        core = text.strip()
        if not is_drafted or not core:
            found.append(escape(text))
            continue
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        found.append(f"{escape(before)}<mark>{escape(core)}</mark>{escape(after)}")
    return "".join(found)


def _joined(pieces: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    held, was_drafted = "", False
    for text, origin in pieces:
        is_drafted = origin == _DRAFTED
        if held and is_drafted != was_drafted:
            yield held, was_drafted
            held = ""
        held, was_drafted = held + text, is_drafted
    if held:
        yield held, was_drafted


def _passes(run: Run, ident: str) -> str:
    if run.generation is None or not any(step.depth for step in run.generation.steps):
        return ""
    rounds = [
        (min(step.num_accepted, step.depth), max(0, step.depth - step.num_accepted)) for step in run.generation.steps
    ]
    return charts.strip(ident, f"Every pass of {run.method}: what was kept and refused", rounds)


def _pace(run: Run) -> str:
    parts = [f"{counted(len(run.token_ids), 'token')} in {run.seconds_total:.2f} s"]
    if run.seconds_decode > 0:
        parts.append(f"{run.num_decoded / run.seconds_decode:.1f} tokens/s")
    if run.generation is not None and run.generation.steps:
        parts.append(f"τ {metrics.block_efficiency([run.generation]):.2f}")
        if drafted := sum(step.num_drafted for step in run.generation.steps):
            kept = sum(step.num_accepted for step in run.generation.steps)
            parts.append(f"{kept} of {drafted} drafted tokens kept")
    return " · ".join(parts)
