"""A benchmark run as one HTML page: nothing fetched, readable on a phone, on paper and without scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from seeahead.bench import report_charts, report_tables
from seeahead.bench.by_method import MethodSummary
from seeahead.bench.definitions import DEFINITIONS, GROUPINGS, MISSING, anchor, number, times
from seeahead.bench.findings import fastest
from seeahead.bench.record import PLAIN, Record
from seeahead.bench.report_examples import examples
from seeahead.bench.sheet import style
from seeahead.bench.summary import Summary, summarize
from seeahead.bench.words import counted
from seeahead.provenance import write_text

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(path: Path, record: Record) -> None:
    write_text(path, report(record))


def report(record: Record) -> str:
    """The page's HTML."""
    summary = summarize(record)
    best = fastest(summary.headline_methods, is_peer=False)
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        chart_style=style(),
        suite=escape(str(summary.settings.get("suite", ""))),
        about=escape(f": {summary.settings['about']}" if summary.settings.get("about") else ""),
        headline=escape(summary.headline),
        interval=anchor("95 % interval"),
        machine=escape(machine(summary)),
        key="\n".join(_key_figures(summary, best)),
        warnings=_warnings(summary),
        toggle="".join(f'<button type="button">{escape(temperature_title(t))}</button>' for t in summary.methods),
        temperatures="\n".join(_temperature(summary, t, place) for place, t in enumerate(summary.methods)),
        num_cached=summary.costs.num_cached,
        costs=report_tables.costs(summary.costs),
        examples=examples(record, best.method if best else PLAIN),
        definitions="\n".join(_definition(word, text) for word, text in DEFINITIONS.items()),
        command=escape(shlex.join(summary.provenance.get("command") or ["seeahead", "bench"])),
        provenance=escape(origin(summary)),
    )


def machine(summary: Summary) -> str:
    """What ran where, in a line."""
    settings, hardware = summary.settings, summary.provenance.get("hardware") or {}
    size = summary.settings.get("num_parameters")
    parts = [
        f"{settings.get('model') or settings.get('model_type') or 'model'} in {settings.get('dtype', MISSING)}",
        f"{size / 1e6:,.0f} million parameters" if size else "",
        str(hardware.get("gpu") if settings.get("device") == "cuda" else hardware.get("cpu") or ""),
        counted(settings["num_threads"], "thread") if settings.get("num_threads") else "",
        f"{counted(summary.num_questions, 'question')} in {counted(len(summary.scenarios), 'scenario')}",
        f"{settings['num_repeats']} repeats" if settings.get("num_repeats", 1) > 1 else "",
        f"{settings['harness_share']:.1%} of the time spent outside of answers"
        if settings.get("harness_share")
        else "",
    ]
    return " · ".join(part for part in parts if part)


def origin(summary: Summary) -> str:
    """Where the figures come from, in a line."""
    known: Mapping[str, Any] = summary.provenance
    versions, weights = known.get("versions") or {}, summary.settings.get("drafters") or {}
    parts = [
        str(known.get("date") or ""),
        f"commit {known['commit'][:12]}" if known.get("commit") else "",
        "with local changes" if known.get("has_local_changes") else "",
        ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        f"drafter weights {', '.join(f'{name} {digest}' for name, digest in weights.items())}" if weights else "",
        f"seed {known['seed']}" if known.get("seed") is not None else "",
        str((known.get("hardware") or {}).get("system") or ""),
    ]
    return " · ".join(part for part in parts if part)


def temperature_title(temperature: float) -> str:
    return "Greedy answers" if temperature == 0 else f"Sampled answers, temperature {temperature:g}"


def _key_figures(summary: Summary, best: MethodSummary | None) -> Iterator[str]:
    if best is None:
        return
    plain = next((entry for entry in summary.headline_methods if entry.method == PLAIN), best)
    efficiency = number(best.drafts.block_efficiency if best.drafts else None)
    speed_up, end_to_end, rate = times(best.speed_up), times(best.end_to_end), number(best.token_rate, 1)
    facts = [
        (f"speed-up with {best.method}", speed_up.value, speed_up.spread),
        ("tokens per pass (τ)", efficiency.value, efficiency.spread),
        ("tokens per second", rate.value, f"plain {number(plain.token_rate, 1).value}"),
        ("whole answers, end to end", end_to_end.value, end_to_end.spread),
    ]
    if best.num_identical is not None:
        facts.append(("identical answers", f"{best.num_identical} of {best.num_answers}", "token for token"))
    for name, value, small in facts:
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>"


def _warnings(summary: Summary) -> str:
    if not summary.warnings:
        return '<p class="quiet">No warnings: nothing failed, no peer is ahead, rounding explains every difference.</p>'
    lines = "".join(f"<li>{escape(line)}</li>" for line in summary.warnings)
    return f'<aside class="warnings" aria-label="warnings"><h2>Know before you believe it</h2><ul>{lines}</ul></aside>'


def _temperature(summary: Summary, temperature: float, place: int) -> str:
    methods, ident = summary.methods[temperature], f"t{place}"
    panels = [(f"all scenarios, {report_tables.term('speed-up')}", report_charts.overall(f"{ident}o", methods))]
    for name, chart in report_charts.by_scenario(f"{ident}s", methods, summary.scenarios):
        panels.append((escape(name), chart))
    return f"""<section class="temperature">
<h2>{escape(temperature_title(temperature))}</h2>
<p class="quiet">Filled bars are ours, hollow ones other engines; the upright line is plain.</p>
<div class="charts">
{"".join(_figure(title, chart) for title, chart in panels)}
</div>
<h3>Why</h3>
<div class="charts">
{_why(summary, methods, ident)}
</div>
<h3>All figures</h3>
{report_tables.figures(methods)}
{report_tables.against_peers(summary.against[temperature])}
{"".join(report_tables.grouped(grouping, methods) for grouping in GROUPINGS)}
</section>"""


def _why(summary: Summary, methods: tuple[MethodSummary, ...], ident: str) -> str:
    term = report_tables.term
    found = [
        _figure(
            f"{term('speed-up')} against {term('τ')}",
            report_charts.speed_against_efficiency(f"{ident}p", methods, summary.costs),
            f"Ratio of sums. The ring is the {term('ceiling')} of the same drafts. No drafter passes the lower curve: "
            f"there every drafted token is kept, and a pass costs {term('V(k)')}.",
        ),
        _figure(
            term("where the time goes"),
            report_charts.where_the_time_goes(f"{ident}w", methods),
            f"Seconds of an answer: {_swatches(methods)}.",
        ),
    ]
    if acceptance := report_charts.acceptance(f"{ident}a", methods):
        found.append(_figure(term("acceptance by depth"), acceptance, "Share of the drafts that reached the depth."))
    return "".join(found)


def _swatches(methods: tuple[MethodSummary, ...]) -> str:
    used = {name for entry in methods for name in entry.seconds_split}
    shown = ((name, paint) for name, paint in report_charts.SHARE_COLOURS.items() if name in used)
    return ", ".join(f'<span class="swatch" style="background:{paint}"></span>{name}' for name, paint in shown)


def _figure(title: str, chart: str, caption: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><h4>{title}</h4>{chart}{below}</figure>"


def _definition(word: str, text: str) -> str:
    return f'<div id="{anchor(word)}"><dt>{escape(word)}</dt><dd>{escape(text)}</dd></div>'
