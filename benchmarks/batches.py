"""The first question of eight scenarios at once against one after the other, end to end, in one interleaved run.

python -m benchmarks.batches [--dtype float32] [-o results/batches.json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

import seeahead
from seeahead.api import Engine
from seeahead.bench.suites import load_suite
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
    rows: list[dict[str, Any]] = []
    for number in range(-1, args.repeats):  # the first round warms up
        for name, engine in engines.items():
            row = measured(engine)
            sys.stderr.write(f"{name}: {row['alone']:.1f} s alone, {row['together']:.1f} s together\n")
            if number >= 0:
                rows.append({"method": name, **row})
    found = {name: median(row["alone"] / row["together"] for row in rows if row["method"] == name) for name in engines}
    for name, ratio in found.items():
        sys.stdout.write(f"{name}: {ratio:.2f} times as fast together\n")
    if args.output is not None:
        settings = {
            "dtype": str(plain.family.dtype),
            "num_questions": NUM_QUESTIONS,
            "threads": torch.get_num_threads(),
        }
        write_json(args.output, {"provenance": provenance(0), "settings": settings, "rows": rows, "ratios": found})
    return 0


def measured(engine: Engine) -> dict[str, Any]:
    """Seconds for all questions one after the other and together, and whether the answers are the same."""
    with tempfile.TemporaryDirectory() as workspace:
        suite = load_suite("demo", count=1, seed=0, folder=None, workspace=Path(workspace))
    turns = [(item, item.turns[0]) for item in suite.items[:NUM_QUESTIONS]]
    asked: list[dict[str, Any]] = [
        {"prompt": turn.text, "images": list(item.images), "max_new_tokens": turn.max_new_tokens, "temperature": 0}
        for item, turn in turns
    ]
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
