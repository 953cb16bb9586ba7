"""What is known of drafters from the steps so far: how often they are right, and what they cost."""

from __future__ import annotations

import math
import random
import weakref
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from seeahead.checked import checked, flag, matching, read_json, real, rows, several, whole
from seeahead.drafters.calibration import LARGEST, Calibration, Weight
from seeahead.drafters.folder import PRIOR
from seeahead.drafters.pass_times import PassTimes, mixed
from seeahead.errors import DrafterError
from seeahead.provenance import write_json

Kind = tuple[int, bool]
"""Of questions: how many images (0, 1, or more), and whether the answer is greedy."""

_FIRST = 0.8
"""Log odds that the likeliest token of a drafter is right of which nothing is known."""
_SKILL, _EASE, _OWN_SKILL = 2.0, 2.0, 2.0
"""How sure each part of these log odds is at first: what a drafter is good at, how easy an answer is, and the drafter
in that answer."""
_MOST_SURE, _PRIOR_SURE = 60.0, 10.0
_MOST_ODDS, _LONGEST_NAME = 50.0, 500
"""Of what is stored."""
_LEVEL_SHARE = 0.06
"""Of a pass of the target, that a pass of such a drafter takes."""
_MEMORY, _LONG_MEMORY = 0.9, 0.97
_GAIN = 0.5
"""Tokens a step that are followed of a drafter that is no model and of which nothing is known."""
_SPEED_UP, _KIND_STEPS = 1.0, 4.0
"""What steps of single requests gain over plain ones, before any, and those of more a share of it; and how many of an
answer's own weigh as much as those of its kind."""
_CREDIT, _MOST_CREDIT, _MOST_LOST, _REFILL = 8.0, 64.0, 2.0, 0.01
"""Plain steps that drafting may lose at first, and at most after it has gained; those that one step may be taken to
lose, since what passes take may have been measured on a busy machine; and what each step without drafts adds."""
_STEPS, _ANSWERS = 12.0, 1.0
"""Of an answer, over which what a drafter's start costs is spread; and how many answers of a kind, of which their own
steps tell, weigh as much as that."""


_MOST_PART = 8.0
"""Of log odds that one part may have: beyond it nothing is more certain, and it would take long to come back."""


class _Cost(NamedTuple):
    """In parts of a plain step, since all slow alike where the machine slows; how often it was seen, and the last."""

    known: float
    number: int
    last: float


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


class Learned:
    """A part of log odds, with how sure it is (the information so far)."""

    def __init__(self, value: float, sure: float) -> None:
        self.value, self.sure = value, sure

    def learn(self, error: float, information: float) -> None:
        """One Newton step; beyond `_MOST_SURE` older steps fade."""
        self.sure = min(self.sure + information, _MOST_SURE)
        self.value = _within(self.value + error / self.sure, _MOST_PART)


@dataclass(frozen=True)
class _Skill:
    drafter: Annotated[str, matching(f"^.{{0,{_LONGEST_NAME}}}$", "a drafter's name")]
    num_images: Annotated[int, whole(0, 2)]
    is_greedy: Annotated[bool, flag()]
    log_odds: Annotated[float, real(-_MOST_ODDS, _MOST_ODDS)]
    sure: Annotated[float, real(0.1, 1000)]


@dataclass(frozen=True)
class _Calibration:
    drafter: Annotated[str, matching(f"^.{{0,{_LONGEST_NAME}}}$", "a drafter's name")]
    is_greedy: Annotated[bool, flag()]
    weights: Annotated[tuple[Weight, ...], several("6 numbers", 6)]


def _table(kind: type) -> Any:
    return rows(lambda value, where: checked(kind, value, where, DrafterError), "entry")


@dataclass(frozen=True)
class _Stored:
    skills: Annotated[tuple[_Skill, ...], _table(_Skill), several("a list", 0)]
    calibrations: Annotated[tuple[_Calibration, ...], _table(_Calibration), several("a list", 0)]


class Experience:
    """Shared by all answers of a drafter."""

    def __init__(self, times: PassTimes) -> None:
        self.times = times
        self.chance = random.Random(0)
        self.calibrations: defaultdict[tuple[str, bool], Calibration] = defaultdict(Calibration)
        self.skills: defaultdict[tuple[str, Kind], Learned] = defaultdict(lambda: Learned(_FIRST, _SKILL))
        self.extra: dict[tuple[str, str, Kind], float] = {}
        self.gains: dict[tuple[str, Kind], float] = {}
        self.num_rests: defaultdict[tuple[Kind, str], int] = defaultdict(int)
        self._credit = _CREDIT
        self.steps: dict[tuple[Kind, int], tuple[float, float]] = {}
        """By load: tokens of a step, and its seconds in plain steps, of late."""
        self._lengths: dict[Kind, tuple[float, float]] = {}
        """Answers that are over, and their steps, of late."""
        self._levels: dict[tuple[str, int], _Cost] = {}
        self._starts: dict[tuple[str, Kind], _Cost] = {}

    def read(self, path: Path) -> None:
        """What `save` wrote. Raises DrafterError for anything else."""
        self._take(path, "give a file that auto wrote, or the name of a new one", {}, _MOST_SURE)

    def read_prior(self, folder: Path, name: str) -> None:
        """What a drafter's training learned of it, if its folder tells; the drafter is a member called `name`."""
        if (folder / PRIOR).is_file():
            self._take(folder / PRIOR, f"get the drafter again, or delete its {PRIOR}", {"": name}, _PRIOR_SURE)

    def _take(self, path: Path, mend: str, names: Mapping[str, str], most_sure: float) -> None:
        stored = checked(_Stored, read_json(path, mend, DrafterError), f"auto's state {path.name}", DrafterError)
        for skill in stored.skills:
            key = names.get(skill.drafter, skill.drafter), (skill.num_images, skill.is_greedy)
            self.skills[key] = Learned(skill.log_odds, min(skill.sure, most_sure))
        for one in stored.calibrations:
            self.calibrations[names.get(one.drafter, one.drafter), one.is_greedy] = Calibration(one.weights[:6])

    def save(self, path: Path) -> None:
        """What drafters are good at, and their calibrations; not what they cost, which is this machine's."""
        self._write(path, {})

    def save_prior(self, folder: Path, name: str) -> None:
        """What is known of one member, beside its weights."""
        self._write(folder / PRIOR, {name: ""})

    def _write(self, path: Path, names: Mapping[str, str]) -> None:
        """With `names`, of those members alone, called so."""
        known_skills, calibrations = dict(self.skills), dict(self.calibrations)  # others may answer meanwhile
        stored = {name: names.get(name, name) for name, _ in (*known_skills, *calibrations)}
        stored = {name: to for name, to in stored.items() if (name in names or not names) and len(to) <= _LONGEST_NAME}
        skills = [
            _Skill(stored[name], *kind, _within(one.value, _MOST_ODDS), one.sure)
            for (name, kind), one in known_skills.items()
            if name in stored
        ]
        known = [
            _Calibration(stored[name], is_greedy, tuple(_within(weight, LARGEST) for weight in one.weights))
            for (name, is_greedy), one in calibrations.items()
            if name in stored
        ]
        write_json(path, asdict(_Stored(tuple(skills), tuple(known))))

    def level(self, name: str, num_requests: int) -> float:
        """Seconds of a pass of a drafter for so many requests."""
        known = self._levels.get((name, num_requests.bit_length()))
        if known is None:
            alone = self._levels.get((name, 1))
            return (_LEVEL_SHARE if alone is None else alone.known) * (0.8 + 0.2 * num_requests) * self.times.plain()
        return known.known * self.times.plain()

    def drafted(self, name: str, num_requests: int, seconds: float) -> None:
        key = name, num_requests.bit_length()
        self._levels[key] = self._cost(self.level(name, num_requests), self._levels.get(key), seconds)

    def start_seconds(self, name: str, kind: Kind) -> float:
        known = self._starts.get((name, kind))
        return 3 * self.level(name, 1) if known is None else known.known * self.times.plain()

    def usual_start(self) -> float:
        """Seconds that models take to read a prompt, whichever they are and whatever is asked."""
        known = [one.known for one in self._starts.values()] or [3 * _LEVEL_SHARE]
        return sum(known) / len(known) * self.times.plain()

    def started(self, name: str, kind: Kind, seconds: float) -> None:
        """A drafter has read a prompt: one with five images takes many times as long as a short text."""
        self._starts[name, kind] = self._cost(self.start_seconds(name, kind), self._starts.get((name, kind)), seconds)

    def ended(self, kind: Kind, num_steps: list[int]) -> None:
        """An answer of this kind, which counted its steps in a list of one."""
        answers, steps = self._lengths.get(kind, (0.0, 0.0))
        self._lengths[kind] = _LONG_MEMORY * answers + 1.0, _LONG_MEMORY * steps + num_steps[0]

    def length(self, kind: Kind) -> float:
        """Steps of an answer of this kind."""
        answers, steps = self._lengths.get(kind, (0.0, 0.0))
        return (steps + _ANSWERS * _STEPS) / (answers + _ANSWERS)

    def settle(self, gain: float | None) -> None:
        """A step of a single answer with drafts brought so many plain steps more than it took; None: one without."""
        change = _REFILL if gain is None else max(gain, -_MOST_LOST)
        self._credit = min(self._credit + change, _MOST_CREDIT)

    @property
    def has_credit(self) -> bool:
        """Whether drafting may lose something: whatever it promises, it has not lost much more than it has gained."""
        return self._credit > 0.0

    def _cost(self, known: float, before: _Cost | None, seconds: float) -> _Cost:
        """What is guessed counts as seen once, and the last few count most."""
        number, plain = 1 if before is None else before.number + 1, self.times.plain()
        # A pass that was held up says nothing of the next, least of all a model's first one; two in a row were not.
        most = max(2 * known, 0.0 if before is None else before.last * plain)
        taken = mixed(known, min(seconds, most), min(number / (number + 1), _MEMORY))
        return _Cost(taken / plain, number, seconds / plain)


class OwnExperience:
    """Of one answer to a question of some `kind`.

    The log odds that a drafter's likeliest token is right are the sum of its skill in questions of this kind, of how
    easy this answer is, whoever drafts, and of its own in this answer. So a drafter that was asked only where others
    failed is not taken for a bad one."""

    def __init__(self, shared: Experience, kind: Kind) -> None:
        self._shared, self.kind = shared, kind
        self._num_steps = [0]
        weakref.finalize(self, shared.ended, kind, self._num_steps).atexit = False
        self._hopes = defaultdict[str, float](lambda: shared.chance.gauss(0.0, 1.0))
        self._ease = Learned(0.0, _EASE)
        self._own: defaultdict[str, Learned] = defaultdict(lambda: Learned(0.0, _OWN_SKILL))
        self._num_tokens, self._lasted = 0, 0.0

    def followed(self, name: str, *, hopes: bool = False) -> float:
        """How often the likeliest token of a drafter is right here; with `hopes`, how often it may be: its skill is
        drawn for this answer from what is known of it, so that what is little known is tried (Thompson 1933)."""
        parts = (self._shared.skills[name, self.kind], self._ease, self._own[name])
        odds = sum(part.value for part in parts)
        if hopes:
            odds += self._hopes[name] / math.sqrt(parts[0].sure)
        return min(1 / (1 + math.exp(-_within(odds, _MOST_ODDS))), 0.98)

    def saw(self, name: str, was_followed: bool) -> None:
        """After a path that the target followed: whether it said the drafter's likeliest token."""
        expected = self.followed(name)
        error, information = was_followed - expected, max(expected * (1 - expected), 0.02)
        for part in (self._shared.skills[name, self.kind], self._ease, self._own[name]):
            part.learn(error, information)

    def start_seconds(self, name: str, has_read: bool, most_steps: int) -> float:
        """What its start costs each step, of which there are so many at most."""
        if has_read:
            return 0.0
        return self._shared.start_seconds(name, self.kind) / min(self._shared.length(self.kind), most_steps)

    def took(self, num_tokens: int, seconds: float, num_requests: int) -> float:
        """A step of this answer, and its share of the seconds of so many requests. Returns what it brought beyond plain
        steps in these seconds, in tokens."""
        self._num_steps[0] += 1
        plain, load = seconds / self._plain(num_requests), num_requests.bit_length()
        tokens, lasted = self._steps(load)
        self._shared.steps[self.kind, load] = (
            mixed(tokens, num_tokens, _LONG_MEMORY),
            mixed(lasted, plain, _LONG_MEMORY),
        )
        self._num_tokens += num_tokens
        self._lasted += plain
        return num_tokens - plain

    def rate(self, num_requests: int) -> float:
        """Tokens a second of its share in steps of this answer, and as long as it is short of others of its kind."""
        tokens, lasted = self._steps(num_requests.bit_length())
        speed_up = (self._num_tokens + _KIND_STEPS * tokens) / (self._lasted + _KIND_STEPS * lasted)
        return speed_up / self._plain(num_requests)

    def _steps(self, load: int) -> tuple[float, float]:
        return self._shared.steps.get((self.kind, load), (1.0 + _SPEED_UP / load, 1.0))

    def _plain(self, num_requests: int) -> float:
        return self._shared.times.plain(num_requests) / num_requests

    def extra(self, lead: str, second: str) -> float:
        """Tokens a step that the second drafter alone proposed, and the target followed."""
        return self._shared.extra.get((lead, second, self.kind), 0.0)

    def gained(self, lead: str, second: str, num_extra: int) -> None:
        key = lead, second, self.kind
        self._shared.extra[key] = mixed(self._shared.extra.get(key), float(num_extra), _MEMORY)

    def gain(self, name: str) -> float | None:
        """Tokens a step that were followed, of a drafter that is no model; None before it was asked."""
        return self._shared.gains.get((name, self.kind))

    def proposed(self, name: str, num_followed: int) -> None:
        key = name, self.kind
        self._shared.gains[key] = mixed(self._shared.gains.get(key, _GAIN), float(num_followed), _LONG_MEMORY)

    def rests(self, number: int, what: str) -> int:
        """Steps, of answers of this kind, since the last look at what has not paid; with this one so many more."""
        self._shared.num_rests[self.kind, what] += number
        return self._shared.num_rests[self.kind, what]

    def looked(self, what: str) -> None:
        """A look at what has not paid."""
        self._shared.num_rests[self.kind, what] = 0
