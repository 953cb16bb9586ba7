"""What must be true of stored runs for a claim to hold: `claims.toml` as checked values. No torch.

A rule is a bound on one figure of one method, alone or against others, or the reason why there is no figure: `needs`
(a later run will have it) or `cannot` (no run on the project's machines and data can).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.claims.figures import FIGURES, Kind
from seeahead.bench.record import Asked
from seeahead.errors import InputError
from seeahead.records import STRICT, fault_of

CLAIMS = Path(__file__).with_name("claims.toml")
MAX_CLAIM_LENGTH = 200

Text = Annotated[str, Field(max_length=MAX_CLAIM_LENGTH)]


class Entry(BaseModel):
    """A table of the file; unknown keys are refused."""

    model_config = ConfigDict(**STRICT, frozen=True)


class Group(Entry):
    """Questions that belong together. Conditions add up; one that is not given does not restrict."""

    means: str
    scenarios: tuple[str, ...] = ()
    images: tuple[int, int] | None = None  # least and most
    turn: Literal["", "first", "later"] = ""

    def has(self, asked: Asked) -> bool:
        if self.scenarios and asked.scenario not in self.scenarios:
            return False
        if self.turn and bool(asked.earlier) is not (self.turn == "later"):
            return False
        if self.images is None:
            return True
        least, most = self.images
        return least <= len(asked.pictures) <= most


class Needs(Entry):
    """Something is missing that a later run will have."""

    kind: Literal["needs"] = "needs"
    what: str


class Cannot(Entry):
    """Something is missing that no run on the project's machines and data can have."""

    kind: Literal["cannot"] = "cannot"
    why: str


class Bound(Entry):
    """The figure `kind` of `method` within bounds; with `against` or `against_questions`, its ratio to theirs."""

    kind: Kind
    method: str
    above: float | None = None  # a figure that equals it is not
    at_least: float | None = None
    at_most: float | None = None
    against: tuple[str, ...] = ()
    of: Literal["highest", "lowest", "mean"] = "highest"  # of several others
    questions: str = ""  # a group; all questions if empty
    against_questions: str = ""
    over: Literal["together", "every", "any"] = "together"  # one figure over all scenarios, or each of them by itself
    temperature: float = 0.0
    device: Literal["", "cpu", "cuda"] = ""  # any if empty
    ties_up_to: float = 0.0  # logit gap at which leaving the plain answer counts as rounding

    @property
    def is_ratio(self) -> bool:
        return bool(self.against or self.against_questions)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.above is None and self.at_least is None and self.at_most is None:
            raise ValueError("the rule has no bound; give above, at_least or at_most")
        if FIGURES[self.kind].is_relative and not self.is_ratio:
            raise ValueError(f"'{self.kind}' says something only against another method; give against")
        if self.against_questions and self.over != "together":
            raise ValueError("two groups of questions share no scenario; leave out over, or against_questions")
        if self.kind == "identical" and (self.temperature != 0 or self.is_ratio):
            raise ValueError("'identical' means the plain greedy answers; leave out temperature and against")
        return self


Rule = Bound | Needs | Cannot


class Claim(Entry):
    """One claim in our own words, where it was read, and the rules that our counterpart must meet."""

    id: str
    paper: str  # arXiv id
    where: str
    source: Literal["paper", "code", "via", "others", "inferred"]
    claim: Text
    measured_on: str
    their_figure: str
    rules: Annotated[tuple[Annotated[Rule, Field(discriminator="kind")], ...], Field(min_length=1)]
    note: Text = ""

    @property
    def bounds(self) -> list[Bound]:
        return [rule for rule in self.rules if isinstance(rule, Bound)]


class Book(Entry):
    """All of `claims.toml`: papers by arXiv id, methods and groups of questions by name, and the claims."""

    papers: dict[str, str]
    methods: dict[str, str]
    questions: dict[str, Group]
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        ids = [claim.id for claim in self.claims]
        for claim in self.claims:
            where = f"claim '{claim.id}'"
            if ids.count(claim.id) > 1:
                raise ValueError(f"{where}: its id is given twice")
            _check(where, "paper", [claim.paper], self.papers)
            for rule in claim.bounds:
                _check(where, "method", [rule.method, *rule.against], self.methods)
                _check(where, "group of questions", [rule.questions, rule.against_questions], ["", *self.questions])
        return self


def _check(where: str, what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: unknown {what} '{name}'; allowed are {', '.join(filter(None, known))}")


def read_claims(path: Path = CLAIMS) -> Book:
    """Raises InputError naming the claim that is broken."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
        return Book.model_validate_json(json.dumps(value))
    except ValidationError as error:
        fault = re.sub(r"claims\.(\d+)", lambda found: _called(value, int(found[1])), fault_of(error))
        raise InputError(f"{path.name}: {fault}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the claims {path.name}: {error}") from None


def _called(value: dict[str, Any], number: int) -> str:
    """A claim by its id, or by its place where it has none."""
    claim = value["claims"][number]
    return f"claim '{claim.get('id', number + 1) if isinstance(claim, dict) else number + 1}'"
