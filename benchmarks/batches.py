"""Eight questions at once against one after the other, end to end, in one interleaved run.

Two sets: what `seeahead demo` asks, its first eight; and the first question of eight scenarios of the demo suite, whose
answers are short and unlike in length, so that fewer are under way at once.

python -m benchmarks.batches [--dtype float32] [-o results/batches.json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

import seeahead
from seeahead.api import Engine
from seeahead.bench.suites import demo_questions, load_suite
from seeahead.provenance import provenance, write_json

METHODS = {"plain": "none", "msd, fixed trees": "msd:fixed=1"}
NUM_QUESTIONS, REPEATS = 8, 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("-d", "--drafter", action="append", default=[], help="further drafters")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    plain = seeahead.load("demo", drafter="none", dtype=args.dtype)
    methods = {**METHODS, **{name: name for name in args.drafter}}
    engines = {name: plain.with_drafter(spec) for name, spec in methods.items()}
    sets = question_sets()
    rows: list[dict[str, Any]] = []
    for number in range(-1, args.repeats):  # the first round warms up
        for (questions, asked), (name, engine) in product(sets.items(), engines.items()):
            row = {"questions": questions, "method": name, **measured(engine, asked)}
            sys.stderr.write(f"{questions}, {name}: {row['alone']:.1f} s alone, {row['together']:.1f} s together\n")
            rows += [row] if number >= 0 else []
    found = []
    for questions, name in product(sets, engines):
        own = [row["alone"] / row["together"] for row in rows if (row["questions"], row["method"]) == (questions, name)]
        found.append({"questions": questions, "method": name, "ratio": median(own)})
        sys.stdout.write(f"{questions}, {name}: {median(own):.2f} times as fast together\n")
    if args.output is not None:
        settings = {
            "dtype": str(plain.family.dtype),
            "num_questions": NUM_QUESTIONS,
            "threads": torch.get_num_threads(),
        }
        write_json(args.output, {"provenance": provenance(0), "settings": settings, "rows": rows, "ratios": found})
    return 0


def question_sets() -> dict[str, list[dict[str, Any]]]:
    """Requests of `generate_batch`, by set."""
    with tempfile.TemporaryDirectory() as workspace:
        suite = load_suite("demo", count=1, seed=0, folder=None, workspace=Path(workspace))
    return {
        name: [
            {"prompt": turn.text, "images": list(item.images), "max_new_tokens": turn.max_new_tokens, "temperature": 0}
            for item in items[:NUM_QUESTIONS]
            for turn in item.turns[:1]
        ]
        for name, items in {"demo": demo_questions(quick=False).items, "suite": suite.items}.items()
    }


def measured(engine: Engine, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds for all questions one after the other and together, and whether the answers are the same."""
    started = perf_counter()
    alone = [engine.generate(**one).token_ids for one in asked]
    between = perf_counter()
    together = [reply.token_ids for reply in engine.generate_batch(asked, num_at_once=NUM_QUESTIONS)]
    finished = perf_counter()
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    num_tokens = sum(map(len, alone))
    return {"alone": between - started, "together": finished - between, "identical": same, "num_tokens": num_tokens}


if __name__ == "__main__":
    sys.exit(main())
