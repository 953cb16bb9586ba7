"""What merging, calibration and the budget give `auto`, and what members cost it that are always wrong.

Every question of the demo suite's sample goes to plain decoding, each single drafter, `auto`, and `auto` without one of
its parts, in turn, greedy; then eight questions at once.

python -m benchmarks.studies.auto_parts    # writes results/auto-parts.json (render.py makes the page)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import torch

import seeahead
from benchmarks.executors import asked_in_turn, figures
from benchmarks.publish import shipped_digests, whose_weights
from benchmarks.studies import measured
from benchmarks.studies.auto_weighing import Clocked, weighed_seconds
from seeahead.api import Engine
from seeahead.bench.markdown import table
from seeahead.bench.suites import load_suite
from seeahead.data.suite import Item, Suite
from seeahead.drafters.auto import AutoDrafter
from seeahead.drafters.auto_drafting import AutoDrafting
from seeahead.drafters.auto_models import AutoModels
from seeahead.drafters.base import DraftModel
from seeahead.drafters.calibration import Facts, OwnCalibration
from seeahead.drafters.experience import Experience
from seeahead.drafting import DraftContext, Drafting, Feedback, Plan
from seeahead.provenance import provenance, write_json
from seeahead.reply import Reply
from seeahead.tree import Draft, TokenTree

RESULT = Path(__file__).resolve().parents[2] / "results" / "auto-parts.json"
SINGLE = ("language", "vision", "msd")
AT_ONCE = 8
NUM_NODES = 15
"""Of every tree where there is no budget."""


class Unmerged(AutoDrafting):
    """The leading model alone makes the tree."""

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        super().__init__(drafter, context)
        self._draftings = {}

    def _second(self, lead: str) -> None:
        return None


class AsTold(OwnCalibration):
    """A drafter's own probability, whatever the target answered."""

    def probability(self, facts: Facts) -> float:
        return float(torch.tensor(facts[1]).sigmoid())

    def learn(self, facts: Facts, probability: float, *, was_followed: bool) -> None:
        """Nothing."""


class Uncalibrated(AutoDrafting):
    """Nodes are scored by what their drafters say."""

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        super().__init__(drafter, context)
        self._calibrations = {name: AsTold(drafter.experience.calibrations[name, True]) for name in drafter.members}
        self._pool = self._empty()


class Unbudgeted(AutoDrafting):
    """Every step has a tree of `NUM_NODES` nodes, whatever a pass takes."""

    def _lead(self, budget: int) -> str | None:
        return self._promising()[0] or None

    def _best(self, budget: int, further: Sequence[float] = (), seconds: float = 0.0) -> tuple[int, float]:
        number = min(len(self._scores(further)), budget, NUM_NODES)
        return number, float(number)


@dataclass
class Shifted:
    """The drafts of another drafter, with each token's neighbour in the vocabulary in its place."""

    drafting: Drafting
    vocab_size: int

    def propose(self, budget: int) -> Draft:
        draft = self.drafting.propose(budget)
        tokens = tuple((token + 1) % self.vocab_size for token in draft.tree.tokens)
        return Draft(TokenTree(tokens, draft.tree.parents), (), draft.scores, draft.sources)

    def accept(self, feedback: Feedback) -> None:
        self.drafting.accept(feedback)


class ShiftedModel:
    """A model that says of each token what another says of its neighbour."""

    def __init__(self, model: DraftModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def were_right(self) -> Sequence[bool]:
        return [False] * len(self._model.were_right)

    def read(self) -> Plan[torch.Tensor | None]:
        logits = yield from self._model.read()
        return None if logits is None else logits.roll(1, -1)

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        return (yield from self._model.expand(tokens, parents)).roll(1, -1)


class ShiftedModels(AutoModels):
    """Shifted ones in the place of all."""

    def start(self, name: str) -> Any:
        self._started[name] = ShiftedModel(super().start(name))  # type: ignore[assignment]  # all but attributes
        return self._started[name]


class Misled(AutoDrafting):
    """All members are as sure as ever, and always wrong."""

    models = ShiftedModels

    def __init__(self, drafter: AutoDrafter, context: DraftContext) -> None:
        super().__init__(drafter, context)
        self._draftings = {name: Shifted(one, context.vocab_size) for name, one in self._draftings.items()}


class Changed(AutoDrafter):
    """`auto` with another way to draft an answer, and with what it has learned apart."""

    def __init__(self, auto: AutoDrafter, kind: type[AutoDrafting], name: str) -> None:
        # What training has said of members does not hold of those that are misled.
        experience = Experience(auto.experience.times) if kind is Misled else auto.experience
        super().__init__(auto.members, experience, auto.limits, name)
        self._kind = kind

    def start(self, context: DraftContext) -> AutoDrafting:
        return self._kind(self, context)


KINDS: dict[str, type[AutoDrafting]] = {
    "auto": AutoDrafting,
    "auto without merging": Unmerged,
    "auto without calibration": Uncalibrated,
    "auto without a budget": Unbudgeted,
    "auto, all members wrong": Misled,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--count", type=int, default=8, help="questions per scenario")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    args = parser.parse_args()
    plain = seeahead.load("demo", drafter="none", executor=args.executor, dtype=args.dtype)
    engines = {name: plain.with_drafter(name) for name in ("none", *SINGLE)}
    for name, kind in KINDS.items():
        auto = plain.with_drafter("auto").drafter
        assert isinstance(auto, AutoDrafter), "each has learned for itself"
        engines[name] = plain.with_drafter(Changed(auto, kind, name))
    suite = load_suite("demo", count=args.count, seed=0, folder=None, workspace=Path(mkdtemp()))
    found = measure(engines, suite, args.repeats) | {"weighing_share": weighing_share(plain, suite)}
    about = {"executor": plain.family.executor.name, "questions": len(suite.items), "scenarios": len(suite.scenarios)}
    about |= {"drafters": shipped_digests()}
    stored = {"provenance": provenance(0), "settings": about, **found}
    write_json(args.output, stored)
    sys.stdout.write(documents(stored)["results/auto-parts.md"])
    return 0


def weighing_share(plain: Engine, suite: Suite) -> float:
    """Of the seconds of decoding, what `auto` takes beside its members and the target, one question at a time."""
    auto = plain.with_drafter("auto").drafter
    assert isinstance(auto, AutoDrafter)
    engine = plain.with_drafter(Changed(auto, Clocked, "auto, clocked"))
    _alone(engine, _asked(suite.items[0]))
    before = weighed_seconds()
    decoding = sum(_alone(engine, _asked(item))["decoding"] for item in suite.items)
    return (weighed_seconds() - before) / float(decoding)


def measure(engines: Mapping[str, Engine], suite: Suite, num_repeats: int) -> dict[str, Any]:
    """Figures of each engine with `one` question at a time and with `eight`, by its name."""
    asked = {name: [_asked(item) for item in suite.items if item.scenario == name] for name in suite.scenarios}
    one = [(name, question) for name, questions in asked.items() for question in questions]
    eight = [
        (name, {"requests": questions[first : first + AT_ONCE]})
        for name, questions in asked.items()
        for first in range(0, len(questions), AT_ONCE)
    ]
    found = {}
    for engine in engines.values():  # whose first batch measures what passes take
        engine.generate_batch([one[0][1] | {"max_new_tokens": 2}] * 2)
    for kind, told, questions in (("one", _alone, one), ("eight", _together, eight)):
        arms = {name: partial(told, engine) for name, engine in engines.items()}
        rows = asked_in_turn(arms, [question for _, question in questions], num_repeats)
        scenarios = [name for name, _ in questions]
        found[kind] = {name: _figures(rows, name, scenarios) for name in engines}
    return found


def _asked(item: Item) -> dict[str, Any]:
    turn = item.turns[0]
    return {"prompt": turn.text, "images": item.images, "max_new_tokens": turn.max_new_tokens, "temperature": 0}


def _alone(engine: Engine, asked: Mapping[str, Any]) -> dict[str, Any]:
    started = perf_counter()
    reply = engine.generate(**asked)
    return _told([reply], perf_counter() - started, sum(step.seconds for step in reply.steps))


def _together(engine: Engine, asked: Mapping[str, Any]) -> dict[str, Any]:
    started = perf_counter()
    replies = engine.generate_batch(asked["requests"], num_at_once=AT_ONCE)
    seconds = perf_counter() - started
    return _told(replies, seconds, seconds)


def _told(replies: Sequence[Reply], seconds: float, decoding: float) -> dict[str, Any]:
    counts = {"tokens": sum(len(one.token_ids) for one in replies), "steps": sum(len(one.steps) for one in replies)}
    return {"seconds": seconds, "decoding": decoding, **counts, "text": "\n".join(one.text for one in replies)}


def _figures(rows: Sequence[Mapping[str, Any]], name: str, scenarios: Sequence[str]) -> dict[str, Any]:
    """Of an arm, and the scenario in which it gains least over plain decoding."""
    ratios = {}
    for scenario in dict.fromkeys(scenarios):
        chosen = [row for row in rows if scenarios[row["question"]] == scenario]
        ratios[scenario] = figures(chosen, name, "none", "none")["decoding_ratio"]
    least = min(ratios, key=lambda scenario: ratios[scenario])
    return figures(rows, name, "none", "none") | {"lowest": ratios[least], "lowest_scenario": least}


def documents(found: Mapping[str, Any]) -> dict[str, str]:
    """Pages by name."""
    source, settings = found["provenance"], found["settings"]
    headings = ["drafter", "one at a time", "least in a scenario", "tokens a pass", "eight at once", "least there"]
    lines = [
        "# What its parts give `auto`",
        "",
        f"{settings['questions']} questions in {settings['scenarios']} scenarios, greedy, on {settings['executor']}; "
        "every question goes to all in turn. Tokens a second over those of plain decoding, with the 95 % bootstrap "
        "interval over questions: of decoding for one question at a time, of whole answers for eight at once (a "
        "scenario's, side by side in one batch; there the interval is over batches).",
        "",
        table("", headings, [_row(name, found["one"][name], found["eight"][name]) for name in found["one"]]),
        "",
        "Without merging the leading model alone makes the tree, and `lookup` is not asked. Without calibration nodes "
        f"are scored by what their drafters say. Without a budget every step has a tree of {NUM_NODES} nodes. Where "
        "all members are wrong, each token's neighbour in the vocabulary is proposed in its place, with as much "
        "confidence.",
        "",
        *_weighing(found),
        whose_weights(source, drafters=settings.get("drafters")),
        "",
        f"{measured(source)}, with {source['hardware']['num_cores']} cores.",
        "",
    ]
    return {"results/auto-parts.md": "\n".join(lines)}


def _weighing(found: Mapping[str, Any]) -> list[str]:
    if "weighing_share" not in found:
        return []
    return [f"Choosing and weighing takes {found['weighing_share']:.1%} of decoding, one question at a time.", ""]


def _row(name: str, one: Mapping[str, Any], eight: Mapping[str, Any]) -> list[str]:
    return [
        "plain" if name == "none" else name,
        _ratio(one, "decoding"),
        f"{one['lowest']:.2f} ({one['lowest_scenario']})",
        f"{one['tokens_per_pass']:.2f}",
        _ratio(eight, "seconds"),
        f"{eight['lowest']:.2f} ({eight['lowest_scenario']})",
    ]


def _ratio(figure: Mapping[str, Any], what: str) -> str:
    return f"{figure[f'{what}_ratio']:.2f}× ({figure[f'{what}_low']:.2f}–{figure[f'{what}_high']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
