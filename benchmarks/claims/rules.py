"""What must be true of stored results for a claim to hold: rules as data, read with care and told in words. No torch.

A rule is a bound on one figure of one method, alone or against others, or the reason why there is no figure: `needs`
(a later run will have it) or `cannot` (no run on the project's machines and data can).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.claims.evidence import Tally
from benchmarks.claims.figures import FIGURES
from seeahead.errors import InputError


@dataclass(frozen=True)
class Group:
    """Questions that belong together. Conditions add up; one that is not given does not restrict."""

    means: str
    scenarios: tuple[str, ...] = ()
    pictures: tuple[int, int] | None = None  # least and most
    turn: str = ""  # "first" or "later"

    def has(self, tally: Tally) -> bool:
        if self.scenarios and tally.scenario not in self.scenarios:
            return False
        if self.turn and tally.is_follow_up is not (self.turn == "later"):
            return False
        if self.pictures is None:
            return True
        least, most = self.pictures
        return least <= tally.num_pictures <= most


@dataclass(frozen=True)
class Needs:
    """Something is missing that a later run will have."""

    what: str


@dataclass(frozen=True)
class Cannot:
    """Something is missing that no run on the project's machines and data can have."""

    why: str


@dataclass(frozen=True)
class Bound:
    """The figure `kind` of `method` within bounds; with `against` or `against_questions`, its ratio to theirs."""

    kind: str
    method: str
    at_least: float | None = None
    at_most: float | None = None
    against: tuple[str, ...] = ()
    of: str = "highest"  # of several others
    questions: str = ""  # a group; all questions if empty
    against_questions: str = ""
    over: str = "together"  # one figure over all scenarios, or each of them by itself
    temperature: float = 0.0
    device: str = ""  # any if empty
    ties_up_to: float = 0.0

    @property
    def is_ratio(self) -> bool:
        return bool(self.against or self.against_questions)

    def admits(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


Rule = Bound | Needs | Cannot

ONE_OF_SEVERAL: dict[str, Callable[[Sequence[float]], float]] = {
    "highest": max,
    "lowest": min,
    "mean": lambda values: sum(values) / len(values),
}
_OVER = {"together": "", "every": "in every scenario: ", "any": "in at least one scenario: "}
_DEVICES = {"": "", "cpu": ", on a CPU", "cuda": ", on a GPU"}

Fields = Mapping[str, type | tuple[type, ...]]
"""Names of a TOML table, each with the type of its value."""

_NUMBER = (int, float)
_TYPES: Mapping[type | tuple[type, ...], str] = {str: "text", list: "a list", dict: "a table", _NUMBER: "a number"}
_BOUND: Fields = {
    "kind": str,
    "method": str,
    "at_least": _NUMBER,
    "at_most": _NUMBER,
    "against": list,
    "of": str,
    "questions": str,
    "against_questions": str,
    "over": str,
    "temperature": _NUMBER,
    "device": str,
    "ties_up_to": _NUMBER,
}


def check_fields(where: str, table: object, allowed: Fields, needed: Collection[str]) -> dict[str, Any]:
    """`table` as it is. Raises InputError naming `where` for a field that is missing, unknown or of another type."""
    if not isinstance(table, dict):
        raise InputError(f"{where} is {table!r}; it should be a table with {', '.join(needed)}")
    for name in needed:
        if name not in table:
            raise InputError(f"{where} lacks the field '{name}'; it needs {', '.join(needed)}")
    for name, value in table.items():
        if name not in allowed:
            raise InputError(f"{where} has an unknown field '{name}'; allowed are {', '.join(allowed)}")
        if not isinstance(value, allowed[name]) or isinstance(value, bool):
            raise InputError(f"{where}: '{name}' is {value!r}; it should be {_TYPES[allowed[name]]}")
    return table


def choose(where: str, name: str, value: str, allowed: Collection[str]) -> None:
    """Raises InputError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{where}: unknown {name} '{value}'; allowed are {', '.join(filter(None, allowed))}")


def read_group(where: str, table: object) -> Group:
    fields: Fields = {"means": str, "scenarios": list, "pictures": list, "turn": str}
    value = check_fields(where, table, fields, ["means"])
    choose(where, "turn", value.get("turn", ""), ("", "first", "later"))
    pictures = value.get("pictures")
    if pictures is not None and (len(pictures) != 2 or not all(isinstance(number, int) for number in pictures)):
        raise InputError(f"{where}: 'pictures' is {pictures!r}; give the least and the most number of pictures")
    limits = (pictures[0], pictures[1]) if pictures else None
    return Group(value["means"], tuple(value.get("scenarios", ())), limits, value.get("turn", ""))


def read_rule(where: str, table: object, methods: Collection[str], groups: Collection[str]) -> Rule:
    """Raises InputError naming `where` (the claim) unless the rule can be judged."""
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind == "needs":
        return Needs(check_fields(where, table, {"kind": str, "what": str}, ["kind", "what"])["what"])
    if kind == "cannot":
        return Cannot(check_fields(where, table, {"kind": str, "why": str}, ["kind", "why"])["why"])
    value = check_fields(where, table, _BOUND, ["kind"])
    choose(where, "kind", value["kind"], (*FIGURES, "needs", "cannot"))
    check_fields(where, value, _BOUND, ["kind", "method"])
    rule = Bound(**{**value, "against": tuple(value.get("against", ()))})
    for name in (rule.method, *rule.against):
        choose(where, "method", name, methods)
    for name in (rule.questions, rule.against_questions):
        choose(where, "group of questions", name, ("", *groups))
    choose(where, "of", rule.of, ONE_OF_SEVERAL)
    choose(where, "over", rule.over, _OVER)
    choose(where, "device", rule.device, _DEVICES)
    _check_sense(where, rule)
    return rule


def _check_sense(where: str, rule: Bound) -> None:
    if rule.at_least is None and rule.at_most is None:
        raise InputError(f"{where}: the rule has no bound; give at_least, at_most or both")
    if FIGURES[rule.kind].is_relative and not rule.is_ratio:
        raise InputError(f"{where}: '{rule.kind}' says something only against another method; give against")
    if rule.against_questions and rule.over != "together":
        raise InputError(f"{where}: two groups of questions share no scenario; leave out over, or against_questions")
    if rule.kind == "identical" and (rule.temperature != 0 or rule.is_ratio):
        raise InputError(f"{where}: 'identical' means the plain greedy answers; leave out temperature and against")


def in_words(rule: Bound) -> str:
    """The rule as a sentence of the page."""
    subject = f"{FIGURES[rule.kind].words} of `{rule.method}`"
    if rule.questions:
        subject += f" on {rule.questions}"
    form = ".0%" if rule.kind == "identical" else "g"
    limits = (("at least", rule.at_least), ("at most", rule.at_most))
    bounds = [f"{name} {limit:{form}}" for name, limit in limits if limit is not None]
    text = f"{_OVER[rule.over]}{subject} {' and '.join(bounds)}"
    if rule.is_ratio:
        text += f" × {_others(rule)}"
    if rule.ties_up_to:
        text += f" (leaving the plain answer at a logit gap up to {rule.ties_up_to:g} is a rounding tie)"
    if rule.temperature:
        text += f", at temperature {rule.temperature:g}"
    return text + _DEVICES[rule.device]


def _others(rule: Bound) -> str:
    names = " and ".join(f"`{name}`" for name in rule.against)
    if len(rule.against) > 1:
        names = f"the {rule.of} of {names}"
    elif names:
        names = f"that of {names}"
    if rule.against_questions:
        names = f"{names or 'its own'} on {rule.against_questions}"
    return names
