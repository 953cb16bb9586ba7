"""What every figure means, and the tables they stand in: shared by the page and the Markdown form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from seeahead.bench.figures import Drafts, MethodSummary, Speed
from seeahead.bench.record import PLAIN
from seeahead.bench.statistics import LEVEL, NUM_DRAWS, Interval

MISSING = "–"

DEFINITIONS: Mapping[str, str] = {
    "plain": "The method none: the same loop with an empty drafter, one token per pass. Every speed-up is against it, "
    "on the same questions in the same run.",
    "pass": "One forward of the target, the model whose answers must not change. A step drafts, checks in one pass, "
    "and keeps what the target would have said itself.",
    "speed-up": "Token rate over the plain token rate: per scenario the ratio of sums, over scenarios the geometric "
    "mean.",
    "ratio of sums": "Token rate over the plain token rate, all questions added up before dividing.",
    "mean of ratios": "Every question's own speed-up, averaged over questions.",
    "end to end": "Speed-up of the whole answer, from the call to the last token: reading images and prompt and "
    "starting the drafter included. Tokens per second over plain, geometric mean over scenarios of the ratio of sums.",
    "tokens/s": "Token rate: tokens after the first per second of decoding. The first token comes with reading the "
    "prompt. A peer's decoding is everything after its first token.",
    "slower": "Share of questions whose whole answer took more seconds per token than the plain one.",
    "identical": "Greedy answers whose every token is that of the plain answer of the same repeat. Above temperature 0 "
    "there is no one right answer.",
    "largest gap": "Logit gap: where a greedy answer leaves the plain one, by how many logits the target preferred the "
    "plain token in a fresh forward. Near zero it is a tie that rounding broke.",
    "first token": "Seconds from the call to the first token: images, prompt, the drafter's start. Mean.",
    "first token p95": "19 of 20 first tokens came at least this fast, in seconds.",
    "answer p95": "19 of 20 whole answers were done at least this fast, in seconds.",
    "peak memory": "Resident memory of the process at its highest, or the device's. All methods share one process, so "
    "what one leaves behind counts for the next.",
    "τ": "Block efficiency: tokens per pass of the target, its own token included, the first token excluded (sum of "
    "tokens over sum of steps). Plain decoding has τ = 1.",
    "τ by scenario": "Geometric mean of the τ of every scenario by itself: long answers count no more than short ones.",
    "accepted": "Drafted tokens accepted per step: τ - 1.",
    "γ": "Drafted depth: levels of the drafted tree per step, averaged over steps.",
    "drafted": "Drafted tokens per step, all branches counted.",
    "c (parameters)": "Weights that the drafter reads per level over weights that the target reads per pass.",
    "c (measured)": "Seconds of drafting per drafted level over seconds of a plain step.",
    "MBSU (parameters)": "Memory-bound speed-up τ / (1 + γ·c) with c from parameters: what a machine limited by "
    "reading weights would show.",
    "MBSU (measured)": "The same with measured c: host work and the cost of checking many tokens left out.",
    "V(k)": "Seconds of one pass over k tokens over seconds of a pass over one token, measured on this machine.",
    "ceiling": "Speed-up that the same drafts would give if drafting and host work took no time: plain seconds over "
    "the seconds of all passes, each counted as V(1 + drafted) plain steps.",
    "ceiling, V = 1": "The same if checking any number of tokens cost no more than one: τ.",
    "draft": "Share of decoding spent drafting.",
    "host": "Share of decoding spent outside the drafter and the target's passes.",
    "where the time goes": "Seconds of a whole answer, averaged over questions. Prefill reads images and prompt; "
    "draft includes the drafter's start; target is its passes; host is everything else. A peer's seconds are known "
    "only up to its first token and after it.",
    "acceptance by depth": "Of the steps whose draft reached depth d, the share that accepted at least d tokens.",
    "peer": "Another engine on the same weights in the same run, with questions interleaved. It reports no steps.",
    "95 % interval": f"Bootstrap over questions: {NUM_DRAWS:,} draws, within each scenario, the turns of a "
    f"conversation and all methods together; the middle {LEVEL:.0%} of the draws. Repeats of a question are averaged "
    "first. A range that rounds to the figure itself is not shown.",
}


@dataclass(frozen=True)
class Cell:
    """A figure for people; `spread` is its interval in the same unit, or nothing."""

    value: str
    spread: str = ""


@dataclass(frozen=True)
class Column:
    """One figure of a table; `word` is a key of DEFINITIONS."""

    word: str
    cell: Callable[[MethodSummary], Cell]


def number(figure: Interval | None, digits: int = 2, unit: str = "", scale: float = 1.0) -> Cell:
    if figure is None:
        return Cell(MISSING)
    shown = f"{figure.value * scale:.{digits}f}{unit}"
    if figure.low is None or figure.high is None:
        return Cell(shown)
    low, high = (f"{end * scale:.{digits}f}" for end in (figure.low, figure.high))
    # Ends that round to the figure itself say nothing.
    return Cell(shown, "" if shown == low + unit == high + unit else f"{low}–{high}")


def times(figure: Interval | None) -> Cell:
    return number(figure, 2, "×")


def percent(figure: Interval | None) -> Cell:
    return number(figure, 0, " %", 100)


def heading(method: str) -> str:
    """A method's name for people."""
    return f"{PLAIN} (plain)" if method == PLAIN else method


def anchor(word: str) -> str:
    """The id of a definition on the page."""
    return f"d{list(DEFINITIONS).index(word)}"


def _identical(entry: MethodSummary) -> Cell:
    return Cell(MISSING if entry.num_identical is None else f"{entry.num_identical} of {entry.num_answers}")


def _largest_gap(entry: MethodSummary) -> Cell:
    known = [gap.logit_gap for gap in entry.gaps if gap.logit_gap is not None]
    return Cell(f"{max(known, key=abs):.3f}" if known else MISSING)


def _memory(entry: MethodSummary) -> Cell:
    return Cell(f"{entry.peak_bytes / 2**30:.2f} GiB" if entry.peak_bytes else MISSING)


def _of_drafts(word: str, cell: Callable[[Drafts], Cell]) -> Column:
    return Column(word, lambda entry: cell(entry.drafts) if entry.drafts is not None else Cell(MISSING))


TABLES: Mapping[str, tuple[Column, ...]] = {
    "Speed": (
        Column("speed-up", lambda entry: times(entry.speed_up)),
        Column("ratio of sums", lambda entry: times(entry.speed_up_of_sums)),
        Column("mean of ratios", lambda entry: times(entry.speed_up_mean)),
        Column("end to end", lambda entry: times(entry.end_to_end)),
        Column("tokens/s", lambda entry: number(entry.token_rate, 1)),
        Column("slower", lambda entry: percent(entry.share_slower)),
        Column("identical", _identical),
        Column("largest gap", _largest_gap),
    ),
    "Drafts, and what they could gain": (
        _of_drafts("τ", lambda drafts: number(drafts.block_efficiency)),
        Column("τ by scenario", lambda entry: number(entry.block_efficiency)),
        _of_drafts("accepted", lambda drafts: number(drafts.accepted_per_step)),
        _of_drafts("γ", lambda drafts: number(drafts.depth, 1)),
        _of_drafts("drafted", lambda drafts: number(drafts.num_drafted, 1)),
        _of_drafts("c (parameters)", lambda drafts: Cell(f"{drafts.parameter_cost:.3f}")),
        _of_drafts("c (measured)", lambda drafts: number(drafts.measured_cost, 3)),
        _of_drafts("MBSU (parameters)", lambda drafts: times(drafts.memory_bound_by_parameters)),
        _of_drafts("MBSU (measured)", lambda drafts: times(drafts.memory_bound_by_measure)),
        _of_drafts("ceiling", lambda drafts: times(drafts.ceiling)),
        _of_drafts("ceiling, V = 1", lambda drafts: times(drafts.block_efficiency)),
        _of_drafts("draft", lambda drafts: percent(drafts.draft_share)),
        _of_drafts("host", lambda drafts: percent(drafts.host_share)),
    ),
    "Waiting and memory": (
        Column("first token", lambda entry: number(entry.first_token_seconds, 3, " s")),
        Column("first token p95", lambda entry: number(entry.first_token_seconds_p95, 3, " s")),
        Column("answer p95", lambda entry: number(entry.answer_seconds_p95, 2, " s")),
        Column("peak memory", _memory),
    ),
}


@dataclass(frozen=True)
class Grouping:
    """A table of one figure of every method, a column per group of questions."""

    title: str
    groups: Callable[[MethodSummary], Mapping[str, Speed]]
    cell: Callable[[Speed], Cell]

    def columns(self, methods: Sequence[MethodSummary]) -> list[str]:
        """Groups that any method answered a question of."""
        found = [self.groups(entry) for entry in methods]
        names = list(found[0]) if found else []
        return [name for name in names if any(groups[name].num_questions for groups in found)]

    def num_questions(self, methods: Sequence[MethodSummary], group: str) -> int:
        return max(self.groups(entry)[group].num_questions for entry in methods)


def _speed_up(speed: Speed) -> Cell:
    return times(speed.speed_up)


def _efficiency(speed: Speed) -> Cell:
    return number(speed.block_efficiency)


EFFICIENCY_BY_SCENARIO = Grouping("τ by scenario", lambda entry: entry.by_scenario, _efficiency)
EFFICIENCY_BY_KIND = Grouping("τ by images and turn", lambda entry: entry.by_kind, _efficiency)
GROUPINGS: tuple[Grouping, ...] = (
    Grouping("Speed-up by scenario", lambda entry: entry.by_scenario, _speed_up),
    EFFICIENCY_BY_SCENARIO,
    Grouping("Speed-up by images and turn", lambda entry: entry.by_kind, _speed_up),
    EFFICIENCY_BY_KIND,
    Grouping("Speed-up by tokens of the plain answer", lambda entry: entry.by_length, _speed_up),
)


def columns(*words: str) -> tuple[Column, ...]:
    """Those of TABLES, by their words."""
    return tuple(next(found for table in TABLES.values() for found in table if found.word == word) for word in words)


SHORT = columns("τ", "tokens/s", "speed-up", "end to end", "identical", "host")
"""The columns of a short table: the demo's, and the README's."""
