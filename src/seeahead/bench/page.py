"""A comparison as one self-contained HTML page: pictures inside, nothing fetched, readable on a phone and on paper."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from seeahead.bench.by_method import MethodSummary
from seeahead.bench.compare import Answer, Difference, Round
from seeahead.bench.definitions import heading, number, times
from seeahead.bench.figures import COLUMNS, cells, definitions, difference_line, pace, summary_of
from seeahead.bench.findings import fastest
from seeahead.bench.record import PLAIN
from seeahead.bench.words import counted
from seeahead.demo.scenarios import PICTURES, picture_facts
from seeahead.provenance import write_text

_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(path: Path, rounds: Sequence[Round], found: Iterable[Difference], run: Mapping[str, Any]) -> None:
    write_text(path, page(rounds, found, run))


def page(rounds: Sequence[Round], found: Iterable[Difference], run: Mapping[str, Any]) -> str:
    """The page's HTML. `run` says what ran: `provenance` and what `describe` in the command line knows of the model."""
    methods, words = summary_of(rounds).headline_methods, definitions()
    used = {name for round_ in rounds for name in round_.question.pictures}
    record = run["provenance"]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        machine=escape(_machine(run)),
        key="\n".join(_key_figures(methods)),
        rounds="\n".join(_round(round_, number) for number, round_ in enumerate(rounds)),
        columns="".join(f"<th scope='col'>{escape(name)}</th>" for name in ("drafter", *COLUMNS)),
        rows="\n".join(_row(entry) for entry in methods),
        differences="".join(f"<p class='quiet'>{escape(difference_line(entry))}</p>" for entry in found),
        definitions="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in words.items()),
        command=escape(shlex.join(record["command"])),
        provenance=escape(_provenance(record)),
        credits="\n".join(_credit(name, facts) for name, facts in picture_facts().items() if name in used),
    )


def _machine(run: Mapping[str, Any]) -> str:
    hardware = run["provenance"]["hardware"]
    where = (
        hardware["gpu"] if run["device"] == "cuda" else f"{hardware['cpu']}, {counted(run['num_threads'], 'thread')}"
    )
    size = f"{run['num_parameters'] / 1e6:,.0f} million parameters"
    return f"{run['model_type']} model with {size} in {run['dtype']} · {where} · greedy decoding"


def _provenance(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    commit = f"commit {record['commit'][:12]} · " if record["commit"] else ""
    changes = "with local changes · " if record["has_local_changes"] else ""
    return f"{record['date']} · {commit}{changes}{versions} · {record['hardware']['system']}"


def _key_figures(methods: Sequence[MethodSummary]) -> Iterable[str]:
    best = fastest(methods, is_peer=False)
    if best is None:
        return
    facts = (
        (f"speed-up with {best.method}", times(best.speed_up).value),
        ("tokens per pass (τ)", number(best.drafts.block_efficiency if best.drafts else None).value),
        ("tokens per second", number(best.token_rate, 0).value),
        ("identical answers", f"{best.num_identical} of {best.num_answers}"),
    )
    for name, value in facts:
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _round(round_: Round, number: int) -> str:
    question = round_.question
    pictures = "".join(_picture(name) for name in question.pictures)
    left = f"<div class='pictures'>{pictures}</div>" if pictures else ""
    # A follow-up stands under the question it follows.
    follows = " · after the question before" if question.earlier else ""
    slowest = max(answer.decode_seconds for answer in round_.answers.values()) or 1.0
    answers = "\n".join(_answer(answer, round_, slowest) for answer in round_.answers.values())
    return f"""<section class="round{"" if pictures else " wordless"}" aria-labelledby="q{number}">
{left}<div>
<p class="quiet" style="margin-top:0">{escape(question.scenario)}{follows}</p>
<div class="ask"><h3 id="q{number}">{escape(question.text)}</h3>
<button type="button" data-replay hidden>▶ replay as it ran</button></div>
<div class="answers">
{answers}
</div></div>
</section>"""


def _picture(name: str) -> str:
    kind = "jpeg" if name.endswith(".jpg") else "png"
    data = base64.b64encode((PICTURES / name).read_bytes()).decode()
    title = escape(picture_facts()[name]["title"])
    image = f'<img alt="{title}" width="512" height="512" src="data:image/{kind};base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(name)}</figcaption></figure>"


def _answer(answer: Answer, round_: Round, slowest: float) -> str:
    parts = []
    for part, seconds in zip(answer.parts, answer.arrival_seconds):
        tag = "mark" if part.origin == "drafted" else "span"
        words = part.text.lstrip()
        space = part.text[: len(part.text) - len(words)]  # outside the mark: an underlined gap at a line's end is ugly
        parts.append(f'{escape(space)}<{tag} data-at="{seconds * 1000:.0f}">{escape(words)}</{tag}>')
    is_plain = answer.method == PLAIN
    same = "" if is_plain or round_.is_identical(answer.method) else " · <span class='other'>another answer</span>"
    share = 100 * answer.decode_seconds / slowest
    return f"""<div class="answer{"" if is_plain else " fast"}">
<h4>{escape(heading(answer.method))}</h4>
<p>{"".join(parts)}</p>
<div class="bar" style="width:{share:.1f}%"></div>
<div class="pace">{escape(pace(answer))}{same}</div>
</div>"""


def _row(entry: MethodSummary) -> str:
    values = "".join(f"<td>{escape(value)}</td>" for value in cells(entry))
    return f"<tr><td>{escape(heading(entry.method))}</td>{values}</tr>"


def _credit(name: str, facts: Mapping[str, str]) -> str:
    return f"<li>{escape(name)}: {escape(facts['title'])}. {escape(facts['author'])}. {escape(facts['licence'])}</li>"
