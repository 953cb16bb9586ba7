"""What does not grow: memory with a prompt of 3,000 tokens, and the cost of a step in an answer of 4,000.

python -m benchmarks.long [-d none -d msd] [--dtype float32] [-o results/long.json]

Each drafter runs in a process of its own (Linux). Of the answer: the share of time that is neither the target's nor the
drafter's, and a step among the last 500 tokens, drafting apart, over a bare pass of the executor at that length: 1 says
that nothing of the loop reads what was said before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import torch

import seeahead
from seeahead.api import Engine
from seeahead.decode import start, steps
from seeahead.executor import NOTHING, ModelInputs
from seeahead.metrics import Totals
from seeahead.provenance import provenance, write_json
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.tree import ROOT

PROMPT, ANSWER, LAST = 3000, 4000, 500
FIRST_WORD = 1000
"""Prompts are tokens from this one on, in order: what they say is of no matter here."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--drafter", action="append")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--answer", type=int, default=ANSWER, help="tokens of the long answer")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone is not None:
        sys.stdout.write(json.dumps(measured(args.alone, args.dtype, args.answer)))
        return 0
    rows = []
    for drafter in args.drafter or ["none", "msd"]:
        sys.stderr.write(f"{drafter}: a prompt of {PROMPT} tokens, an answer of {args.answer}\n")
        command = [sys.executable, "-m", "benchmarks.long", "--alone", drafter]
        command += ["--dtype", args.dtype, "--answer", str(args.answer)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))
        sys.stdout.write(", ".join(f"{name} {value}" for name, value in rows[-1].items()) + "\n")
    if args.output is not None:
        write_json(args.output, {"provenance": provenance(0), "dtype": args.dtype, "rows": rows})
    return 0


def measured(drafter: str, dtype: str, num_answer: int) -> dict[str, Any]:
    engine = seeahead.load("demo", drafter=drafter, dtype=dtype)
    answered(engine, 8, 4)
    before, peak = peak_of(engine)
    request = answered(engine, 8, num_answer)
    totals = Totals.of(request.generation())
    last, emitted = [], 0
    for step in reversed(request.records):
        emitted += len(step.emitted)
        if emitted > LAST:
            break
        last.append(step)
    rows = round(mean(1 + step.num_drafted for step in last))
    bare = bare_pass(engine, 8 + num_answer - LAST // 2, rows)
    return {
        "drafter": drafter,
        "mib_before_prompt": before,
        "mib_peak": peak,
        "num_tokens": len(request.answer),
        "host_share": round(float(totals.host_share), 4),
        "last_step_ms": round(1000 * median(step.seconds - step.seconds_draft for step in last), 2),
        "rows_of_last_steps": rows,
        "bare_pass_ms": round(1000 * bare, 2),
    }


def words(count: int) -> ModelInputs:
    return ModelInputs(torch.arange(FIRST_WORD, FIRST_WORD + count)[None])


def answered(engine: Engine, num_prompt: int, num_answer: int) -> Request:
    """An answer that no end token ends."""
    target = engine.target
    rule = StopRule(num_answer)
    request = Request(target.executor, engine.drafter, Sampler(SamplingParams(), ()), rule, target.image_token_ids)
    start(request, words(num_prompt))
    for _ in steps(request):
        pass
    return request


def peak_of(engine: Engine) -> tuple[int, int]:
    """MiB that the process holds before a long prompt, and at most while it is read and answered."""
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew
    before = _mib("VmRSS")
    answered(engine, PROMPT, 4)
    return before, _mib("VmHWM")


def _mib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))


@torch.inference_mode()
def bare_pass(engine: Engine, length: int, rows: int, repeats: int = 20) -> float:
    """Median seconds of a pass over `rows` tokens at `length`."""
    session, seconds = Session(engine.target.executor, length), []
    session.prefill(words(length))
    for _ in range(repeats):
        started = perf_counter()
        session.score(list(range(rows)), [ROOT, *[0] * (rows - 1)], NOTHING)
        seconds.append(perf_counter() - started)
        session.commit([])
    return median(seconds)


if __name__ == "__main__":
    sys.exit(main())
