"""Executors and peers side by side: each question goes to every arm in turn, greedy, one run.

An arm is an executor in a precision with a drafter, in a process of its own per executor and precision. A peer is
OpenVINO GenAI in an environment of its own, which `seeahead bench --set-up-peers` makes.

python -m benchmarks.executors [--peers] [--repeats 2] [-o results/executors.json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies import SEES
from seeahead.bench.peers import outside, set_up
from seeahead.bench.peers.table import OTHERS
from seeahead.bench.peers.worker import LOADING_SECONDS, Worker
from seeahead.bench.statistics import Array, interval, ratio, resample
from seeahead.provenance import provenance, write_json

ROOT = Path(__file__).resolve().parents[1]
DRAFTERS = ("none", "lookup", "vision", "msd", "auto")
OURS = (("transformers", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"), ("openvino", "int8"))
PEERS = {
    "genai fp16": "OpenVINO GenAI fp16 none",
    "genai int8": "OpenVINO GenAI int8 none",
    "genai int8 lookup": "OpenVINO GenAI int8 prompt lookup",
}
"""Arms of them."""
MOST_TOKENS = 64
_WARM_UP = 2
"""Questions."""
BASE = "transformers float32 none"

WORKER = """
import json, sys
from time import perf_counter
import seeahead
executor, dtype, drafters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
plain = seeahead.load("demo", drafter="none", executor=executor, dtype=dtype)
engines = {name: plain.with_drafter(name) for name in drafters}
print(json.dumps({"drafters": list(engines)}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    started, first = perf_counter(), None
    for piece in engines[asked["drafter"]].stream(
        asked["prompt"], asked["images"], max_new_tokens=asked["max_new_tokens"], temperature=0
    ):
        first, reply = first or perf_counter(), piece.reply
    seconds = perf_counter() - started
    decoding = started + seconds - first
    told = {"seconds": seconds, "decoding": decoding, "tokens": len(reply.token_ids), "steps": len(reply.steps)}
    print(json.dumps({**told, "text": reply.text}), flush=True)
"""

Arm = Callable[[Mapping[str, Any]], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="also OpenVINO GenAI")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    arms, versions = _arms(with_peers=args.peers)
    found = compared(arms, questions(), args.repeats, BASE)
    if args.output is not None:
        write_json(args.output, {"provenance": provenance(0), "versions": versions, SEES: True, **found})
    return 0


def compared(
    arms: Mapping[str, Arm], asked_of_all: Sequence[Mapping[str, Any]], num_repeats: int, base: str
) -> dict[str, Any]:
    """Figures of each arm, which are printed too, and the answers that they come from."""
    rows = asked_in_turn(arms, asked_of_all, num_repeats)
    found = {name: figures(rows, name, base, _plain_of(name)) for name in arms}
    for name, figure in found.items():
        sys.stdout.write(f"{name}: {json.dumps(figure)}\n")
    return {"arms": found, "rows": rows}


def asked_in_turn(
    arms: Mapping[str, Arm], asked_of_all: Sequence[Mapping[str, Any]], num_repeats: int
) -> list[dict[str, Any]]:
    """What each arm answers to each question, after a warm-up."""
    rows = []
    for repeat in range(-1, num_repeats):
        for number, asked in enumerate(asked_of_all if repeat >= 0 else asked_of_all[:_WARM_UP]):
            order = list(arms)
            np.random.default_rng((repeat + 1, number)).shuffle(order)
            for name in order:
                answer = arms[name](asked)
                if repeat >= 0:
                    rows.append({"arm": name, "question": number, "repeat": repeat, **answer})
        sys.stderr.write(f"round {repeat + 1} of {num_repeats}\n")
    return rows


def _arms(*, with_peers: bool) -> tuple[dict[str, Arm], dict[str, str]]:
    if with_peers:
        set_up.check(list(PEERS), "demo")
    arms, versions = own_arms(OURS, DRAFTERS), dict[str, str]()
    for peer, arm in PEERS.items() if with_peers else ():
        worker = outside.process_of(OTHERS[peer], "demo")
        versions |= worker.read()["versions"]
        arms[arm] = partial(_ask_peer, worker)
    return arms, versions


def own_arms(executors: Sequence[tuple[str, str]], drafters: Sequence[str]) -> dict[str, Arm]:
    """Of the demo model, a process for each executor and precision."""
    arms: dict[str, Arm] = {}
    env = {"GOMP_SPINCOUNT": "20000", **os.environ, "PYTHONPATH": str(ROOT / "src")}  # as the command line sets
    for executor, dtype in executors:
        worker = Worker([sys.executable, "-c", WORKER, executor, dtype, json.dumps(drafters)], env)
        worker.read(LOADING_SECONDS)  # one after the other: each measures its passes as it loads
        arms |= {f"{executor} {dtype} {drafter}": partial(_ask, worker, drafter) for drafter in drafters}
    return arms


def _ask(worker: Worker, drafter: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    return worker.ask({**asked, "drafter": drafter})


def _ask_peer(worker: Worker, asked: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "user", "images": asked["images"], "text": asked["prompt"]}
    settings = {"max_new_tokens": asked["max_new_tokens"], "temperature": 0.0, "seed": 0}
    told = worker.ask({"messages": [message], **settings})
    decoding = told["seconds_total"] - told["seconds_first"]
    counts = {"tokens": len(told["token_ids"]), "steps": 0}
    return {"seconds": told["seconds_total"], "decoding": decoding, **counts, "text": told["text"]}


def questions(per_scenario: int = 1) -> list[dict[str, Any]]:
    """Those of the demo, and some of every scenario of its suite."""
    from tempfile import mkdtemp

    from seeahead.bench.suites import demo_questions, load_suite

    suite = load_suite("demo", count=per_scenario, seed=0, folder=None, workspace=Path(mkdtemp()))
    return [
        {
            "prompt": turn.text,
            "images": list(map(str, item.images)),
            "max_new_tokens": min(MOST_TOKENS, turn.max_new_tokens),
        }
        for item in (*demo_questions(quick=False).items, *suite.items)
        for turn in item.turns[:1]
    ]


def _plain_of(name: str) -> str:
    """The arm whose answers an arm is to give; a peer's are its own."""
    return name if "GenAI" in name else f"{name.rpartition(' ')[0]} none"


def figures(rows: Sequence[Mapping[str, Any]], name: str, base: str, plain_name: str) -> dict[str, Any]:
    """Tokens per second, decoding (without the first token of each answer) and end to end, each also over the arm
    `base` with its 95 % bootstrap interval over questions; tokens per pass; answers like those of arm `plain_name`."""
    own, rival, plain = ([row for row in rows if row["arm"] == arm] for arm in (name, base, plain_name))
    told = {"same_as_plain": sum(a["text"] == b["text"] for a, b in zip(own, plain, strict=True)), "answers": len(own)}
    told["first_seconds"] = float(np.median([row["seconds"] - row["decoding"] for row in own]))
    steps = sum(row["steps"] for row in own)
    told["tokens_per_pass"] = sum(row["tokens"] - 1 for row in own) / steps if steps else 0.0
    for what, less in (("decoding", 1), ("seconds", 0)):
        told[f"{what}_rate"] = _rate(own, what, less)
        names = (f"{what}_ratio", f"{what}_low", f"{what}_high")
        told |= dict(zip(names, _ratio(own, rival, what, less), strict=True))
    return told


def _rate(rows: Sequence[Mapping[str, Any]], what: str, less: int) -> float:
    return float(sum(row["tokens"] - less for row in rows) / sum(row[what] for row in rows))


def _ratio(
    own: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]], what: str, less: int
) -> tuple[float, float, float]:
    """Of rates, since peers say other answers, and its interval."""
    numbers = sorted({row["question"] for row in own})
    weights = resample([what] * len(numbers))

    def rates(rows: Sequence[Mapping[str, Any]]) -> Array:
        parts = [[row for row in rows if row["question"] == number] for number in numbers]
        sums = [(sum(row["tokens"] - less for row in part), sum(row[what] for row in part)) for part in parts]
        return ratio(*(weights @ np.array(sums)).T)

    found = interval(ratio(rates(own), rates(base)), len(numbers))
    if found is None:
        raise SystemExit(f"no {what} to compare: every answer has one token")
    return found.value, *(found.ends or (found.value, found.value))


if __name__ == "__main__":
    sys.exit(main())
