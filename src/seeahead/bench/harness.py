"""Runs a suite: every question to every method, interleaved in random order, repeated, resumable. Prints nothing.

Machines are noisy, so only ratios within one run count: methods take turns question by question, and nobody may always
be the one who finds warm caches. What was answered is written down at once; a run that was interrupted goes on.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from seeahead.bench.log import Log
from seeahead.bench.methods import Method, peak_bytes, reset_peak
from seeahead.bench.record import PLAIN, Asked, Costs, Gap, Run
from seeahead.bench.suites import Item, Suite
from seeahead.data.packages import Progress
from seeahead.data.suite import Question
from seeahead.drafters.costs import prompted, time_passes
from seeahead.errors import InputError
from seeahead.families.base import Family
from seeahead.prompt import make_prompt
from seeahead.proof import logit_gap, parting
from seeahead.provenance import file_digest, publishable
from seeahead.records import Origin

Place = tuple[int, Item, int]
"""A question: its index in `Record.asked`, its item, and which turn of it."""

MEASURING = "cost of k tokens in one pass"
MEASURED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_NUM_CACHED = 200
_WARM_UP_TOKENS = 16


@dataclass(frozen=True)
class Plan:
    """How often and how. The first of `temperatures` must be 0: follow-ups build on its answers."""

    suite: Suite
    temperatures: tuple[float, ...] = (0.0, 1.0)
    num_repeats: int = 2
    seed: int = 0
    is_shuffled: bool = True  # else in the suite's own order, for people who watch

    @cached_property
    def places(self) -> list[Place]:
        """In the suite's own order."""
        turns = ((item, turn) for item in self.suite.items for turn in range(len(item.turns)))
        return [(index, item, turn) for index, (item, turn) in enumerate(turns)]

    def num_runs(self, num_methods: int) -> int:
        return len(self.places) * num_methods * self.num_repeats * len(self.temperatures)

    def fingerprint(self, **given: object) -> dict[str, Any]:
        """What must be equal for an interrupted run to be continued, and more settings that are `given`."""
        items = [
            [item.id, item.scenario, [asdict(turn) for turn in item.turns], list(map(_digest, item.images))]
            for item in self.suite.items
        ]
        own = {"temperatures": list(self.temperatures), "num_repeats": self.num_repeats, "seed": self.seed}
        return {**given, "items": items, **own}


def _digest(path: Path) -> str:
    """Of what is in an image's file; nothing where it cannot be read: its item is left out later."""
    try:
        return file_digest(path) if path.is_file() else ""
    except OSError:
        return ""


class Watch:
    """Called as a run goes on, never while something is timed. Does nothing by itself."""

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Items, by id, whose images cannot be read, by their file or by a model that reads text only."""

    def begin(self, methods: Sequence[str], num_questions: int) -> None:
        """Everything is loaded and warm."""

    def ask(self, question: Question) -> None:
        """A question is put to every method next."""

    def piece(self, method: str, text: str, origin: Origin) -> None:
        """A piece of an answer arrived."""

    def finish(self, run: Run) -> None:
        """An answer is complete."""


def warm_up(methods: Mapping[str, Method], suite: Suite) -> Iterator[float]:
    """Every method once on every number of images and every scenario's first item; yields the share done."""
    items = {(len(item.images), item.scenario): item for item in reversed(suite.items)}
    pairs = [(item, name) for item in items.values() for name in methods]
    for number, (item, name) in enumerate(pairs, 1):
        question = replace(question_of(item, ()), max_new_tokens=_WARM_UP_TOKENS)
        try:
            methods[name].answer(Run(0, name, 0, 0.0), question, 0)
        except Exception:  # a peer that fails is recorded when its turn comes
            if not methods[name].is_peer:
                raise
        yield number / len(pairs)


def measure_costs(family: Family, progress: Progress, num_repeats: int = 15) -> Costs:
    """What k tokens in one forward cost on this machine. A table that something else disturbed is measured anew, twice
    at most; warnings say when it still is."""
    for _ in range(3):
        costs = _measure_once(family, progress, num_repeats)
        if not costs.is_disturbed:
            break
    return costs


def _measure_once(family: Family, progress: Progress, num_repeats: int) -> Costs:
    words = set(range(family.vocab_size // 2, family.vocab_size)) - family.image_token_ids
    session, inputs, sizes = prompted(family.executor, sorted(words), _NUM_CACHED, MEASURED)
    rounds = []
    for number, seconds in enumerate(time_passes(session, inputs, sizes, num_repeats + 1)):
        progress(MEASURING, number / num_repeats)
        rounds.append(seconds)
    # The first round is the warm-up of every shape.
    return Costs(inputs.length, {k: statistics.median(seconds[k] for seconds in rounds[1:]) for k in sizes})


def ask_all(plan: Plan, methods: Mapping[str, Method], log: Log, watch: Watch) -> Iterator[Run]:
    """Asks what the log does not hold yet; yields every answer, also those of before."""
    for index, name, repeat, temperature in log.runs:
        is_known = index < len(plan.places) and name in methods and repeat < plan.num_repeats
        if not is_known or temperature not in plan.temperatures:
            raise InputError(f"{log.path} holds answers that this run does not ask for; delete it and start again")
    talks = [list(places) for _, places in groupby(plan.places, lambda place: place[1].id)]
    for temperature in plan.temperatures:
        for repeat in range(plan.num_repeats):
            shuffle = random.Random(f"{plan.seed} {temperature} {repeat}")
            shuffled = shuffle.sample(talks, len(talks)) if plan.is_shuffled else talks
            for place in (place for talk in shuffled for place in talk):
                question = _question_at(place, log)
                watch.ask(question)
                for name in shuffle.sample(list(methods), len(methods)):
                    empty = Run(place[0], name, repeat, temperature)
                    if empty.key not in log.runs:
                        try:
                            log.add(_answer(methods[name], empty, question, plan.seed, watch))
                        except InputError as error:
                            raise InputError(f"question {place[1].id} cannot be asked: {error}") from error
                        watch.finish(log.runs[empty.key])
                    yield log.runs[empty.key]


def _question_at(place: Place, log: Log) -> Question:
    """After the questions before it, with the plain greedy answers of the first repeat: the same for every method."""
    index, item, turn = place
    before = range(index - turn, index)
    texts = (log.runs[number, PLAIN, 0, 0.0].text for number in before)
    return question_of(item, tuple((asked.text, text) for asked, text in zip(item.turns, texts)))


def question_of(item: Item, earlier: tuple[tuple[str, str], ...]) -> Question:
    """The item's question after `earlier`."""
    turn = item.turns[len(earlier)]
    images = tuple(str(path.resolve()) for path in item.images)
    return Question(item.scenario, images, turn.text, turn.max_new_tokens, earlier)


def _answer(method: Method, empty: Run, question: Question, seed: int, watch: Watch) -> Run:
    reset_peak(method.engine.family.device)
    try:
        own_seed = (seed + 100_000 * empty.repeat + empty.asked) % 2**64
        found = method.answer(empty, question, own_seed, partial(watch.piece, empty.method))
    except Exception as error:
        # A peer that fails is shown with its error, not dropped; our own failures are bugs and stop the run.
        if not method.is_peer:
            raise
        first_line = str(error).strip().partition("\n")[0]
        return replace(empty, error=publishable(f"{type(error).__name__}: {first_line}"))
    return replace(found, peak_bytes=found.peak_bytes or peak_bytes(method.engine.family.device))


def asked_of(plan: Plan, log: Log) -> tuple[Asked, ...]:
    """The questions as the record keeps them."""
    names = _image_names(plan.suite)
    return tuple(
        Asked(
            f"{item.id}#{turn + 1}" if len(item.turns) > 1 else item.id,
            asked.scenario,
            asked.text,
            tuple(names[path] for path in item.images),
            asked.earlier,
            asked.max_new_tokens,
        )
        for _, item, turn, asked in ((*place, _question_at(place, log)) for place in plan.places)
    )


def _image_names(suite: Suite) -> dict[Path, str]:
    """File names; of other files that are called so too with a number behind them, since a record knows images by these
    alone, and folders are nobody else's business."""
    names, num_called = dict[Path, str](), Counter[str]()
    for path in dict.fromkeys(path for item in suite.items for path in item.images):
        num_called[path.name] += 1
        number = num_called[path.name]
        names[path] = path.name if number == 1 else f"{path.name} ({number})"
    return names


def gaps(plan: Plan, family: Family, log: Log, methods: Collection[str]) -> Iterator[Gap]:
    """Every greedy answer of these methods that is not the plain one of the same repeat."""
    for (index, method, repeat, temperature), other in sorted(log.runs.items()):
        if method not in methods:
            continue
        plain = log.runs[index, PLAIN, repeat, temperature]
        position = parting(plain.token_ids, other.token_ids)
        if temperature == 0 and not other.error and position is not None:
            inputs = family.encode(make_prompt(_question_at(plan.places[index], log).messages()))
            gap = logit_gap(family, inputs, plain.token_ids, other.token_ids, position)
            yield Gap(index, method, repeat, position, gap and gap[0])
