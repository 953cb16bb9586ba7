"""Stored records as documents of a repository: Markdown pages with their charts, and the README's table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from seeahead.bench import bar_charts, charts
from seeahead.bench.chart_grid import grid
from seeahead.bench.figures import FIGURES, SHORT
from seeahead.bench.markdown import figures, groups, markdown, name, over_peers, plain_words, row_cells, warnings
from seeahead.bench.record import PLAIN
from seeahead.bench.summary import Summary, temperature_title
from seeahead.bench.words import SPELLED

DRAFTERS = Path(__file__).resolve().parents[1] / "src/seeahead/demo/weights/drafters"
EVIDENCE = [FIGURES[word] for word in ("end to end", "speed-up", "τ by scenario", "τ", "draft", "host", "identical")]
"""What a method's page shows: what is not drafting or host are the target's passes."""


def documents(stem: str, summary: Summary) -> dict[str, str]:
    """Texts by file name below the folder of documents; `stem` is the name of the record that `summary` is of."""
    images = {f"images/{stem}-{kind}.svg": image for kind, image in _images(summary)}
    shown = (f"![{alt}](../{file})" for file, alt in zip(images, _ALTS, strict=True))
    page = f"As one page for a browser, answers included: `seeahead report results/{stem}.json -o page.html`."
    parts = ["# What was measured", page, whose_weights(summary), *shown, markdown(summary)]
    return {f"results/{stem}.md": "\n\n".join(parts), **images}


def whose_weights(*summaries: Summary) -> str:
    """Which weights the demo's drafters had when this was measured, and which are shipped now."""
    trained: dict[str, list[str]] = {}
    for path in sorted(DRAFTERS.glob("*/provenance.json")):
        commit = json.loads(path.read_text(encoding="utf-8"))["commit"]
        trained.setdefault(commit[:12], []).append(path.parent.name)
    now = ", ".join(f"{commit} ({' and '.join(names)})" for commit, names in trained.items())
    then = " and ".join(str(summary.record.provenance.get("commit"))[:12] for summary in summaries)
    return f"The demo's drafters had the weights of commit {then}. Those shipped now were trained at {now}."


def block(stem: str, summary: Summary) -> str:
    """What a README says of a run: headline, chart, table, peers."""
    return "\n\n".join(_block(stem, summary))


def line(stem: str, summary: Summary) -> str:
    """What a README says of a run that has a page of its own."""
    methods = (entry.method.replace("`", "") for entry in summary.headline_methods if entry.method != PLAIN)
    shown = ", ".join(f"`{method}`" for method in methods)
    about = plain_words(summary.record.settings.get("about") or stem)
    return f"- {about}, with {shown}: [all figures](docs/results/{stem}.md)"


def evidence(stem: str, summary: Summary) -> str:
    """What the page of a method says of a run: every temperature's short table, block efficiency by groups."""
    return "\n\n".join(_evidence(stem, summary))


def _evidence(stem: str, summary: Summary) -> Iterator[str]:
    yield f"{plain_words(summary.machine)} · [all figures](../results/{stem}.md)"
    yield f"![{_ALTS[0]}](../images/{stem}-speed.svg)"
    yield from warnings(summary)
    for temperature, methods in summary.methods.items():
        yield figures(temperature_title(temperature), methods, EVIDENCE)
    drafted = [entry for entry in summary.headline_methods if entry.method != PLAIN and not entry.is_peer]
    yield from (groups(title, drafted) for title in ("τ by scenario", "τ by images and turn"))


def _block(stem: str, summary: Summary) -> Iterator[str]:
    yield f"**{plain_words(' '.join(summary.headline))}**"
    yield f"{plain_words(summary.machine)} · [all figures](docs/results/{stem}.md)"
    yield f"![{_ALTS[0]}](docs/images/{stem}-speed.svg)"
    lines = ["| method | " + " | ".join(column.word for column in SHORT) + " |", "|---|" + "---:|" * len(SHORT)]
    rows = ([name(entry), *row_cells(entry, SHORT)] for entry in summary.headline_methods)
    yield "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
    yield from warnings(summary)
    yield from over_peers(summary)


_ALTS = (
    "Times as fast as plain decoding: whole answers, decoding alone, and decoding against tokens per pass",
    "Times as fast as plain decoding, decoding alone, by scenario",
)


def _images(summary: Summary) -> Iterator[tuple[str, str]]:
    methods = summary.headline_methods
    bars = [(SPELLED[word], chart) for word, chart in bar_charts.overview("o", methods).items()]
    plane = charts.speed_against_efficiency("p", methods, summary.record.costs)
    yield "speed", grid(_ALTS[0], [*bars, ("decoding against tokens per pass (τ)", plane)], 2)
    yield "scenarios", grid(_ALTS[1], [*bar_charts.scenarios("s", methods).items()], 2)
