"""Puts the same questions to several methods in turn, and keeps what each of them said. Prints nothing.

Methods are interleaved question by question and take turns in going first: machines are noisy, so only ratios within
one run count, and nobody may always be the one who finds warm caches.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seeahead.api import Engine
from seeahead.bench.gaps import logit_gap, parting
from seeahead.bench.record import PLAIN
from seeahead.demo.scenarios import Question, Scenario
from seeahead.families.base import Family
from seeahead.records import Generation, Origin
from seeahead.reply import Piece

_WARM_UP_TOKENS = 12


@dataclass(frozen=True)
class Part:
    """Text that arrived at once, who said it first, and how many tokens it is."""

    text: str
    origin: Origin
    num_tokens: int


@dataclass(frozen=True)
class Said:
    """A method said a part of its answer, just now."""

    method: str
    part: Part


@dataclass(frozen=True)
class Answer:
    """One method's whole answer to one question."""

    method: str
    parts: tuple[Part, ...]
    generation: Generation

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)

    @property
    def decode_seconds(self) -> float:
        return sum(step.seconds for step in self.generation.steps)

    @property
    def arrival_seconds(self) -> tuple[float, ...]:
        """When each part was there, counted from the first token."""
        clock, arrivals = 0.0, [0.0]
        for step in self.generation.steps:
            clock += step.seconds
            arrivals.extend([clock] * len(step.emitted))
        seen, seconds = 0, []
        for part in self.parts:
            seen += part.num_tokens
            seconds.append(arrivals[seen - 1])
        return tuple(seconds)


@dataclass(frozen=True)
class Round:
    """One question with the answers of all methods, plain first."""

    question: Question
    answers: Mapping[str, Answer]

    @property
    def plain(self) -> Answer:
        return self.answers[PLAIN]

    def is_identical(self, method: str) -> bool:
        return self.answers[method].generation.token_ids == self.plain.generation.token_ids


@dataclass(frozen=True)
class Difference:
    """Where an answer leaves the plain one, and by how little the target preferred its own token there.

    `logit_gap` is that of `gaps`; None where one answer merely ends earlier.
    """

    method: str
    question: Question
    position: int
    logit_gap: float | None


Event = Question | Said | Answer | Round


def num_questions(scenarios: Iterable[Scenario]) -> int:
    return sum(len(talk.turns) for scenario in scenarios for talk in scenario.conversations)


def warm_up(engines: Mapping[str, Engine], scenarios: Sequence[Scenario]) -> Iterator[float]:
    """Every method once on every number of pictures; yields the share done."""
    talks = {len(talk.pictures): talk for scenario in scenarios for talk in scenario.conversations}
    total = len(talks) * len(engines)
    for number, (talk, engine) in enumerate(
        ((talk, engine) for talk in talks.values() for engine in engines.values()), 1
    ):
        for _ in _ask(engine, Question("warm-up", talk.pictures, talk.turns[0].text, _WARM_UP_TOKENS)):
            pass
        yield number / total


def compare(engines: Mapping[str, Engine], scenarios: Sequence[Scenario]) -> Iterator[Event]:
    """Ask everything of everyone: a Question, then of each method its Saids and its Answer, then the Round.

    A follow-up question stands after the plain answers to the questions before it, for every method alike.
    """
    assert PLAIN in engines, "there is nothing to compare with"
    number = 0
    for scenario in scenarios:
        for talk in scenario.conversations:
            earlier: tuple[tuple[str, str], ...] = ()
            for turn in talk.turns:
                question = Question(scenario.name, talk.pictures, turn.text, turn.max_new_tokens, earlier)
                round_ = yield from _one_round(engines, question, number)
                earlier = (*earlier, (turn.text, round_.plain.text))
                number += 1


def _one_round(engines: Mapping[str, Engine], question: Question, number: int) -> Generator[Event, None, Round]:
    yield question
    names = list(engines)
    first = number % len(names)
    answers = {}
    for name in names[first:] + names[:first]:
        parts: list[Part] = []
        for piece in _ask(engines[name], question):
            if piece.reply is not None:
                answers[name] = Answer(name, tuple(parts), piece.reply.generation)
                yield answers[name]
            elif piece.origins:
                parts.append(Part(piece.text, piece.origins[-1], len(piece.origins)))
                yield Said(name, parts[-1])
    round_ = Round(question, {name: answers[name] for name in names})
    yield round_
    return round_


def _ask(engine: Engine, question: Question) -> Iterator[Piece]:
    # Greedy, whatever the model's own settings are: only then is there one right answer to compare with.
    return engine.stream(question.messages(), max_new_tokens=question.max_new_tokens, temperature=0.0)


def differences(family: Family, rounds: Iterable[Round]) -> Iterator[Difference]:
    """Every answer that is not the plain one, with the target's logit gap at the first token that differs."""
    for round_ in rounds:
        for method in round_.answers:
            if not round_.is_identical(method):
                yield _difference(family, round_, method)


def _difference(family: Family, round_: Round, method: str) -> Difference:
    plain = round_.plain.generation.token_ids
    other = round_.answers[method].generation.token_ids
    position = parting(plain, other)
    assert position is not None, "the answers are not identical"
    gap = logit_gap(family, round_.question.messages(), plain, other, position)
    return Difference(method, round_.question, position, gap)
