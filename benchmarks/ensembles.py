"""How an ensemble's weights move while it answers, and what its views and its weighing cost; see docs/methods/tabed.md.

python benchmarks/ensembles.py            # measures, and writes results/ensembles.json (render.py makes the page)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import seeahead
from seeahead.api import Engine, Reply
from seeahead.bench.harness import question_of
from seeahead.bench.suites import Item, load_suite
from seeahead.drafters.ensemble import EnsembleDrafter, EnsembleVoice
from seeahead.drafters.voice import VoiceDrafting
from seeahead.drafters.weights import Weighing
from seeahead.drafting import Assignment, Drafter
from seeahead.executor import Executor
from seeahead.provenance import provenance, write_json

RESULT = Path(__file__).resolve().parents[1] / "results" / "ensembles.json"
SCENARIOS = ("describe in detail", "two pictures", "five-picture story", "follow-up")
VIEWS = ("M", "MT", "MTP", "MTCP")
CHAIN, SEED = 5, 0
_COSTS = ((EnsembleVoice, "_verified"), (Weighing, "hear"), (Weighing, "weights"))


@dataclass
class Kept:
    """A drafter that remembers the voices of its answers."""

    drafter: Drafter
    voices: list[EnsembleVoice] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.drafter, name)

    def bound_to(self, target: Executor) -> Kept:
        self.drafter = self.drafter.bound_to(target)
        return self

    def start(self, assignment: Assignment) -> VoiceDrafting:
        drafting = self.drafter.start(assignment)
        assert isinstance(drafting, VoiceDrafting)
        assert isinstance(drafting.voice, EnsembleVoice)
        self.voices.append(drafting.voice)
        return drafting


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds inside of everything that weighing needs."""
    spent = {"weighing": 0.0}
    old: list[tuple[type, str, Callable[..., Any]]] = [(owner, name, getattr(owner, name)) for owner, name in _COSTS]

    def wrapped(inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = perf_counter()
            result = inner(*arguments)
            spent["weighing"] += perf_counter() - started
            return result

        return run

    for owner, name, inner in old:
        setattr(owner, name, wrapped(inner))
    try:
        yield spent
    finally:
        for owner, name, inner in old:
            setattr(owner, name, inner)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6, help="questions per scenario")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    args = parser.parse_args()
    rows = list(measure(seeahead.load("demo", drafter="none"), args.count))
    write_json(args.output, {"provenance": provenance(SEED), "chain": CHAIN, "count": args.count, "rows": rows})
    return 0


def measure(plain: Engine, count: int) -> Iterator[dict[str, Any]]:
    """A row per answer: its scenario, steps in numbers, seconds by part, and the weights of every block.

    Every question is put to all views in turn, so that a slower minute of the machine is shared by them."""
    watched = {views: watch(plain, views) for views in VIEWS}
    with tempfile.TemporaryDirectory() as workspace:
        suite = load_suite("demo", count=count, seed=SEED, folder=None, workspace=Path(workspace))
        for item in suite.items:
            if item.scenario in SCENARIOS:
                sys.stderr.write(f"\r{item.id}                    ")
                for views, (engine, keeper) in watched.items():
                    yield from answers(views, engine, keeper, item)


def watch(plain: Engine, views: str) -> tuple[Engine, Kept]:
    made = plain.with_drafter(f"tabed:views={views},captions=own,chain={CHAIN}").drafter
    assert isinstance(made, EnsembleDrafter)
    keeper = Kept(made)
    return Engine(plain.family, keeper, plain.own_drafters), keeper  # type: ignore[arg-type]  # it stands for a drafter


def answers(views: str, engine: Engine, keeper: Kept, item: Item) -> Iterator[dict[str, Any]]:
    earlier: tuple[tuple[str, str], ...] = ()
    for turn in item.turns:
        messages = question_of(item, earlier).messages()
        with timed() as spent:
            reply = engine.generate(messages, max_new_tokens=turn.max_new_tokens, temperature=0.0)
        earlier += ((turn.text, reply.text),)
        yield row(views, item.scenario, reply, keeper.voices.pop().weighing, spent["weighing"])


def row(views: str, scenario: str, reply: Reply, weighing: Weighing | None, seconds_weighing: float) -> dict[str, Any]:
    return {
        "views": views,
        "scenario": scenario,
        "num_steps": len(reply.steps),
        "num_emitted": sum(len(step.emitted) for step in reply.steps),
        "num_levels": sum(step.depth for step in reply.steps),
        "seconds": sum(step.seconds for step in reply.steps),
        "seconds_draft": sum(step.seconds_draft for step in reply.steps),
        "seconds_weighing": seconds_weighing,
        "weights": [] if weighing is None else [weights.tolist() for weights in weighing.trace],
    }


if __name__ == "__main__":
    sys.exit(main())
