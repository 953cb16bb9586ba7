"""How an ensemble's weights move while it answers, and what its views and its weighing cost; see docs/methods/tabed.md.

python -m benchmarks.studies.ensemble_weights    # writes results/ensembles.json (render.py makes the page)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import seeahead
from benchmarks.publish import whose_weights
from benchmarks.studies import measured
from seeahead.api import Engine
from seeahead.bench import charts
from seeahead.bench.harness import question_of
from seeahead.bench.markdown import table
from seeahead.bench.suites import Item, load_suite
from seeahead.drafters.base import ModelDrafting
from seeahead.drafters.ensemble import EnsembleDrafter, EnsembleModel
from seeahead.drafters.tabed import VIEWS as VIEW_NAMES
from seeahead.drafters.weights import Weights
from seeahead.drafting import DraftContext, Drafter
from seeahead.provenance import provenance, write_json
from seeahead.reply import Reply

RESULT = Path(__file__).resolve().parents[2] / "results" / "ensembles.json"
SCENARIOS = ("describe in detail", "two pictures", "five-picture story", "follow-up")
VIEWS = ("M", "MT", "MTP", "MTCP")
CHAIN, SEED = 5, 0
_COSTS = ((EnsembleModel, "_verified"), (Weights, "update"), (Weights, "next"))
Row = Mapping[str, Any]
DRAWN = "MTP"
_NUM_BLOCKS = 20
_FEWEST = 3
"""Answers that a mean weight is taken over, at least."""
_COLOURS = ("var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)")


@dataclass
class Kept:
    """A drafter that remembers the models of its answers."""

    drafter: Drafter
    models: list[EnsembleModel] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.drafter, name)

    def start(self, context: DraftContext) -> ModelDrafting:
        drafting = self.drafter.start(context)
        assert isinstance(drafting, ModelDrafting)
        assert isinstance(drafting.model, EnsembleModel)
        self.models.append(drafting.model)
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
    return Engine(plain.family, keeper, plain.own_drafters), keeper


def answers(views: str, engine: Engine, keeper: Kept, item: Item) -> Iterator[dict[str, Any]]:
    earlier: tuple[tuple[str, str], ...] = ()
    for turn in item.turns:
        messages = question_of(item, earlier).messages()
        with timed() as spent:
            reply = engine.generate(messages, max_new_tokens=turn.max_new_tokens, temperature=0.0)
        earlier += ((turn.text, reply.text),)
        yield row(views, item.scenario, reply, keeper.models.pop().weights, spent["weighing"])


def row(views: str, scenario: str, reply: Reply, weights: Weights | None, seconds_weighing: float) -> dict[str, Any]:
    return {
        "views": views,
        "scenario": scenario,
        "num_steps": len(reply.steps),
        "num_emitted": sum(len(step.emitted) for step in reply.steps),
        "num_levels": sum(step.depth for step in reply.steps),
        "seconds": sum(step.seconds for step in reply.steps),
        "seconds_draft": sum(step.seconds_draft for step in reply.steps),
        "seconds_weighing": seconds_weighing,
        "weights": [] if weights is None else [one.tolist() for one in weights.trace],
    }


def documents(record: Mapping[str, Any]) -> dict[str, str]:
    """The page of a stored measurement: texts by file name below the folder of documents."""
    rows: Sequence[Row] = record["rows"]
    image = "images/ensembles-weights.svg"
    asked = f"{record['count']} questions per scenario of the demo's suite, greedy, chains of {record['chain']}"
    words = [
        "# How an ensemble weighs its views",
        f"{measured(record['provenance'])}: {asked}. "
        f"Views: {', '.join(f'{letter} {what}' for letter, what in VIEW_NAMES.items())}. "
        f"{whose_weights(record['provenance'])}",
        f"![Mean weight of each view, block by block](../{image})",
        _costs(rows),
        _efficiency(rows),
        "A caption is written by the target before the answer starts; that time is not among these. Weighing is "
        "what choosing weights takes: the target's distribution, hits, divergences, the grid.",
    ]
    return {image: _chart(rows), "results/ensembles.md": "\n\n".join(words) + "\n"}


def _sum(rows: Sequence[Row], name: str) -> float:
    return sum(float(row[name]) for row in rows)


def _by(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _costs(rows: Sequence[Row]) -> str:
    by_views = _by(rows, "views")
    level = {views: _sum(own, "seconds_draft") / _sum(own, "num_levels") for views, own in by_views.items()}
    one = min(level, key=len)
    lines = [
        [
            views,
            f"{1000 * level[views]:.2f}",
            f"{level[views] / level[one] - 1:+.0%}",
            f"{_sum(own, 'seconds_draft') / _sum(own, 'seconds'):.0%}",
            f"{_sum(own, 'seconds_weighing') / _sum(own, 'seconds'):.1%}",
        ]
        for views, own in by_views.items()
    ]
    names = ["views", "ms per drafted level", f"over {one}", "drafting, of all", "weighing, of all"]
    return table("What it costs", names, lines)


def _efficiency(rows: Sequence[Row]) -> str:
    by_views = {views: _by(own, "scenario") for views, own in _by(rows, "views").items()}
    scenarios = list(next(iter(by_views.values())))
    lines = [
        [views, *(f"{_sum(own[name], 'num_emitted') / _sum(own[name], 'num_steps'):.2f}" for name in scenarios)]
        for views, own in by_views.items()
    ]
    return table("τ by scenario", ["views", *scenarios], lines)


def _chart(rows: Sequence[Row]) -> str:
    drawn = _by([row for row in rows if row["views"] == DRAWN], "scenario")
    panels = [(scenario, _weights(f"w{number}", scenario, own)) for number, (scenario, own) in enumerate(drawn.items())]
    return charts.grid("Mean weight of each view, block by block", panels)


def _weights(ident: str, scenario: str, rows: Sequence[Row]) -> str:
    traces = [row["weights"] for row in rows if row["weights"] and len(row["weights"][0]) == len(DRAWN)]
    series = []
    for place, letter in enumerate(DRAWN):
        points = []
        for block in range(_NUM_BLOCKS):
            there = [trace[block][place] for trace in traces if len(trace) > block]
            if len(there) >= _FEWEST:
                points.append((block + 1.0, mean(there)))
        series.append(charts.Line(letter, _COLOURS[place], tuple(points)))
    return charts.lines(ident, f"Weights of views in {scenario}", series, "block", 30)


if __name__ == "__main__":
    sys.exit(main())
