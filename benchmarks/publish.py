"""Stored records as documents of a repository: Markdown pages with their charts, and the README's table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from seeahead.bench import bar_charts, charts
from seeahead.bench.figures import FIGURES, Sample
from seeahead.bench.markdown import figures, markdown, name, plain_words, shown, table, warnings
from seeahead.bench.record import Record
from seeahead.bench.summary import Summary, ranked, temperature_title
from seeahead.bench.words import SPELLED, times

DRAFTERS = Path(__file__).resolve().parents[1] / "src/seeahead/demo/weights/drafters"
EVIDENCE = [FIGURES[word] for word in ("end to end", "τ", "identical")]
"""What a method's page shows of greedy answers; the page of the run has every figure."""
MAIN = "bench-demo"
"""The run of everything, which the README shows; every run has a line in the index of results."""
TITLES: Mapping[str, tuple[str, str]] = {
    "bench-demo": ("Main run: every drafter", "how fast each is on OpenVINO, greedy and at temperature 1"),
    "bench-demo-xeon": ("The main run on another processor", "a slower one, whose passes over trees cost more"),
    "bench-demo-avx2": (
        "Every drafter on a processor without products in 16 bits",
        "the questions of the main run, greedy, in float32, beside GenAI with the model's own images",
    ),
    "bench-transformers": ("Every drafter, on transformers", "the questions of the main run, by torch"),
    "bench-peers": ("Every drafter beside nine peers", "fewer questions, on transformers, other engines beside it"),
    "bench-peers-all": (
        "Every drafter beside nine peers, all questions",
        "the questions of the main run, greedy, on OpenVINO, other engines beside it",
    ),
    "bench-genai": (
        "Drafters beside OpenVINO GenAI, all questions",
        "the questions of the main run, greedy, beside GenAI in 16 and 8 bits with the model's own images",
    ),
    "bench-openvino-int8": ("Drafters and a peer with weights of 8 bits", "int8 on OpenVINO, beside OpenVINO GenAI"),
    "bench-heads": ("Three heads trained for the same minutes", "which kind of head learns most in little time"),
    "bench-msd": ("MSD: ablations", "what features, separate inputs, training data and shapes of trees bring"),
    "bench-tabed": ("TABED: views of a prompt", "what each view brings, and mixing them"),
    "bench-three-tasks": (
        "The three tasks of Gagrani et al. 2024",
        "drafters without and with sight, by task, trees and chains",
    ),
}
"""Title and purpose of pages, by the name of their record."""
_ENGINES = {"openvino": "OpenVINO", "openvino_genai": "OpenVINO GenAI", "vllm": "vLLM"}
_GLOSSARY = "[What the words mean]({})."
_FOLDERS = "Folders in its command are drafters trained by `recipes/drafters/*`; they are not in the repository."
_TRAINED = "All drafters but `lookup` were trained for this model."
_OF_HIDDEN = "failed on", "can hardly have seen"
"""What warnings say of a method that a README need not know."""
_OWN = (
    "**With your own model** you begin with prompt lookup alone{figure}, which copies from prompt and answer. "
    "For more, add a [published head](docs/published-drafters.md) or a "
    "[smaller model of the same family](docs/choosing-a-drafter.md#a-smaller-model-of-the-same-family), or "
    "[train a drafter](docs/training.md). No drafted speed-up has been measured on a GPU or a 7B model yet."
)


def documents(stem: str, summary: Summary) -> dict[str, str]:
    """Texts by file name below the folder of documents; `stem` is the name of the record that `summary` is of."""
    images = {f"images/{stem}-{kind}.svg": image for kind, image in _images(summary)}
    drawn = (f"![{alt}](../{file})" for file, alt in zip(images, ALTS, strict=True))
    title, purpose = _titled(stem, summary)
    page = (
        f"{purpose[:1].upper()}{purpose[1:]}. As one page for a browser, answers included: "
        f"`seeahead report results/{stem}.json -o page.html`."
    )
    command = summary.record.provenance.get("command") or []
    own = [_FOLDERS] if any(before == "-d" and "/" in word for before, word in pairwise(command)) else []
    parts = [f"# {title}", page, whose_in(summary), *own, *drawn]
    parts.append(markdown(summary, _GLOSSARY.format("../glossary.md")))
    return {f"results/{stem}.md": "\n\n".join(parts), **images}


def _titled(stem: str, summary: Summary) -> tuple[str, str]:
    return TITLES.get(stem) or (stem, plain_words(summary.record.settings.get("about") or stem))


def whose_weights(*sources: Mapping[str, Any], drafters: Mapping[str, str] | None = None) -> str:
    """Which weights the demo's drafters had in runs of such provenance, and which are shipped now; `drafters`: digests
    of those that were there, where all runs had the same ones and say so."""
    digests = shipped_digests()
    same = [digest == digests[name] for name, digest in (drafters or {}).items() if name in digests]
    if same and all(same):
        return "The demo's drafters measured here are those shipped now."
    trained: dict[str, list[str]] = {}
    for path in _shipped():
        trained.setdefault(json.loads(path.read_text(encoding="utf-8"))["commit"][:12], []).append(path.parent.name)
    now = ", ".join(f"{commit} ({' and '.join(names)})" for commit, names in trained.items())
    then = " and ".join(str(source.get("commit"))[:12] for source in sources)
    return f"The demo's drafters had the weights of commit {then}. Those shipped now were trained at {now}."


def whose_in(*summaries: Summary) -> str:
    """The same of runs of `seeahead bench`."""
    known = [summary.record.settings.get("drafters") or {} for summary in summaries]
    drafters = known[0] if all(found == known[0] for found in known) else None
    return whose_weights(*(summary.record.provenance for summary in summaries), drafters=drafters)


def shipped_digests() -> dict[str, str]:
    """Of the folders of the demo's drafters, by kind."""
    from seeahead.bench.methods import digest

    return {path.parent.name: digest(path.parent) for path in _shipped()}


def _shipped() -> list[Path]:
    return sorted(DRAFTERS.glob("*/provenance.json"))


def block(stem: str, summary: Summary) -> str:
    """What a README says of a run: headline, machine, ours beside the best peers, caveats, chart."""
    return "\n\n".join(_block(stem, summary))


def line(stem: str, summary: Summary) -> str:
    """What the list of results says of a run."""
    named, purpose = _titled(stem, summary)
    return f"- [{named}]({stem}.md): {purpose}"


def evidence(stem: str, summary: Summary) -> str:
    """What the page of a method says of a run: machine, and a short table of the first temperature.

    The chart stands at the head of the page."""
    return "\n\n".join(_evidence(stem, summary))


def _evidence(stem: str, summary: Summary) -> Iterator[str]:
    yield plain_words(summary.machine)
    yield from warnings(summary)
    for temperature, methods in [*summary.methods.items()][:1]:
        yield figures(temperature_title(temperature), methods, EVIDENCE)
    yield f"[All figures](../results/{stem}.md). {_GLOSSARY.format('../glossary.md')}"


def _block(stem: str, summary: Summary) -> Iterator[str]:
    chosen = _chosen(summary)
    first, *more = map(plain_words, summary.headline)
    yield " ".join([f"**{first}**", *more])
    yield f"{plain_words(summary.machine)}. {_TRAINED}"
    yield _beside_peers(summary, chosen)
    model = " [The demo model](docs/demo-model.md)." if summary.record.settings.get("model") == "demo" else ""
    yield f"{_GLOSSARY.format('docs/glossary.md')} [All figures](docs/results/{stem}.md).{model}"
    hidden = [f"{method} {what} " for method in summary.record.methods if method not in chosen for what in _OF_HIDDEN]
    said = [line for line in summary.warnings if not line.startswith(tuple(hidden))]
    if said:
        yield "\n".join(f"- {plain_words(line)}" for line in said)
    lookup = next((entry["end to end"] for entry in summary.headline_methods if entry.method == "lookup"), None)
    here = f" (here {shown(times(lookup))} end to end)" if lookup else ""
    yield _OWN.format(figure=here)
    yield f"![{ALTS[0]}](docs/images/{stem}-speed.svg)"


def _chosen(summary: Summary) -> set[str]:
    """All of ours, and at each temperature the two fastest peers that see images as the model does."""
    found = set(summary.record.methods) - set(summary.record.peers)
    for methods in summary.methods.values():
        found |= {entry.method for entry in ranked(summary.seeing(methods), is_peer=True)[:2]}
    return found


def _beside_peers(summary: Summary, chosen: set[str]) -> str:
    """End to end at every temperature, decoding and sameness at the first one."""
    first_temperature, *others = summary.methods
    greedy = "" if first_temperature else ", greedy"
    rows = []
    for entry in summary.headline_methods:
        if entry.method in chosen:
            later = (_of(summary, temperature, entry.method)["end to end"] for temperature in others)
            whole, *first = (shown(FIGURES[word].cell(entry)) for word in ("end to end", "speed-up", "identical"))
            told = [whole, *(shown(times(figure)) for figure in later), *first]
            rows.append([name(entry), plain_words(_run_by(summary.record, entry.method)), *told])
    heads = [SPELLED["end to end"] + greedy, *(f"temperature {temperature:g}" for temperature in others)]
    return table("", ["method", "run by", *heads, SPELLED["speed-up"] + greedy, SPELLED["identical"]], rows)


def _of(summary: Summary, temperature: float, method: str) -> Sample:
    return next(entry for entry in summary.methods[temperature] if entry.method == method)


def _run_by(record: Record, method: str) -> str:
    """Executor and precision of ours; engine and precision of a peer."""
    versions = ((record.settings.get("others") or {}).get(method) or {}).get("versions") or {}
    own = "" if method in record.peers else str(record.settings.get("executor") or "")
    engine = next(iter(versions), own) or "transformers"
    return f"{_ENGINES.get(engine, engine)}, {record.precision_of(method)}"


ALTS = (
    "Times as fast as plain decoding: whole answers, decoding alone, and decoding against tokens per pass",
    "Times as fast as plain decoding, decoding alone, by scenario",
)


def _images(summary: Summary) -> Iterator[tuple[str, str]]:
    methods = summary.seeing(summary.headline_methods)
    bars = [(SPELLED[word], chart) for word, chart in bar_charts.overview("o", methods).items()]
    plane = charts.speed_against_efficiency("p", methods, summary.record.costs)
    yield "speed", charts.grid(ALTS[0], [*bars, ("decoding (ratio of sums) against τ", plane)])
    yield "scenarios", charts.grid(ALTS[1], [*bar_charts.scenarios("s", methods).items()])
