"""Writes the tables of measured results into the documents, from the stored records and nothing else.

python benchmarks/render.py            # rewrites what stands between the markers, and docs/claims.md
python benchmarks/render.py --check    # exit code 1 if a document is stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seeahead.bench import publish
from seeahead.bench.claims import render_claims
from seeahead.bench.record import Record, read_record
from seeahead.provenance import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
README = "README.md"
CLAIMS = "docs/claims.md"


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
    block, documents = tables(root / "results"), {CLAIMS: render_claims(root / "results")}
    for stem, record in bench_records(root / "results").items():
        documents |= {f"docs/{name}": text for name, text in publish.documents(stem, record).items()}
    readme = (root / README).read_text(encoding="utf-8")
    return {README: rendered(readme, block), **documents}


def bench_records(folder: Path) -> dict[str, Record]:
    """Stored runs of `seeahead bench`, by file name without its ending."""
    return {path.stem: read_record(path) for path in sorted(folder.glob("bench-*.json"))}


def rendered(text: str, block: str) -> str:
    """`text` with `block` between the markers."""
    head, _, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"'{BEGIN}' has no '{END}' after it")
    body = f"{block}\n" if block else ""
    return f"{head}{BEGIN}\n{body}{END}{tail}"


def tables(folder: Path) -> str:
    """The runs of `seeahead bench`; while there are none, a table per stored speed record."""
    if records := bench_records(folder):
        return "\n\n".join(publish.block(stem, record) for stem, record in records.items())
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("speed-*.json"))]
    return "\n\n".join(speed_table(record) for record in stored)


def speed_table(record: Mapping[str, Any]) -> str:
    loop, plain = record["plain_loop"], record["plain_loop"]["ratio"]
    lines = [
        f"**{machine(record)}**, demo questions, greedy, {record['drafters']['num_repeats']} repeats:",
        "",
        "| drafter | τ | tokens/s | speed-up | identical answers | host time |",
        "|---|---:|---:|---:|---:|---:|",
        *(row(entry) for entry in record["drafters"]["methods"]),
        "",
        f"Our plain loop is {plain['median']:.2f} times as fast as transformers' `generate` on the same model, "
        f"interleaved ({plain['lowest']:.2f} to {plain['highest']:.2f} over repeats), with identical answers to "
        f"{loop['num_identical']} of {loop['num_prompts']} prompts.",
    ]
    return "\n".join(lines)


def machine(record: Mapping[str, Any]) -> str:
    hardware = record["provenance"]["hardware"]
    where = (
        hardware["gpu"] if record["device"] == "cuda" else f"{record['num_threads']} CPU threads ({hardware['cpu']})"
    )
    return f"{record['model_type']}, {record['num_parameters'] / 1e6:.0f} M parameters, {record['dtype']}, {where}"


def row(entry: Mapping[str, Any]) -> str:
    name = "none (plain)" if entry["method"] == "none" else entry["method"]
    cells: Iterable[str] = (
        f"{entry['block_efficiency']:.2f}",
        f"{entry['token_rate']:.1f}",
        f"{entry['speed_up']:.2f}×",
        f"{entry['num_identical']} of {entry['num_answers']}",
        f"{entry['host_share']:.0%}",
    )
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
