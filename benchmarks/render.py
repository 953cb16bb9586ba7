"""Writes measured results, and the table of settings, into the documents.

python benchmarks/render.py            # README between its markers, docs/results/, docs/images/bench-*, docs/claims.md,
                                       # docs/choosing-a-drafter.md, docs/options.md, docs/published-drafters.md,
                                       # docs/command-line.md and docs/gpu.md between their markers,
                                       # docs/glossary.md
python benchmarks/render.py --check    # exit code 1 if a document is stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds its own folder there, not the repository

from benchmarks import guide, publish  # noqa: E402
from benchmarks.claims.page import render_claims  # noqa: E402
from benchmarks.options import command_options, options_page  # noqa: E402
from benchmarks.published_drafters import published_page  # noqa: E402
from benchmarks.repeatability import repeatability  # noqa: E402
from benchmarks.studies import (  # noqa: E402
    auto_parts,
    ensemble_weights,
    executors,
    gpu,
    growth,
    image_ablation,
    probe,
    serving,
    strain,
)
from seeahead.bench.markdown import WORDS, short  # noqa: E402
from seeahead.bench.record import read_record  # noqa: E402
from seeahead.bench.summary import summarize  # noqa: E402
from seeahead.provenance import write_text  # noqa: E402

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
STUDY = "<!-- study:begin -->", "<!-- study:end -->"
README = "README.md"
CLAIMS = "docs/claims.md"
OPTIONS = "docs/options.md"
PUBLISHED = "docs/published-drafters.md"
GLOSSARY = "docs/glossary.md"
COMMANDS, OF_COMMANDS = "docs/command-line.md", ("<!-- options:begin -->", "<!-- options:end -->")
INDEX = "docs/results/README.md"
METHODS = {
    "bench-three-tasks": "docs/methods/language-and-vision-drafters.md",
    "bench-heads": "docs/methods/published-heads.md",
    "bench-msd": "docs/methods/msd.md",
    "bench-tabed": "docs/methods/tabed.md",
}
"""Runs that are shown on the page of a method too."""
_XEON = partial(serving.documents, where=", on a slower processor", elsewhere="-xeon")
STUDIES: dict[str, tuple[Callable[[Any], dict[str, str]], str]] = {
    "pictures": (image_ablation.documents, "What the image gives the vision drafter"),
    "ensembles": (ensemble_weights.documents, "How `tabed` weighs its views, and what that costs"),
    "auto-parts": (auto_parts.documents, "What merging, calibration and the budget give `auto`"),
    "executors": (executors.documents, "Executors and a peer side by side, in float32, 16 bits and int8"),
    "exact": (executors.exact_documents, "Drafted answers in 16 bits: what `exact` is worth, and its price"),
    "gpu": (gpu.documents, "Executors on a GPU: exactness, and passes of a 7B model"),
    "probe": (probe.documents, "How often the probe of published heads finds a head's dialect"),
    "growth": (growth.documents, "How passes grow with context, tree and batch, by executor"),
    "serve-load": (serving.documents, "The server under load: 1 to 16 clients, drafted beside plain"),
    "serve-load-openvino": (
        serving.documents,
        "The server on OpenVINO in float32, beside a peer's continuous batching",
    ),
    "serve-load-openvino-bfloat16": (serving.documents, "The server on OpenVINO in bfloat16, as the peer computes"),
    "serve-load-openvino-xeon": (_XEON, "The server on OpenVINO in float32, on a slower processor"),
    "serve-load-openvino-bfloat16-xeon": (_XEON, "The server on OpenVINO in bfloat16, on a slower processor"),
    "serve-crowd": (strain.crowd_documents, "A crowd at the server: some leave, some read slowly, and it is killed"),
    "serve-fuzz": (strain.fuzz_documents, "The server under an hour of requests that no client should send"),
}
"""Stored results of other kinds than benchmarks."""
STUDY_METHODS: dict[str, tuple[Callable[[Any], str], str]] = {
    "probe": (probe.evidence, "docs/methods/published-heads.md"),
    "gpu": (gpu.evidence, "docs/gpu.md"),
}
"""Those of which another page shows a part."""

BY_MACHINE = ("gpu",)
"""Studies of which each machine has a record of its own, NAME-MACHINE.json; a page shows all of them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, say what is stale")
    is_check = parser.parse_args().check
    stale = []
    for name, fresh in fresh_documents(ROOT).items():
        path = ROOT / name
        if not path.is_file() or path.read_text(encoding="utf-8") != fresh:
            stale.append(name)
            if not is_check:
                write_text(path, fresh)
    if stale:
        sys.stdout.write(f"{'stale' if is_check else 'rewritten'}: {', '.join(stale)}\n")
    return 1 if stale and is_check else 0


def fresh_documents(root: Path) -> dict[str, str]:
    """What every document that shows results should say, by its name."""
    found = sorted((root / "results").glob("bench-*.json"), key=lambda path: path.stem)
    records = {path.name: read_record(path) for path in found}
    documents = {CLAIMS: render_claims(records), OPTIONS: options_page(), PUBLISHED: published_page()}
    documents[GLOSSARY] = rendered((root / GLOSSARY).read_text(encoding="utf-8"), WORDS)
    documents[COMMANDS] = rendered((root / COMMANDS).read_text(encoding="utf-8"), command_options(), OF_COMMANDS)
    block, whole, more = "", "", list[str]()
    for name, record in records.items():
        stem, summary = Path(name).stem, summarize(record)
        documents |= {f"docs/{page}": text for page, text in publish.documents(stem, summary).items()}
        if stem in METHODS:
            page = METHODS[stem]
            shown = publish.evidence(stem, summary)
            documents[page] = rendered((root / page).read_text(encoding="utf-8"), shown)
        if stem == publish.MAIN:
            documents |= {f"docs/{page}": text for page, text in guide.documents(stem, summary).items()}
            block, whole = publish.block(stem, summary), f"## The main run\n\n{short(summary)}"
        more.append(publish.line(stem, summary))
    for again in sorted((root / "results" / "repeats").glob("*-again.json")):
        first = root / "results" / again.name.replace("-again", "")
        page = f"docs/results/{again.stem}.md"
        documents[page] = repeatability(*(summarize(read_record(path)) for path in (first, again)))
        more.append(f"- [{publish.TITLES[first.stem][0]}, a second time]({again.stem}.md): do its figures agree?")
    for name, (pages, words) in STUDIES.items():
        stored = stored_study(root / "results", name)
        if stored is not None:
            documents |= {f"docs/{page}": text for page, text in pages(stored).items()}
            more.append(f"- [{words}]({name}.md)")
            if name in STUDY_METHODS:
                part, page = STUDY_METHODS[name]
                before = documents.get(page) or (root / page).read_text(encoding="utf-8")
                documents[page] = rendered(before, part(stored), STUDY)
    chart = f"![{publish.ALTS[0]}](../images/{publish.MAIN}-speed.svg)" if whole else ""
    documents[INDEX] = "\n\n".join(filter(None, [_HEAD, chart, "\n".join(more), whole])).rstrip() + "\n"
    return {README: rendered((root / README).read_text(encoding="utf-8"), block), **documents}


def stored_study(results: Path, name: str) -> Any:
    """The record of a study, or all of its records where it is one of BY_MACHINE; None where there is none."""
    paths = sorted(results.glob(f"{name}*.json")) if name in BY_MACHINE else [results / f"{name}.json"]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return found if found and name in BY_MACHINE else next(iter(found), None)


_HEAD = """# Results

Every figure is rendered from a stored record in `results/`, which carries command, commit, versions, hardware and seed.
[What the words mean](../glossary.md)."""


def rendered(text: str, block: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with `block` between the markers."""
    first, last = markers
    head, _, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not end:
        raise ValueError(f"'{first}' has no '{last}' after it")
    body = f"{block}\n" if block else ""
    return f"{head}{first}\n{body}{last}{tail}"


if __name__ == "__main__":
    sys.exit(main())
