"""Every figure of a method at one temperature: its answers as columns, sums of these, figures of sums.

What a figure is stands in `seeahead.metrics`, and in words in `words.toml`; here is the one table of them. A figure is
None where a method cannot have it: a peer reports no steps, so it has no τ. A question alone has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from seeahead import metrics
from seeahead.bench.answers import KINDS, LENGTHS, Answers, Mask, num_drawn
from seeahead.bench.record import Gap, Record, Run
from seeahead.bench.statistics import Array, Interval, geometric_mean, interval, mean, percentile
from seeahead.bench.words import Cell, number
from seeahead.metrics import Totals, memory_bound_speed_up, per

_FEW = 20
_FEW_ANSWERS = 10
"""Tokens of which a share says little."""

OfTotals = Callable[[Totals, Totals], Any]
"""A figure of a method's sums and the other's."""
PERCENT = (0, " %", 100)
OTHER_WEIGHTS = "other weights or precision"
"""Shown where answers cannot be expected to be the plain ones."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One method's answers to the chosen questions beside another's to the same: the plain ones, or a peer's.

    `sample["τ"]` is a figure by its word in FIGURES.
    """

    record: Record
    own: Answers
    other: Answers
    weights: Array  # [1 + draws, questions]
    chosen: Mask
    _known: dict[str, Interval | None] = field(default_factory=dict, init=False)

    def __getitem__(self, word: str) -> Interval | None:
        if word not in self._known:
            figure = FIGURES[word]
            with np.errstate(divide="ignore", invalid="ignore"):
                is_there = self.own.has_steps or figure not in DRAFTS
                self._known[word] = figure.how(self, figure.of) if is_there else None
        return self._known[word]

    @property
    def method(self) -> str:
        return self.own.method

    @property
    def is_peer(self) -> bool:
        return self.method in self.record.peers

    @property
    def num_questions(self) -> int:
        """That both have answered."""
        return int(self.chosen.sum())

    @property
    def num_drawn(self) -> int:
        """Clusters that intervals draw from (`Record.clusters`)."""
        return num_drawn(self.record, self.chosen)

    @property
    def num_answers(self) -> int:
        return len(self.own.runs)

    @cached_property
    def sums(self) -> tuple[Totals, Totals]:
        """The method's, and the other's."""
        return self.own.totals(self.weights, self.chosen), self.other.totals(self.weights, self.chosen)

    @cached_property
    def groups(self) -> Mapping[str, Mapping[str, Sample]]:
        """The questions in parts: by scenario, by images and turn, by tokens of the other's answer."""
        asked, lengths = self.record.asked, self.other.each.all_tokens
        masks: dict[str, dict[str, Mask]] = {
            "scenario": {name: np.array([entry.scenario == name for entry in asked]) for name in self.record.scenarios},
            "kind": {name: np.array([has(entry) for entry in asked], dtype=bool) for name, has in KINDS.items()},
            "length": {name: (lengths > above) & (lengths <= most) for name, (above, most) in LENGTHS.items()},
        }
        return {
            grouping: {name: replace(self, chosen=self.chosen & mask) for name, mask in found.items()}
            for grouping, found in masks.items()
        }

    def drawn(self, figure: Callable[[Sample], Array]) -> Interval | None:
        return interval(figure(self), self.num_drawn)

    def of_sums(self, figure: OfTotals) -> Interval | None:
        return interval(figure(*self.sums), self.num_drawn)

    def over_scenarios(self, figure: OfTotals) -> Interval | None:
        """The geometric mean of the figure of sums over every scenario by itself."""
        return interval(self.drawn_over_scenarios(figure), self.num_drawn)

    def drawn_over_scenarios(self, figure: OfTotals) -> Array:
        """[1 + draws]: the same, and for each draw of questions."""
        parts = [part for part in self.groups["scenario"].values() if part.num_questions]
        with np.errstate(divide="ignore", invalid="ignore"):
            return geometric_mean([figure(*part.sums) for part in parts])

    def averaged(self, figure: OfTotals) -> Interval | None:
        """The mean of every question's own figure."""
        values = np.where(self.chosen, figure(self.own.each, self.other.each), np.nan)
        return interval(mean(values, self.weights), self.num_drawn)

    def p95(self, seconds_of: Callable[[Run], float]) -> Interval | None:
        """Of all answers."""
        seconds = np.array([seconds_of(run) for run in self.own.runs], dtype=np.float64)
        questions = [run.asked for run in self.own.runs]
        asked = np.isin(np.arange(len(self.record.asked)), questions)
        return interval(percentile(seconds, self.weights[:, questions], 0.95), num_drawn(self.record, asked))

    def known(self, figure: Callable[[Sample], float | None]) -> Interval | None:
        """What is counted and not estimated."""
        return None if (found := figure(self)) is None else Interval(found)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(gap for gap in self.record.gaps if gap.method == self.method and self.own.temperature == 0)

    @property
    def num_identical(self) -> int | None:
        """None above temperature 0, where there is no one right answer, and of an engine with other weights."""
        if self.own.temperature > 0 or not self.record.has_weights_of_target(self.method):
            return None
        return sum(self._same)

    @cached_property
    def _same(self) -> list[bool]:
        """Whether each answer is the other's, token by token."""
        others = {(run.asked, run.repeat): run.token_ids for run in self.other.runs}
        return [run.token_ids == others.get((run.asked, run.repeat)) for run in self.own.runs]

    @cached_property
    def same_by_sight(self) -> Mapping[bool, tuple[int, int]]:
        """Greedy answers that are the other's, and all, of questions with images (True) and of those without."""
        found = {sees: [0, 0] for sees in (True, False)}
        for run, is_same in zip(self.own.runs, self._same, strict=True):
            counts = found[bool(self.record.asked[run.asked].pictures)]
            counts[0] += is_same
            counts[1] += 1
        return {sees: (same, num) for sees, (same, num) in found.items()}

    @property
    def misreads_images(self) -> bool:
        """Whether answers about images, which the images say much of, are plain's more seldom than others: it can
        hardly see what the model sees. Other weights alone part those without images first."""
        (same, num), (same_text, num_text) = self.same_by_sight[True], self.same_by_sight[False]
        return self.own.temperature == 0 and min(num, num_text) >= _FEW_ANSWERS and same / num < same_text / num_text

    @cached_property
    def acceptance_by_depth(self) -> tuple[Interval | None, ...]:
        """Of the steps whose draft reached a depth, the share that accepted as many tokens."""
        steps = [(run.asked, step) for run in self.own.runs if run.generation for step in run.generation.steps]
        deepest = max((step.depth for _, step in steps), default=0) if self.own.has_steps else 0
        reached, accepted = np.zeros((2, len(self.chosen), deepest))
        for question, step in steps if deepest else ():
            reached[question, : step.depth] += self.chosen[question]
            accepted[question, : min(step.num_accepted, step.depth)] += self.chosen[question]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = per(self.weights @ accepted, self.weights @ reached)
        return tuple(
            interval(share, num_drawn(self.record, num > 0)) for share, num in zip(shares.T, reached.T, strict=True)
        )

    @cached_property
    def reliability(self) -> tuple[tuple[float, float, int], ...]:
        """For each tenth of the probabilities that the drafter gave tokens: their mean, the share of these tokens that
        was accepted, and how many there are. Tenths of less than `_FEW` are left out."""
        runs = (run for run in self.own.runs if run.generation)
        pairs = np.array([pair for run in runs for step in run.generation.steps for pair in step.expected])  # type: ignore[union-attr]
        if not len(pairs):
            return ()
        tenths = np.minimum(pairs[:, 0] * 10, 9).astype(int)
        found = (pairs[tenths == tenth] for tenth in range(10))
        return tuple((*map(float, part.mean(0)), len(part)) for part in found if len(part) >= _FEW)  # type: ignore[misc]


@dataclass(frozen=True)
class Figure:
    """How a figure is called (a key of `words.DEFINITIONS`), made and written; a unit may name a sample's field."""

    word: str
    how: Callable[[Sample, Any], Interval | None]
    of: Any
    digits: int = 2
    unit: str = "×"
    scale: float = 1.0

    def cell(self, sample: Sample) -> Cell:
        if self.word == "identical" and not sample.record.has_weights_of_target(sample.method):
            same, num = map(sum, zip(*sample.same_by_sight.values(), strict=True))
            return Cell(OTHER_WEIGHTS) if sample.own.temperature > 0 else Cell(f"{same} of {num}", OTHER_WEIGHTS)
        return number(sample[self.word], self.digits, self.unit.format(sample), self.scale)


def _is_slower(own: Totals, plain: Totals) -> Array:
    faster = metrics.end_to_end(own, plain)
    return np.where(np.isfinite(faster), faster < 1, np.nan)


def _largest_gap(sample: Sample) -> float | None:
    return max((gap.logit_gap for gap in sample.gaps if gap.logit_gap is not None), key=abs, default=None)


def _peak_memory(sample: Sample) -> float | None:
    return max((run.peak_bytes for run in sample.own.runs), default=0) or None


def _parameter_cost(sample: Sample) -> float:
    sizes = sample.record.num_parameters
    return sizes.get(sample.method, 0) / max(1, sizes.get("target", 1))


def _memory_bound(sample: Sample) -> Any:
    own = sample.sums[0]
    return memory_bound_speed_up(own.block_efficiency, own.depth, _parameter_cost(sample))


def _measured_cost(own: Totals, plain: Totals) -> Any:
    return per(per(own.draft, own.levels), per(plain.seconds, plain.steps))


def _memory_bound_as_measured(own: Totals, plain: Totals) -> Any:
    drafting = per(per(own.draft, own.steps), per(plain.seconds, plain.steps))  # γ·c
    return memory_bound_speed_up(own.block_efficiency, 1.0, drafting)


DRAFTS = (
    Figure("τ", Sample.of_sums, lambda own, _: own.block_efficiency, unit=""),
    Figure("τ by scenario", Sample.over_scenarios, lambda own, _: own.block_efficiency, unit=""),
    Figure("accepted", Sample.of_sums, lambda own, _: own.block_efficiency - 1, unit=""),
    Figure("γ", Sample.of_sums, lambda own, _: own.depth, 1, ""),
    Figure("drafted", Sample.of_sums, lambda own, _: per(own.drafted, own.steps), 1, ""),
    Figure("c (parameters)", Sample.known, _parameter_cost, 3, ""),
    Figure("c (measured)", Sample.of_sums, _measured_cost, 3, ""),
    Figure("MBSU (parameters)", Sample.drawn, _memory_bound),
    Figure("MBSU (measured)", Sample.of_sums, _memory_bound_as_measured),
    Figure("ceiling", Sample.of_sums, lambda own, _: per(own.tokens, own.passes)),
    Figure("draft", Sample.of_sums, lambda own, _: own.draft_share, *PERCENT),
    Figure("host", Sample.of_sums, lambda own, _: own.host_share, *PERCENT),
)
"""Of methods whose steps are known."""
TABLES: Mapping[str, tuple[Figure, ...]] = {
    "Speed": (
        Figure("end to end", Sample.over_scenarios, metrics.end_to_end),
        Figure("speed-up", Sample.over_scenarios, metrics.speed_up),
        Figure("tokens/s", Sample.of_sums, lambda own, _: own.token_rate, 1, ""),
        Figure("slower", Sample.averaged, _is_slower, *PERCENT),
        Figure("identical", Sample.known, lambda sample: sample.num_identical, 0, " of {0.num_answers}"),
        Figure("largest gap", Sample.known, _largest_gap, 3, ""),
    ),
    "The speed-up of decoding, averaged in other ways": (
        Figure("ratio of sums", Sample.of_sums, metrics.speed_up),
        Figure("mean of ratios", Sample.averaged, metrics.speed_up),
    ),
    "Drafts, and what they could gain": DRAFTS,
    "Waiting and memory": (
        Figure("first token", Sample.averaged, lambda own, _: own.first, 3, " s"),
        Figure("first token p95", Sample.p95, lambda run: run.seconds_first, 3, " s"),
        Figure("answer p95", Sample.p95, lambda run: run.seconds_total, 2, " s"),
        Figure("peak memory", Sample.known, _peak_memory, 2, " GiB", 2**-30),
    ),
}
FIGURES: Mapping[str, Figure] = {figure.word: figure for figures in TABLES.values() for figure in figures}
SHORT = [FIGURES[word] for word in ("end to end", "speed-up", "tokens/s", "τ", "identical", "host")]
"""The columns of a short table: the demo's, and the README's."""
GROUPINGS: Mapping[str, tuple[str, Figure]] = {
    "Speed-up by scenario": ("scenario", FIGURES["ratio of sums"]),
    "τ by scenario": ("scenario", FIGURES["τ"]),
    "Speed-up by images and turn": ("kind", FIGURES["ratio of sums"]),
    "τ by images and turn": ("kind", FIGURES["τ"]),
    "Speed-up by tokens of the plain answer": ("length", FIGURES["ratio of sums"]),
}
"""Tables of one figure of every method, a column per group of questions."""


def grouped(title: str, methods: Sequence[Sample]) -> tuple[dict[str, int], list[tuple[Sample, list[Cell]]]]:
    """The table of that title: groups that any method answered a question of, with their most questions, and rows."""
    grouping, figure = GROUPINGS[title]
    counts = {
        name: max(entry.groups[grouping][name].num_questions for entry in methods)
        for name in (methods[0].groups[grouping] if methods else ())
    }
    counts = {name: num for name, num in counts.items() if num}
    return counts, [(entry, [figure.cell(entry.groups[grouping][name]) for name in counts]) for entry in methods]
