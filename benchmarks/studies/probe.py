"""How often the probe of published heads finds the dialect that a head was trained in, and how long it takes.

Tiny heads in the formats of their authors, each trained in a dialect drawn among those that its files allow, for tiny
targets that were taught to read images (`tests/drafters/reading_targets.py`).

python -m benchmarks.studies.probe    # writes results/probe.json (render.py makes the page)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

from benchmarks.studies import measured
from seeahead.bench.markdown import table
from seeahead.drafters.head_networks import Dialect
from seeahead.provenance import provenance, write_json
from tests.drafters.reading_targets import IMAGES, STEPS, target
from tests.drafters.trained_heads import (
    KINDS,
    LEARNED,
    MOST_STEPS,
    NUM_ASKED,
    NUM_SETTLING,
    NUM_STEPS,
    Case,
    asked,
    trained_case,
)

RESULT = Path(__file__).resolve().parents[2] / "results" / "probe.json"
SEED = 0
FRESH, NUM_FRESH = 20_000, 40
"""Prompts, with and without images, on which a dialect that was found is compared with the one trained in."""
AS_GOOD = 0.01
"""Nats per token."""
AXES = {
    "base": "the base of rotary positions",
    "layout": "one axis, or three, chunked or interleaved",
    "place": "the position of token j or of token j + 1, on three axes",
    "layers": "whose states are read",
    "residual": "what goes past attention",
    "visual": "what visual slots hold",
}
Row = Mapping[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="heads")
    parser.add_argument("--first", type=int, default=400, help="number of the first; the probe was made on those below")
    parser.add_argument("--jobs", type=int, default=2, help="heads at once, each in one thread")
    parser.add_argument("--trained", type=Path, default=Path("out/probe"), help="where targets and heads are kept")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    args = parser.parse_args()
    numbers, rows = range(args.first, args.first + args.count), list[Row]()
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(partial(_teach, args.trained), sorted({model_type for _, model_type in KINDS})))
        for row in pool.map(partial(measure, args.trained), numbers):
            rows.append(row)
            said = f"{row['kind']}, {sorted(wrong(row))} wrong, {row['seconds']:.2f} s"
            sys.stderr.write(f"{row['number']}: {said}\n")
            steps = {"target": max(STEPS.values()), "head": NUM_STEPS, "at most": MOST_STEPS, "learned": LEARNED}
            steps["settling"] = NUM_SETTLING
            prompts = {"texts": NUM_ASKED[0], "with images": NUM_ASKED[IMAGES]}
            write_json(args.output, {"provenance": provenance(SEED), "steps": steps, "prompts": prompts, "rows": rows})
    return 0


def _teach(kept: Path, model_type: str) -> None:
    target(model_type, kept)


def measure(kept: Path | None, number: int) -> dict[str, Any]:
    """Of a head: its kind, what it was trained in, what was found, and seconds of the probe."""
    with tempfile.TemporaryDirectory() as folder:
        case = trained_case(number, Path(folder) / "head", kept=kept)
        started = perf_counter(), process_time()
        found = case.probed(Path(folder))
        row = _row(number, case, found, perf_counter() - started[0], process_time() - started[1])
    fresh = asked(case.model_type, FRESH, dict.fromkeys(NUM_ASKED, NUM_FRESH))
    told = {"surprise": found, "trained_surprise": case.dialect}
    return {**row, **{name: round(case.surprise(dialect, fresh), 4) for name, dialect in told.items()}}


def _row(number: int, case: Case, found: Dialect, seconds: float, seconds_computing: float) -> dict[str, Any]:
    return {
        "number": number,
        "kind": case.kind,
        "target": case.model_type,
        "num_dialects": len(set(case.choice.all())),
        "loss": round(case.loss, 4),
        "config": axes(case.choice.first),
        "trained": axes(case.dialect),
        "found": axes(found),
        "seconds": seconds,
        "seconds_computing": seconds_computing,
    }


def axes(dialect: Dialect) -> dict[str, Any]:
    """What a dialect says, by `AXES`; without three axes there is one place alone."""
    rotation = dialect.rotation
    layout = "one" if not rotation.sections else "interleaved" if rotation.is_interleaved else "chunked"
    return {
        "base": rotation.theta,
        "layout": layout,
        "place": dialect.is_next and layout != "one",
        "layers": list(dialect.layers),
        "residual": dialect.carries_norm,
        "visual": dialect.visual,
    }


def wrong(row: Row, told: str = "found") -> set[str]:
    """The axes on which what was `told` is not what the head was trained in."""
    return {axis for axis in AXES if row[told][axis] != row["trained"][axis]}


def documents(record: Mapping[str, Any]) -> dict[str, str]:
    """The page of a stored measurement: texts by file name below the folder of documents."""
    steps, prompts = record["steps"], record["prompts"]
    words = [
        "# The probe of published heads",
        f"{measured(record['provenance'])}. Each head is trained for {steps['head']} steps, and on, up to "
        f"{steps['at most']}, until it costs less than {steps['learned']} nats per token about images, and "
        f"{steps['settling']} more while the rate falls to nothing; in a dialect "
        "drawn among those that its files allow, for a tiny target that was taught to repeat what lies a fixed number "
        f"of positions before ({steps['target']} steps), in images along their diagonal or only row: so words depend "
        f"on places. The probe reads the target's answers to {sum(prompts.values())} prompts, {prompts['with images']} "
        f"of them with images. As good is a dialect that costs at most {AS_GOOD} nats per token more than the one "
        f"trained in, over the answers to {2 * NUM_FRESH} other prompts. Seconds are those of the whole probe, in one "
        "thread; computing leaves out those in which others had the processor.",
        evidence(record),
        _by_axis(record["rows"]),
    ]
    return {"results/probe.md": "\n\n".join(words) + "\n"}


def evidence(record: Mapping[str, Any]) -> str:
    """What the page of published heads shows of it."""
    rows: Sequence[Row] = record["rows"]
    kinds = dict.fromkeys(row["kind"] for row in rows)
    lines = [_line(kind, [row for row in rows if row["kind"] == kind]) for kind in kinds]
    names = ["head", "dialects", "found", "or as good", "config alone", "by chance", "median s", "most s, computing"]
    return table("", names, [*lines, _line("all", rows)])


def _line(name: str, rows: Sequence[Row]) -> list[str]:
    sizes = sorted({row["num_dialects"] for row in rows})
    right, told = (sum(not wrong(row, what) for row in rows) for what in ("found", "config"))
    good = sum(row["surprise"] <= row["trained_surprise"] + AS_GOOD for row in rows)
    return [
        name,
        " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1]))),
        f"{right} of {len(rows)}",
        f"{good} of {len(rows)}",
        f"{told} of {len(rows)}",
        f"{sum(1 / row['num_dialects'] for row in rows):.1f}",
        f"{median(row['seconds'] for row in rows):.2f}",
        f"{max(row['seconds_computing'] for row in rows):.2f}",
    ]


def _by_axis(rows: Sequence[Row]) -> str:
    """Of heads in which an axis is open."""
    lines = []
    for axis, words in AXES.items():
        mistaken = [row for row in rows if axis in wrong(row)]
        differing = sum(axis in wrong(row, "config") for row in rows)
        lines.append([words, str(differing), str(len(mistaken))])
    return table("By what files leave open", ["", "trained in another than the config's", "found wrongly"], lines)


if __name__ == "__main__":
    sys.exit(main())
