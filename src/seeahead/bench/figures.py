"""Every figure of a method at one temperature, from a record: its answers as columns, sums of these, figures of sums.

What a figure is stands in `seeahead.metrics`, and in words in `glossary`. Everything is None that a method cannot have:
a peer reports no steps, so it has no τ; a question alone has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from seeahead import metrics
from seeahead.bench.record import PLAIN, Asked, Gap, Record, Run
from seeahead.bench.statistics import Array, Interval, geometric_mean, interval, mean, percentile
from seeahead.bench.words import counted
from seeahead.metrics import Totals, per

Mask = npt.NDArray[np.bool_]
QUANTITIES = tuple(entry.name for entry in fields(Totals))

LENGTHS = (("up to 16", 16.0), ("17 to 64", 64.0), ("65 to 256", 256.0), ("over 256", np.inf))
"""Groups of questions by the number of tokens of the plain answer (averaged over repeats)."""

COUNTERPARTS = {"transformers": PLAIN, "transformers assisted": "language", "transformers lookup": "lookup"}
"""Which of our methods does what a peer does. Any other peer is set against the fastest of ours."""

KINDS: Mapping[str, Callable[[Asked], bool]] = {
    "one image": lambda asked: len(asked.pictures) == 1 and not asked.earlier,
    "two images": lambda asked: len(asked.pictures) == 2 and not asked.earlier,
    "more images": lambda asked: len(asked.pictures) > 2 and not asked.earlier,
    "later turn": lambda asked: bool(asked.pictures and asked.earlier),
    "no image": lambda asked: not asked.pictures,
}
"""Groups of questions by what the target sees, and whether it follows another question."""


@dataclass(frozen=True)
class Speed:
    """One method on one group of questions; the figures are ratios of sums."""

    num_questions: int
    speed_up: Interval | None
    block_efficiency: Interval | None


@dataclass(frozen=True)
class Drafts:
    """Figures of a method whose steps are known; the symbols are those of `glossary`."""

    block_efficiency: Interval | None  # τ
    accepted_per_step: Interval | None  # τ - 1
    acceptance_by_depth: tuple[Interval | None, ...]
    depth: Interval | None  # γ
    num_drafted: Interval | None  # nodes per step
    host_share: Interval | None
    draft_share: Interval | None
    parameter_cost: float  # c
    measured_cost: Interval | None  # c
    memory_bound_by_parameters: Interval | None
    memory_bound_by_measure: Interval | None
    ceiling: Interval | None  # drafting and host free


@dataclass(frozen=True)
class MethodSummary:
    """One method at one temperature, over all questions that it and the plain loop answered."""

    method: str
    is_peer: bool
    num_questions: int
    num_answers: int
    num_tokens: int
    errors: tuple[str, ...]
    speed_up: Interval | None  # geometric mean over scenarios: the headline
    block_efficiency: Interval | None  # geometric mean over scenarios; None for peers
    speed_up_of_sums: Interval | None
    speed_up_mean: Interval | None  # of the questions' own ratios
    end_to_end: Interval | None
    token_rate: Interval | None
    first_token_seconds: Interval | None
    first_token_seconds_p95: Interval | None
    answer_seconds_p95: Interval | None
    share_slower: Interval | None
    seconds_split: Mapping[str, float]  # per answer, by what they went into
    peak_bytes: int
    num_identical: int | None  # None above temperature 0, where there is no one right answer
    gaps: tuple[Gap, ...]
    drafts: Drafts | None  # None for peers
    by_scenario: Mapping[str, Speed]
    by_length: Mapping[str, Speed]
    by_kind: Mapping[str, Speed]


@dataclass(frozen=True)
class Against:
    """Token rate of one of our methods over a peer's, geometric mean over scenarios."""

    method: str
    peer: str
    ratio: Interval | None
    num_questions: int  # that both answered
    num_asked: int

    @property
    def coverage(self) -> str:
        """On how many questions the ratio rests, where that is not all of them; goes on from a figure."""
        all_asked = counted(self.num_asked, "question")
        return "" if self.num_questions == self.num_asked else f", on {self.num_questions} of {all_asked}"


@dataclass(frozen=True)
class Answers:
    """One method at one temperature. A question's repeats are averaged, so that each question counts once."""

    method: str
    runs: tuple[Run, ...]  # those that succeeded
    errors: tuple[str, ...]  # of those that did not
    means: Array  # [questions, QUANTITIES], zero where nothing was answered
    is_answered: Mask

    @property
    def has_steps(self) -> bool:
        return bool(self.runs) and all(run.generation is not None for run in self.runs)

    @property
    def each(self) -> Totals:
        """Arrays over [questions]."""
        return Totals(*self.means.T)

    def totals(self, weights: Array, chosen: Mask) -> Totals:
        """The weighted sums over the chosen questions, one per bootstrap row."""
        return Totals(*(weights[:, chosen] @ self.means[chosen]).T)


def answers_of(record: Record, method: str, temperature: float) -> Answers:
    asked = [run for run in record.runs if run.method == method and run.temperature == temperature]
    runs = tuple(run for run in asked if not run.error)
    sums, counts = np.zeros((len(record.asked), len(QUANTITIES))), np.zeros(len(record.asked))
    cost = cache(partial(metrics.pass_cost, record.costs.seconds))
    for run in runs:
        steps = run.generation.steps if run.generation is not None else ()
        totals = replace(run.totals, passes=sum(cost(1 + step.num_drafted) for step in steps))
        sums[run.asked] += [getattr(totals, name) for name in QUANTITIES]
        counts[run.asked] += 1
    errors = tuple(run.error for run in asked if run.error)
    return Answers(method, runs, errors, sums / np.maximum(counts, 1)[:, None], counts > 0)


class AtTemperature:
    """Everything asked at one temperature, as columns."""

    def __init__(self, record: Record, temperature: float, weights: Array, scenarios: tuple[str, ...]) -> None:
        self.record, self.temperature, self.weights = record, temperature, weights
        self.answers = {name: answers_of(record, name, temperature) for name in record.methods}
        self.plain = self.answers.get(PLAIN) or answers_of(record, PLAIN, temperature)
        self.scenarios = {name: np.array([entry.scenario == name for entry in record.asked]) for name in scenarios}
        self.kinds = {name: np.array([has(entry) for entry in record.asked]) for name, has in KINDS.items()}
        lengths, ends = self.plain.each.all_tokens, [0.0, *(highest for _, highest in LENGTHS)]
        self.lengths: dict[str, Mask] = {
            name: (lengths > lowest) & (lengths <= highest) for (name, highest), lowest in zip(LENGTHS, ends)
        }

    @np.errstate(divide="ignore", invalid="ignore")
    def method(self, name: str) -> MethodSummary:
        own = self.answers[name]
        both = own.is_answered & self.plain.is_answered
        num = int(both.sum())
        mine, plain = own.totals(self.weights, both), self.plain.totals(self.weights, both)
        faster = metrics.end_to_end(own.each, self.plain.each)
        return MethodSummary(
            method=name,
            is_peer=name in self.record.peers,
            num_questions=num,
            num_answers=len(own.runs),
            num_tokens=sum(len(run.token_ids) for run in own.runs),
            errors=own.errors,
            speed_up=self._over_scenarios(metrics.speed_up, own, self.plain),
            block_efficiency=self._over_scenarios(lambda mine, _: mine.block_efficiency, own, self.plain)
            if own.has_steps
            else None,
            speed_up_of_sums=interval(metrics.speed_up(mine, plain), num),
            speed_up_mean=self._mean(metrics.speed_up(own.each, self.plain.each), both),
            end_to_end=self._over_scenarios(metrics.end_to_end, own, self.plain),
            token_rate=interval(mine.token_rate, num),
            first_token_seconds=self._mean(own.each.first, both),
            first_token_seconds_p95=self._p95(own, "seconds_first"),
            answer_seconds_p95=self._p95(own, "seconds_total"),
            share_slower=self._mean(np.where(np.isfinite(faster), faster < 1, np.nan), both),
            seconds_split=_split(own),
            peak_bytes=max((run.peak_bytes for run in own.runs), default=0),
            num_identical=self._num_identical(own),
            gaps=tuple(gap for gap in self.record.gaps if gap.method == name and self.temperature == 0),
            drafts=self._drafts(own, both) if own.has_steps else None,
            by_scenario=self._by(self.scenarios, own, both),
            by_length=self._by(self.lengths, own, both),
            by_kind=self._by(self.kinds, own, both),
        )

    @np.errstate(divide="ignore", invalid="ignore")
    def against(self, peer: str, methods: tuple[MethodSummary, ...]) -> Against:
        ours = [entry for entry in methods if not entry.is_peer]
        counterpart = COUNTERPARTS.get(peer, "")
        if counterpart not in {entry.method for entry in ours}:
            ours.sort(key=lambda entry: -entry.speed_up.value if entry.speed_up else 0.0)
            counterpart = ours[0].method if ours else PLAIN
        own, other = self.answers.get(counterpart, self.plain), self.answers[peer]
        num_both = int((own.is_answered & other.is_answered).sum())
        faster = self._over_scenarios(metrics.speed_up, own, other)
        return Against(counterpart, peer, faster, num_both, len(self.plain.means))

    def _over_scenarios(self, figure: Callable[[Totals, Totals], Any], own: Answers, other: Answers) -> Interval | None:
        """The geometric mean of a figure of sums over every scenario by itself."""
        both = own.is_answered & other.is_answered
        found = [
            figure(own.totals(self.weights, both & chosen), other.totals(self.weights, both & chosen))
            for chosen in self.scenarios.values()
            if (both & chosen).any()
        ]
        return interval(geometric_mean(found), int(both.sum()))

    def _mean(self, values: Array, chosen: Mask) -> Interval | None:
        return interval(mean(np.where(chosen, values, np.nan), self.weights), int(chosen.sum()))

    def _by(self, groups: Mapping[str, Mask], own: Answers, both: Mask) -> dict[str, Speed]:
        return {name: self._speed(own, both & chosen) for name, chosen in groups.items()}

    def _speed(self, own: Answers, chosen: Mask) -> Speed:
        num = int(chosen.sum())
        mine, plain = own.totals(self.weights, chosen), self.plain.totals(self.weights, chosen)
        return Speed(num, interval(metrics.speed_up(mine, plain), num), interval(mine.block_efficiency, num))

    def _drafts(self, own: Answers, both: Mask) -> Drafts:
        mine, plain, num = own.totals(self.weights, both), self.plain.totals(self.weights, both), int(both.sum())
        efficiency, plain_step = mine.block_efficiency, per(plain.seconds, plain.steps)
        sizes = self.record.num_parameters
        parameters = sizes.get(own.method, 0) / max(1, sizes.get("target", 1))
        drafting = per(per(mine.draft, mine.steps), plain_step)  # γ·c as measured
        return Drafts(
            block_efficiency=interval(efficiency, num),
            accepted_per_step=interval(efficiency - 1, num),
            acceptance_by_depth=self._acceptance(own, both),
            depth=interval(mine.depth, num),
            num_drafted=interval(per(mine.drafted, mine.steps), num),
            host_share=interval(mine.host_share, num),
            draft_share=interval(mine.draft_share, num),
            parameter_cost=parameters,
            measured_cost=interval(per(per(mine.draft, mine.levels), plain_step), num),
            memory_bound_by_parameters=interval(metrics.memory_bound_speed_up(efficiency, mine.depth, parameters), num),
            memory_bound_by_measure=interval(metrics.memory_bound_speed_up(efficiency, 1.0, drafting), num),
            ceiling=interval(mine.ceiling, num),
        )

    def _acceptance(self, own: Answers, both: Mask) -> tuple[Interval | None, ...]:
        """By depth: of the steps whose draft reached it, the share that accepted as many tokens."""
        steps = [(run.asked, step) for run in own.runs if run.generation is not None for step in run.generation.steps]
        deepest = max((step.depth for _, step in steps), default=0)
        reached, accepted = np.zeros((2, len(both), deepest))
        for question, step in steps:
            reached[question, : step.depth] += both[question]
            accepted[question, : min(step.num_accepted, step.depth)] += both[question]
        shares = per(self.weights @ accepted, self.weights @ reached)
        return tuple(interval(share, int((num > 0).sum())) for share, num in zip(shares.T, reached.T, strict=True))

    def _p95(self, own: Answers, name: str) -> Interval | None:
        seconds = np.array([getattr(run, name) for run in own.runs], dtype=np.float64)
        questions = [run.asked for run in own.runs]
        return interval(percentile(seconds, self.weights[:, questions], 0.95), len(set(questions)))

    def _num_identical(self, own: Answers) -> int | None:
        if self.temperature > 0:
            return None
        plain = {(run.asked, run.repeat): run.token_ids for run in self.plain.runs}
        return sum(run.token_ids == plain.get((run.asked, run.repeat)) for run in own.runs)


def _split(own: Answers) -> dict[str, float]:
    """Mean seconds of a whole answer, by what they went into."""
    if not own.runs:
        return {}
    mean = Totals(*(float(column.mean()) for column in own.means[own.is_answered].T))
    if not own.has_steps:
        return {"prefill": mean.first, "not split": max(0.0, mean.total - mean.first)}
    draft = mean.start + mean.draft
    host = max(0.0, mean.total - mean.prefill - draft - mean.target)
    return {"prefill": mean.prefill, "draft": draft, "target": mean.target, "host": host}
