"""The figures of each method at one temperature, from the record's columns.

Everything is None that a method cannot have: a peer reports no steps, so it has no τ; a question alone has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from seeahead.bench.columns import Answers, Mask, Sums, answers_of
from seeahead.bench.drafts import Drafts, drafts_of
from seeahead.bench.record import PLAIN, Asked, Gap, Record
from seeahead.bench.statistics import Array, Interval, geometric_mean, interval, mean, percentile, ratio

LENGTHS = (("up to 16", 16.0), ("17 to 64", 64.0), ("65 to 256", 256.0), ("over 256", np.inf))
"""Groups of questions by the number of tokens of the plain answer (averaged over repeats)."""

COUNTERPARTS = {"transformers": PLAIN, "transformers assisted": "language", "transformers lookup": "lookup"}
"""Which of our methods does what a peer does. Any other peer is set against the fastest of ours."""

KINDS: Mapping[str, Callable[[Asked], bool]] = {
    "one picture": lambda asked: len(asked.pictures) == 1 and not asked.earlier,
    "two pictures": lambda asked: len(asked.pictures) == 2 and not asked.earlier,
    "more pictures": lambda asked: len(asked.pictures) > 2 and not asked.earlier,
    "later turn": lambda asked: bool(asked.pictures and asked.earlier),
    "no picture": lambda asked: not asked.pictures,
}
"""Groups of questions by what the target sees, and whether something was said before."""

SHARES = ("prefill", "draft", "target", "host", "not split")


@dataclass(frozen=True)
class Speed:
    """One method on one group of questions; the speed-ups are ratios of sums."""

    num_questions: int
    speed_up: Interval | None
    end_to_end: Interval | None
    token_rate: Interval | None
    block_efficiency: Interval | None


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
    seconds_split: Mapping[str, float]  # per answer, by SHARES
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
    def is_of_all(self) -> bool:
        return self.num_questions == self.num_asked


class AtTemperature:
    """Everything asked at one temperature, as columns."""

    def __init__(self, record: Record, temperature: float, weights: Array, scenarios: tuple[str, ...]) -> None:
        self.record, self.temperature, self.weights = record, temperature, weights
        self.answers = {name: answers_of(record, name, temperature) for name in record.methods}
        self.plain = self.answers.get(PLAIN) or answers_of(record, PLAIN, temperature)
        names = np.array([entry.scenario for entry in record.asked], dtype=object)
        self.scenarios: dict[str, Mask] = {name: names == name for name in scenarios}
        self.kinds: dict[str, Mask] = {
            name: np.array([has(entry) for entry in record.asked], dtype=np.bool_) for name, has in KINDS.items()
        }
        lengths, lowest = self.plain.column("all_tokens"), 0.0
        self.lengths: dict[str, Mask] = {}
        for name, highest in LENGTHS:
            self.lengths[name] = (lengths > lowest) & (lengths <= highest)
            lowest = highest

    def method(self, name: str) -> MethodSummary:
        own = self.answers[name]
        both = own.is_answered & self.plain.is_answered
        num = int(both.sum())
        mine, plain = own.sums(self.weights, both), self.plain.sums(self.weights, both)
        rates = ratio(own.rates(), self.plain.rates())
        return MethodSummary(
            method=name,
            is_peer=name in self.record.peers,
            num_questions=num,
            num_answers=len(own.runs),
            num_tokens=sum(len(run.token_ids) for run in own.runs),
            errors=own.errors,
            speed_up=self._over_scenarios(own, self.plain, "tokens", "seconds"),
            block_efficiency=self._efficiency(own, both) if own.has_steps else None,
            speed_up_of_sums=interval(_faster(mine, plain, "tokens", "seconds"), num),
            speed_up_mean=interval(mean(np.where(both, rates, np.nan), self.weights), num),
            end_to_end=self._over_scenarios(own, self.plain, "all_tokens", "total"),
            token_rate=interval(ratio(mine["tokens"], mine["seconds"]), num),
            first_token_seconds=interval(mean(np.where(both, own.column("first"), np.nan), self.weights), num),
            first_token_seconds_p95=self._p95(own, "seconds_first"),
            answer_seconds_p95=self._p95(own, "seconds_total"),
            share_slower=interval(self._slower(own, both), num),
            seconds_split=_split(own),
            peak_bytes=max((run.peak_bytes for run in own.runs), default=0),
            num_identical=self._num_identical(own),
            gaps=tuple(gap for gap in self.record.gaps if gap.method == name and self.temperature == 0),
            drafts=drafts_of(self.record, own, self.plain, self.weights, both) if own.has_steps else None,
            by_scenario={group: self._speed(own, both & chosen) for group, chosen in self.scenarios.items()},
            by_length={group: self._speed(own, both & chosen) for group, chosen in self.lengths.items()},
            by_kind={group: self._speed(own, both & chosen) for group, chosen in self.kinds.items()},
        )

    def against(self, peer: str, methods: tuple[MethodSummary, ...]) -> Against:
        ours = [entry for entry in methods if not entry.is_peer]
        counterpart = COUNTERPARTS.get(peer, "")
        if counterpart not in {entry.method for entry in ours}:
            ours.sort(key=lambda entry: -entry.speed_up.value if entry.speed_up else 0.0)
            counterpart = ours[0].method if ours else PLAIN
        own = self.answers.get(counterpart, self.plain)
        other = self.answers[peer]
        num_both = int((own.is_answered & other.is_answered).sum())
        faster = self._over_scenarios(own, other, "tokens", "seconds")
        return Against(counterpart, peer, faster, num_both, len(self.record.asked))

    def _over_scenarios(self, own: Answers, other: Answers, count: str, seconds: str) -> Interval | None:
        both = own.is_answered & other.is_answered
        found = []
        for chosen in self.scenarios.values():
            if (both & chosen).any():
                mine, theirs = (answers.sums(self.weights, both & chosen) for answers in (own, other))
                found.append(_faster(mine, theirs, count, seconds))
        return interval(geometric_mean(found), int(both.sum()))

    def _efficiency(self, own: Answers, both: Mask) -> Interval | None:
        sums = [own.sums(self.weights, both & chosen) for chosen in self.scenarios.values()]
        return interval(geometric_mean([ratio(part["emitted"], part["steps"]) for part in sums]), int(both.sum()))

    def _speed(self, own: Answers, chosen: Mask) -> Speed:
        num = int(chosen.sum())
        mine, plain = own.sums(self.weights, chosen), self.plain.sums(self.weights, chosen)
        return Speed(
            num,
            interval(_faster(mine, plain, "tokens", "seconds"), num),
            interval(_faster(mine, plain, "all_tokens", "total"), num),
            interval(ratio(mine["tokens"], mine["seconds"]), num),
            interval(ratio(mine["emitted"], mine["steps"]), num) if own.has_steps else None,
        )

    def _p95(self, own: Answers, name: str) -> Interval | None:
        seconds = np.array([getattr(run, name) for run in own.runs], dtype=np.float64)
        questions = [run.asked for run in own.runs]
        return interval(percentile(seconds, self.weights[:, questions], 0.95), len(set(questions)))

    def _slower(self, own: Answers, both: Mask) -> Array:
        mine, plain = (ratio(each.column("total"), each.column("all_tokens")) for each in (own, self.plain))
        is_known = both & np.isfinite(mine) & np.isfinite(plain)
        return mean(np.where(is_known, (mine > plain).astype(np.float64), np.nan), self.weights)

    def _num_identical(self, own: Answers) -> int | None:
        if self.temperature > 0:
            return None
        plain = {(run.asked, run.repeat): run.token_ids for run in self.plain.runs}
        return sum(run.token_ids == plain.get((run.asked, run.repeat)) for run in own.runs)


def _faster(own: Sums, other: Sums, count: str, seconds: str) -> Array:
    return ratio(ratio(own[count], own[seconds]), ratio(other[count], other[seconds]))


def _split(own: Answers) -> dict[str, float]:
    if not own.runs:
        return {}
    seconds = {name: float(own.column(name)[own.is_answered].mean()) for name in ("total", "first", "draft", "target")}
    if not own.has_steps:
        return {"prefill": seconds["first"], "not split": max(0.0, seconds["total"] - seconds["first"])}
    prefill, start = (float(own.column(name)[own.is_answered].mean()) for name in ("prefill", "start"))
    draft, target = start + seconds["draft"], seconds["target"]
    host = max(0.0, seconds["total"] - prefill - draft - target)
    return {"prefill": prefill, "draft": draft, "target": target, "host": host}
