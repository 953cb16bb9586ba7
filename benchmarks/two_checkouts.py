"""Single requests of two checkouts side by side: each question goes to one, then to the other, in turn.

python -m benchmarks.two_checkouts OTHER_CHECKOUT [--repeats 2] [-o results/two-checkouts.json]

The first figure of a method is the ratio of its seconds there to its seconds here, end to end, with its bootstrap
interval over questions: above 1, this checkout is the faster one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seeahead.bench.peers.worker import Worker
from seeahead.provenance import provenance, write_json

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("none", "msd", "vision", "lookup")

WORKER = """
import json, sys
from time import perf_counter
import seeahead
plain = seeahead.load("demo", drafter="none", dtype=sys.argv[1])
engines = {name: plain.with_drafter(name) for name in json.loads(sys.argv[2])}
for line in sys.stdin:
    asked = json.loads(line)
    started = perf_counter()
    reply = engines[asked["method"]].generate(
        asked["prompt"], asked["images"], max_new_tokens=asked["max_new_tokens"], temperature=0
    )
    seconds = perf_counter() - started
    decoding = sum(step.seconds for step in reply.steps)
    print(json.dumps({"seconds": seconds, "decoding": decoding, "ids": list(reply.token_ids)}), flush=True)
"""


def checkout(folder: Path, dtype: str, methods: Sequence[str]) -> Worker:
    """A process that answers with the code of one checkout."""
    code = [sys.executable, "-c", WORKER, dtype, json.dumps(list(methods))]
    return Worker(code, {**os.environ, "PYTHONPATH": str(folder / "src")})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("-d", "--drafter", action="append", help=f"by default {', '.join(METHODS)}")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    methods = args.drafter or METHODS
    there, here = (checkout(folder, args.dtype, methods) for folder in (args.other, ROOT))
    rows = []
    for repeat in range(-1, args.repeats):  # the first round warms up
        for number, asked in enumerate(_questions()):
            for method in methods:
                pair = (there, here) if (number + repeat) % 2 else (here, there)
                answers = {one: one.ask({**asked, "method": method}) for one in pair}
                row = {"method": method, "question": number, "there": answers[there], "here": answers[here]}
                if repeat >= 0:
                    rows.append(row)
        sys.stderr.write(f"round {repeat + 1} of {args.repeats}\n")
    found = {method: _ratios([row for row in rows if row["method"] == method]) for method in methods}
    for method, (figure, low, high, decoding, same) in found.items():
        sys.stdout.write(
            f"{method}: {figure:.3f} ({low:.3f} to {high:.3f}), decoding {decoding:.3f}, {same} identical\n"
        )
    if args.output is not None:
        write_json(args.output, {"provenance": provenance(0), "dtype": args.dtype, "ratios": found})
    return 0


def _questions() -> list[dict[str, Any]]:
    from seeahead.bench.suites import demo_questions

    return [
        {
            "prompt": turn.text,
            "images": list(map(str, item.images)),
            "max_new_tokens": min(64, turn.max_new_tokens),
        }
        for item in demo_questions(quick=False).items
        for turn in item.turns[:1]
    ]


def _ratios(rows: list[dict[str, Any]]) -> tuple[float, float, float, float, int]:
    """End to end with its interval, decoding alone, and how many answers are the same."""
    numbers = sorted({row["question"] for row in rows})

    def sums(side: str, what: str) -> Any:
        return np.array([sum(row[side][what] for row in rows if row["question"] == number) for number in numbers])

    there, here = sums("there", "seconds"), sums("here", "seconds")
    draws = np.random.default_rng(0).integers(0, len(numbers), (2000, len(numbers)))
    ratios = there[draws].sum(1) / here[draws].sum(1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    decoding = sums("there", "decoding").sum() / sums("here", "decoding").sum()
    same = sum(row["there"]["ids"] == row["here"]["ids"] for row in rows)
    return float(there.sum() / here.sum()), float(low), float(high), float(decoding), same


if __name__ == "__main__":
    sys.exit(main())
