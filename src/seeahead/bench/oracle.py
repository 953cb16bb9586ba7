"""`auto` beside the best other drafter of a run, and beside the best of each scenario, chosen afterwards. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import geometric_mean

from seeahead.bench.figures import Sample
from seeahead.bench.record import PLAIN
from seeahead.bench.summary import Summary, at_temperature

_AUTO = "auto"


def beside_others(summary: Summary) -> Iterator[str]:
    """A sentence for each temperature at which `auto` ran beside other drafters of ours."""
    for temperature, methods in summary.methods.items():
        rates = {entry.method: _by_scenario(entry) for entry in methods if not entry.is_peer and entry.method != PLAIN}
        own = rates.pop(_AUTO, {})
        others = {name: found for name, found in rates.items() if found.keys() == own.keys()}
        if not own or not others:
            continue
        means = {name: geometric_mean(found.values()) for name, found in others.items()}
        best = max(means, key=lambda name: means[name])
        ratios = {name: rate / max(found[name] for found in others.values()) for name, rate in own.items()}
        least = min(ratios, key=lambda name: ratios[name])
        yield (
            f"Decoding {at_temperature(temperature)}, geometric means over scenarios: auto has "
            f"{geometric_mean(own.values()) / means[best]:.2f} of the speed of the best other drafter ({best}), and "
            f"{geometric_mean(ratios.values()):.2f} of that of the best one of each scenario, chosen afterwards "
            f"(least: {ratios[least]:.2f}, {least})."
        )


def _by_scenario(entry: Sample) -> dict[str, float]:
    """Times as fast as plain decoding."""
    found = {name: part["ratio of sums"] for name, part in entry.groups["scenario"].items()}
    return {name: ratio.value for name, ratio in found.items() if ratio is not None}
