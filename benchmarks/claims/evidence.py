"""Stored results as claims are judged by them: counts and seconds of every answer. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims.word_classes import WordCounts, count_words
from seeahead.bench.record import PLAIN, Costs, Record, Run, read_record


@dataclass(frozen=True)
class Tally:
    """One answer in numbers. Tokens leave out the first one, which comes with reading the prompt."""

    question: tuple[int, int]  # index and repeat: two methods are compared on the same ones only
    scenario: str
    method: str
    temperature: float
    num_tokens: int
    num_steps: int
    seconds: float
    is_identical: bool
    logit_gap: float | None  # at the first difference; None if one answer merely ends, NaN if not stored
    num_pictures: int
    is_follow_up: bool
    num_levels: int  # drafted depths, summed over the steps
    seconds_draft: float
    words: WordCounts


@dataclass(frozen=True)
class Evidence:
    """One stored result."""

    file: str
    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    num_parameters: Mapping[str, int]  # "target" and drafters, by method
    tallies: tuple[Tally, ...]
    costs: Costs

    @property
    def device(self) -> str:
        return str(self.settings.get("device", ""))

    @property
    def num_questions(self) -> int:
        return len({index for index, _ in (tally.question for tally in self.tallies)})

    @property
    def rank(self) -> tuple[int, str, str]:
        """More questions before fewer, newer ones before older."""
        return self.num_questions, str(self.provenance.get("date", "")), self.file


def read_evidence(results: Path) -> list[Evidence]:
    """Every stored result of the folder, the most telling first. Raises InputError for a broken file."""
    found = [from_record(path.name, read_record(path)) for path in results.glob("bench-*.json")]
    return sorted(found, key=lambda evidence: evidence.rank, reverse=True)


def from_record(file: str, record: Record) -> Evidence:
    """Answers that failed are left out, so that no figure silently covers fewer questions: see `Tally.question`."""
    plain = {(run.asked, run.repeat, run.temperature): run.token_ids for run in record.runs if run.method == PLAIN}
    gaps = {(gap.asked, gap.method, gap.repeat): gap.logit_gap for gap in record.gaps}
    tallies = []
    for run in record.runs:
        if not run.error:
            is_identical = plain.get((run.asked, run.repeat, run.temperature)) == run.token_ids
            gap = None if is_identical else gaps.get((run.asked, run.method, run.repeat), math.nan)
            tallies.append(_tally(record, run, is_identical, gap))
    return Evidence(file, record.provenance, record.settings, record.num_parameters, tuple(tallies), record.costs)


def _tally(record: Record, run: Run, is_identical: bool, logit_gap: float | None) -> Tally:
    asked = record.asked[run.asked]
    steps = run.generation.steps if run.generation is not None else ()
    return Tally(
        question=(run.asked, run.repeat),
        scenario=asked.scenario,
        method=run.method,
        temperature=run.temperature,
        num_tokens=run.num_decoded,
        num_steps=len(steps),
        seconds=run.seconds_decode,
        is_identical=is_identical,
        logit_gap=logit_gap,
        num_pictures=len(asked.pictures),
        is_follow_up=bool(asked.earlier),
        num_levels=sum(step.depth for step in steps),
        seconds_draft=sum(step.seconds_draft for step in steps),
        words=count_words(run.pieces),
    )
