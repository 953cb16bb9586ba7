"""The figures of a benchmark run, each with its interval, derived from the record alone. No torch.

What each figure means stands in `glossary`; how it is computed, in `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seeahead.bench.figures import Against, AtTemperature, MethodSummary
from seeahead.bench.glossary import MISSING
from seeahead.bench.headline import headline, warnings
from seeahead.bench.record import Costs, Record
from seeahead.bench.statistics import Array, resample
from seeahead.bench.words import counted


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


def machine(summary: Summary) -> str:
    """What ran where, in a line."""
    settings, hardware = summary.settings, summary.provenance.get("hardware") or {}
    size = summary.settings.get("num_parameters")
    found = [
        f"{settings.get('model') or settings.get('model_type') or 'model'} in {settings.get('dtype', MISSING)}",
        f"{size / 1e6:,.0f} million parameters" if size else "",
        str(hardware.get("gpu") if settings.get("device") == "cuda" else hardware.get("cpu") or ""),
        counted(settings["num_threads"], "thread") if settings.get("num_threads") else "",
        f"{counted(summary.num_questions, 'question')} in {counted(len(summary.scenarios), 'scenario')}",
        f"{settings['num_repeats']} repeats" if settings.get("num_repeats", 1) > 1 else "",
        f"{settings['harness_share']:.1%} of the time spent outside of answers"
        if settings.get("harness_share")
        else "",
    ]
    return " · ".join(part for part in found if part)


def origin(summary: Summary) -> str:
    """Where the figures come from, in a line."""
    known: Mapping[str, Any] = summary.provenance
    versions, weights = known.get("versions") or {}, summary.settings.get("drafters") or {}
    found = [
        str(known.get("date") or ""),
        f"commit {known['commit'][:12]}" if known.get("commit") else "",
        "with local changes" if known.get("has_local_changes") else "",
        ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        f"drafter weights {', '.join(f'{name} {digest}' for name, digest in weights.items())}" if weights else "",
        f"seed {known['seed']}" if known.get("seed") is not None else "",
        str((known.get("hardware") or {}).get("system") or ""),
    ]
    return " · ".join(part for part in found if part)


def bootstrap_weights(record: Record) -> Array:
    """[1 + draws, questions]: conversations are drawn, and their turns stay together."""
    openings = [entry.scenario for entry in record.asked if not entry.earlier]
    conversations = np.cumsum([not entry.earlier for entry in record.asked], dtype=np.intp) - 1
    drawn = resample(openings, seed=int(record.settings.get("seed") or 0))
    return np.asarray(drawn[:, conversations], dtype=np.float64)
