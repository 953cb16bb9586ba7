"""What became of a rule, by the stored results that can tell. Computed, never written by hand. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.claims.evidence import Evidence, Tally
from benchmarks.claims.figures import FIGURES, Sample
from benchmarks.claims.rules import ONE_OF_SEVERAL, Bound, Cannot, Group, Needs, Rule
from seeahead.bench.record import PLAIN


class Outcome(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_YET = "not yet"
    CANNOT = "cannot be tested here"


@dataclass(frozen=True)
class Finding:
    """What became of one rule: the figure or the reason in words, and the file it rests on, if any."""

    outcome: Outcome
    text: str
    file: str = ""


class NotMeasuredError(Exception):
    """A stored result cannot tell; the message says what would."""


@dataclass(frozen=True)
class _Part:
    """The figure over one scenario, or over all of them together."""

    scenario: str
    value: float
    own: float
    other: float | None


def overall(findings: Sequence[Finding]) -> Outcome:
    """A claim holds if all its rules do; one that fails decides against it, even if others are still open."""
    found = {finding.outcome for finding in findings}
    order = (Outcome.FAILS, Outcome.CANNOT, Outcome.NOT_YET)
    return next((outcome for outcome in order if outcome in found), Outcome.HOLDS)


def judge(rule: Rule, evidence: Sequence[Evidence], groups: Mapping[str, Group]) -> Finding:
    """By the first of `evidence` that can tell."""
    if isinstance(rule, Needs):
        return Finding(Outcome.NOT_YET, f"needs {rule.what}")
    if isinstance(rule, Cannot):
        return Finding(Outcome.CANNOT, rule.why)
    reasons = []
    for entry in evidence:
        if rule.device in ("", entry.device):
            try:
                return _decide(rule, _parts(rule, entry, groups), entry.file)
            except NotMeasuredError as error:
                reasons.append(str(error))
    where = f" on {rule.device}" if rule.device else ""
    return Finding(Outcome.NOT_YET, f"needs {reasons[0] if reasons else f'a stored run{where} with `{rule.method}`'}")


def _decide(rule: Bound, parts: Sequence[_Part], file: str) -> Finding:
    test = any if rule.over == "any" else all
    holds = test(rule.admits(part.value) for part in parts)
    return Finding(Outcome.HOLDS if holds else Outcome.FAILS, _told(rule, parts), file)


def _told(rule: Bound, parts: Sequence[_Part]) -> str:
    form = FIGURES[rule.kind].form
    ordered = sorted(parts, key=lambda part: part.value)
    low, high = ordered[0], ordered[-1]
    if rule.over == "any":
        return _one(high if rule.at_least is not None else low, form)
    if len(parts) == 1:
        return _one(parts[0], form)
    return f"{_one(low, form)} to {_one(high, form)}"


def _one(part: _Part, form: str) -> str:
    if part.other is None:
        figure = f"{part.value:{form}}"
    else:  # three places: a ratio is often close to its bound
        figure = f"{part.value:.3f} = {part.own:{form}} / {part.other:{form}}"
    return f"{figure} ({part.scenario})" if part.scenario else figure


def _parts(rule: Bound, evidence: Evidence, groups: Mapping[str, Group]) -> list[_Part]:
    """Raises NotMeasuredError where this result lacks a method, a group of questions, a temperature or the figure."""
    mine = _answers(rule, evidence, groups, rule.questions)
    theirs = _answers(rule, evidence, groups, rule.against_questions) if rule.against_questions else mine
    if rule.over == "together":
        figures = [_part(rule, evidence, "", mine, theirs)]
    else:
        by_scenario = {name: [tally for tally in mine if tally.scenario == name] for name in _scenarios(mine)}
        figures = [_part(rule, evidence, name, part, part) for name, part in by_scenario.items()]
    parts = [part for part in figures if part is not None]
    if not parts:
        raise NotMeasuredError(f"a stored run that gives the {FIGURES[rule.kind].words} of {_names(rule)}")
    return parts


def _part(
    rule: Bound, evidence: Evidence, scenario: str, mine: Sequence[Tally], theirs: Sequence[Tally]
) -> _Part | None:
    own = value = _figure(rule, evidence, rule.method, mine)
    other: float | None = None
    if rule.is_ratio:
        others = [_figure(rule, evidence, name, theirs) for name in rule.against or (rule.method,)]
        if any(math.isnan(figure) for figure in others):  # max and min would hide it
            return None
        other = ONE_OF_SEVERAL[rule.of](others)
        value = own / other if other else math.nan
    return None if math.isnan(value) else _Part(scenario, value, own, other)


def _figure(rule: Bound, evidence: Evidence, method: str, tallies: Sequence[Tally]) -> float:
    mine, plain = ([tally for tally in tallies if tally.method == name] for name in (method, PLAIN))
    sample = Sample(method, mine, plain, evidence.num_parameters, rule.ties_up_to)
    return FIGURES[rule.kind].value(sample)


def _answers(rule: Bound, evidence: Evidence, groups: Mapping[str, Group], questions: str) -> list[Tally]:
    """The answers of all methods concerned to the questions concerned, the same questions for each of them."""
    concerned = (PLAIN, rule.method, *rule.against)
    tallies = [tally for tally in evidence.tallies if tally.method in concerned]
    for name in concerned:
        if not any(tally.method == name for tally in tallies):
            raise NotMeasuredError(f"a stored run with `{name}`")
    tallies = [tally for tally in tallies if tally.temperature == rule.temperature]
    if not tallies:
        raise NotMeasuredError(f"a stored run with {_names(rule)} at temperature {rule.temperature:g}")
    if questions:
        tallies = [tally for tally in tallies if groups[questions].has(tally)]
        if not tallies:
            raise NotMeasuredError(f"a stored run with {_names(rule)} on {questions}")
    asked = [{tally.question for tally in tallies if tally.method == name} for name in concerned]
    if any(questions_of_one != asked[0] for questions_of_one in asked):
        raise NotMeasuredError(f"a stored run in which {_names(rule)} and plain decoding answered the same questions")
    return tallies


def _scenarios(tallies: Sequence[Tally]) -> list[str]:
    return list(dict.fromkeys(tally.scenario for tally in tallies))


def _names(rule: Bound) -> str:
    return " and ".join(f"`{name}`" for name in (rule.method, *rule.against))
