"""The figures of a benchmark run, each with its interval, derived from the record alone. No torch.

What each figure means stands in `definitions`; how it is computed, in `by_method` and `drafts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seeahead.bench.by_method import Against, AtTemperature, MethodSummary
from seeahead.bench.findings import headline, warnings
from seeahead.bench.record import Costs, Record
from seeahead.bench.statistics import Array, resample


@dataclass(frozen=True)
class Summary:
    """All figures of a record, by temperature; the lowest comes first and carries the headline."""

    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    costs: Costs
    scenarios: Mapping[str, int]  # with their number of questions
    methods: Mapping[float, tuple[MethodSummary, ...]]
    against: Mapping[float, tuple[Against, ...]]
    headline: str
    warnings: tuple[str, ...]

    @property
    def headline_methods(self) -> tuple[MethodSummary, ...]:
        return next(iter(self.methods.values()), ())

    @property
    def num_questions(self) -> int:
        return sum(self.scenarios.values())


def summarize(record: Record) -> Summary:
    scenarios: dict[str, int] = {}
    for entry in record.asked:
        scenarios[entry.scenario] = scenarios.get(entry.scenario, 0) + 1
    weights = bootstrap_weights(record)
    methods: dict[float, tuple[MethodSummary, ...]] = {}
    against: dict[float, tuple[Against, ...]] = {}
    for temperature in sorted({run.temperature for run in record.runs}):
        at = AtTemperature(record, temperature, weights, tuple(scenarios))
        methods[temperature] = tuple(at.method(name) for name in record.methods)
        against[temperature] = tuple(at.against(peer, methods[temperature]) for peer in record.peers)
    return Summary(
        record.provenance,
        record.settings,
        record.costs,
        scenarios,
        methods,
        against,
        headline(next(iter(methods.values()), ())),
        warnings(record, methods, against),
    )


def bootstrap_weights(record: Record) -> Array:
    """[1 + draws, questions]: conversations are drawn, and their turns stay together."""
    openings = [entry.scenario for entry in record.asked if not entry.earlier]
    conversations = np.cumsum([not entry.earlier for entry in record.asked], dtype=np.intp) - 1
    drawn = resample(openings, seed=int(record.settings.get("seed") or 0))
    return np.asarray(drawn[:, conversations], dtype=np.float64)
