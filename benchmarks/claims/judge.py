"""What became of a rule, by the stored runs that can tell. Computed, never written by hand. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.claims.figures import FIGURES, Figure, StoredRun, by_scenario
from benchmarks.claims.rules import Bound, Cannot, Group, Needs, Rule
from seeahead.bench.answers import Mask
from seeahead.bench.figures import Sample
from seeahead.bench.markdown import shown
from seeahead.bench.record import PLAIN
from seeahead.bench.statistics import Array, Interval, interval, ratio
from seeahead.bench.words import number

_ROUNDING = 1e-9
_OF: Mapping[str, Callable[[Array], Array]] = {
    "highest": lambda values: values.max(axis=0),
    "lowest": lambda values: values.min(axis=0),
    "mean": lambda values: values.mean(axis=0),
}


class Outcome(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    NOT_YET = "not yet"
    CANNOT = "cannot be tested here"


@dataclass(frozen=True)
class Finding:
    """What became of one rule: the figure or the reason in words, and the file it rests on, if any."""

    outcome: Outcome
    text: str
    file: str = ""


class NotMeasuredError(Exception):
    """A stored run cannot tell; the message says what would."""


@dataclass(frozen=True)
class _Part:
    """The figure over one scenario, or over all of them together; `own` and `other` are what a ratio is of."""

    scenario: str
    figure: Interval
    own: float
    other: float | None
    outcome: Outcome
    told: str


def overall(findings: Sequence[Finding]) -> Outcome:
    """A claim holds if all its rules do; one that fails decides against it, even if others are still open."""
    found = {finding.outcome for finding in findings}
    order = (Outcome.FAILS, Outcome.CANNOT, Outcome.NOT_YET, Outcome.UNDECIDED)
    return next((outcome for outcome in order if outcome in found), Outcome.HOLDS)


def judge(rule: Rule, runs: Sequence[StoredRun], groups: Mapping[str, Group]) -> Finding:
    """By the first of `runs` that can tell."""
    if isinstance(rule, Needs):
        return Finding(Outcome.NOT_YET, f"needs {rule.what}")
    if isinstance(rule, Cannot):
        return Finding(Outcome.CANNOT, rule.why)
    reasons = []
    for run in runs:
        if rule.device not in ("", run.device):
            continue
        try:
            parts = _parts(rule, run, groups)
        except NotMeasuredError as error:
            reasons.append(str(error))
        else:
            return Finding(_over(rule, [part.outcome for part in parts]), _text(rule, parts), run.file)
    where = f" on {rule.device}" if rule.device else ""
    return Finding(Outcome.NOT_YET, f"needs {reasons[0] if reasons else f'a stored run{where} with `{rule.method}`'}")


def _over(rule: Bound, outcomes: Collection[Outcome]) -> Outcome:
    """One scenario is enough for "any" to hold and for "every" to fail."""
    one, all_ = (Outcome.HOLDS, Outcome.FAILS) if rule.over == "any" else (Outcome.FAILS, Outcome.HOLDS)
    if one in outcomes:
        return one
    return all_ if set(outcomes) == {all_} else Outcome.UNDECIDED


def _parts(rule: Bound, run: StoredRun, groups: Mapping[str, Group]) -> list[_Part]:
    """Raises NotMeasuredError where this run lacks a method, a group of questions, a temperature or the figure."""
    mine = _sample(rule, run, groups, rule.questions)
    theirs = _sample(rule, run, groups, rule.against_questions) if rule.against_questions else mine
    if rule.over == "together":
        found = [_part(rule, run, "", mine, theirs)]
    else:
        found = [_part(rule, run, scenario, part, part) for scenario, part in by_scenario(mine).items()]
    parts = [part for part in found if part is not None]
    if not parts:
        raise NotMeasuredError(f"a stored run that gives the {FIGURES[rule.kind].name} of {_names(rule)}")
    return parts


def _sample(rule: Bound, run: StoredRun, groups: Mapping[str, Group], questions: str) -> Sample:
    """Questions of the group that all methods concerned, the plain loop among them, have answered."""
    concerned = (PLAIN, rule.method, *rule.against)
    for name in concerned:
        if name not in run.record.methods:
            raise NotMeasuredError(f"a stored run with `{name}`")
    answered = [run.answers(name, rule.temperature).is_answered for name in concerned]
    if not np.any(answered):
        raise NotMeasuredError(f"a stored run with {_names(rule)} at temperature {rule.temperature:g}")
    if questions:
        in_group: Mask = np.array([groups[questions].has(asked) for asked in run.record.asked], dtype=np.bool_)
        answered = [mask & in_group for mask in answered]
        if not np.any(answered):
            raise NotMeasuredError(f"a stored run with {_names(rule)} on {questions}")
    if any((mask != answered[0]).any() for mask in answered):
        raise NotMeasuredError(f"a stored run in which {_names(rule)} and plain decoding answered the same questions")
    return run.sample(rule.method, rule.temperature, answered[0])


def _part(rule: Bound, run: StoredRun, scenario: str, mine: Sample, theirs: Sample) -> _Part | None:
    figure, ties = FIGURES[rule.kind], rule.ties_up_to
    own = values = figure.draws(mine, ties)
    other: float | None = None
    if rule.is_ratio:
        names = rule.against or (rule.method,)
        samples = [run.sample(name, rule.temperature, theirs.chosen) for name in names]
        others = _OF[rule.of](np.stack([figure.draws(sample, ties) for sample in samples]))
        other, values = float(others[0]), ratio(own, others)
    found = interval(values, min(mine.num_drawn, theirs.num_drawn))
    if found is None:
        return None
    return _Part(scenario, found, float(own[0]), other, _outcome(rule, figure, found), figure.told(mine, ties))


def _outcome(rule: Bound, figure: Figure, found: Interval) -> Outcome:
    """By where the interval lies; a count is its own interval, and an estimate without one decides nothing."""
    ends = (found.value, found.value) if figure.is_count else found.ends
    if ends is None:
        return Outcome.UNDECIDED
    low, high = ends
    least = -math.inf if rule.at_least is None else rule.at_least - _ROUNDING
    most = math.inf if rule.at_most is None else rule.at_most + _ROUNDING
    above = -math.inf if rule.above is None else rule.above
    if least <= low and above < low and high <= most:
        return Outcome.HOLDS
    return Outcome.FAILS if high < least or high <= above or low > most else Outcome.UNDECIDED


def _text(rule: Bound, parts: Sequence[_Part]) -> str:
    ordered = sorted(parts, key=lambda part: part.figure.value)
    if len(parts) == 1:
        return _one(rule, parts[0])
    counts = {outcome: sum(part.outcome is outcome for part in parts) for outcome in Outcome}
    counted = ", ".join(f"{outcome} in {num}" for outcome, num in counts.items() if num)
    return f"{_one(rule, ordered[0])} to {_one(rule, ordered[-1])}; {counted} of {len(parts)}"


def _one(rule: Bound, part: _Part) -> str:
    figure = FIGURES[rule.kind]
    if part.other is None:
        text = figure.cell(part.figure)
    else:  # three places: a ratio is often close to its bound
        own, other = (figure.cell(Interval(value)) for value in (part.own, part.other))
        text = f"{shown(number(part.figure, 3))} = {own} / {other}"
    text += part.told
    return f"{text} in {part.scenario}" if part.scenario else text


def _names(rule: Bound) -> str:
    return " and ".join(f"`{name}`" for name in (rule.method, *rule.against))
