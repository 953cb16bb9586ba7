"""The server under load (benchmarks/serve_load.py): its stored figures as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.serve_load import METHODS, by_images_and_pause, over_plain
from benchmarks.studies import BLIND, SEES, measured
from seeahead.bench import charts
from seeahead.bench.markdown import shown
from seeahead.bench.statistics import Interval
from seeahead.bench.words import times
from seeahead.errors import counted

_COLUMNS = (
    "clients",
    "drafter",
    "tokens/s",
    "over one client",
    "over plain",
    "s to the first",
    "s between tokens",
    "identical",
)
_TITLE = "Tokens per second of all clients together, median seconds to the first token, and times as fast as plain"


def documents(found: Mapping[str, Any], where: str = "", elsewhere: str = "") -> dict[str, str]:
    """Pages and their pictures by name, which `elsewhere` ends, as the title ends with `where`."""
    source, settings = found["provenance"], found["settings"]
    on_openvino, in_16 = settings.get("executor") == "openvino", settings["dtype"] == "bfloat16"
    name = f"serve-load{'-openvino' if on_openvino else ''}{'-bfloat16' if in_16 else ''}{elsewhere}"
    lines = [
        f"# The server under load{' on OpenVINO' if on_openvino else ''}{' in bfloat16' if in_16 else ''}{where}",
        "",
        f"{settings['num_questions']} questions of the demo suite, shared by 1 to 16 clients that stream over HTTP; "
        f"{settings['num_at_once']} requests share passes. Seconds are medians, and 95th percentiles in brackets"
        f"{_of_rounds(found)}. An answer is identical that says what its question gets alone, plain."
        f"{_of_peers(found)}",
        "",
        f"![{_TITLE}](../images/{name}.svg)",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---:|---|" + "---:|" * (len(_COLUMNS) - 2),
        *_rows(found),
        "",
        _follow_ups(found["follow_ups"]),
        "",
        f"{measured(source)}, executor {settings.get('executor', 'transformers')}, in {settings['dtype']}, with "
        f"{source['hardware']['num_cores']} cores.",
        "",
    ]
    return {f"results/{name}.md": "\n".join(lines), f"images/{name}.svg": _image(found)}


def _image(found: Mapping[str, Any]) -> str:
    firsts: dict[str, dict[str, float]] = {}
    for method, rates in found["tokens_per_second"].items():
        of_load = {
            key: [row for row in found["rows"] if (row["method"], str(row["clients"])) == (method, key)]
            for key in rates
        }
        firsts[method] = {key: median(row["first_p50"] for row in rows) for key, rows in of_load.items()}
    drawn = [
        ("Tokens per second", _chart("a", found["tokens_per_second"])),
        ("Seconds to the first token", _chart("b", firsts)),
        (f"Tokens per second over plain{_of_range(found)}", _over_plain(found)),
    ]
    return charts.grid(_TITLE, drawn)


def _over_plain(found: Mapping[str, Any]) -> str:
    """Medians of rounds, with their range. A peer that saw other images is left out."""
    sees = bool(found["settings"].get(SEES))
    methods = {name: rates for name, rates in found["tokens_per_second"].items() if sees or name in METHODS}
    ratios = {
        method: {key: over_plain(found["rows"], int(key), method) for key in rates} for method, rates in methods.items()
    }
    medians = {method: {key: median(own) for key, own in each.items()} for method, each in ratios.items()}
    ranges = {method: [[(min(own), max(own))] for own in each.values()] for method, each in ratios.items()}
    return _chart("c", medians, ranges if _num_rounds(found) > 1 else {})


def _chart(
    ident: str,
    figures: Mapping[str, Mapping[str, float]],
    ranges: Mapping[str, Sequence[Sequence[tuple[float, float]]]] | None = None,
) -> str:
    """Lines over the number of clients; plain has the first colour, as everywhere."""
    names = sorted(figures, key=lambda method: method != "plain")
    series = [
        charts.Line(
            "GenAI" if "GenAI" in method else method,
            f"var(--s{number})",
            tuple((float(clients), value) for clients, value in figures[method].items()),
            tuple((ranges or {}).get(method, ())),
        )
        for number, method in enumerate(names)
    ]
    return charts.doublings(ident, "By clients", series, "clients")


def _num_rounds(found: Mapping[str, Any]) -> int:
    return len(found["rows"]) // len({(row["clients"], row["method"]) for row in found["rows"]})


def _of_rounds(found: Mapping[str, Any]) -> str:
    if (rounds := _num_rounds(found)) < 2:
        return ""
    return (
        f"; of {rounds} rounds the median is shown. Over plain is divided within each round, since rounds "
        "differ; in brackets stands the range of the rounds"
    )


def _of_range(found: Mapping[str, Any]) -> str:
    return f", range of {rounds} rounds" if (rounds := _num_rounds(found)) > 1 else ""


def _of_peers(found: Mapping[str, Any]) -> str:
    is_any = not {row["method"] for row in found["rows"]} <= METHODS.keys()
    if not is_any:
        return ""
    return f" A peer is asked without HTTP, and computes in 16 bits.{'' if found['settings'].get(SEES) else BLIND}"


def _rows(found: Mapping[str, Any]) -> list[str]:
    rows = found["rows"]
    lines = []
    for clients in sorted({row["clients"] for row in rows}):
        for method in found["tokens_per_second"]:
            own = [row for row in rows if (row["clients"], row["method"]) == (clients, method)]
            key, ratios = str(clients), over_plain(rows, clients, method)
            cells = [
                str(clients),
                method,
                f"{found['tokens_per_second'][method][key]:.1f}",
                f"{found['over_one_client'][method][key]:.2f}×",
                shown(times(Interval(median(ratios), min(ratios), max(ratios)))),
                _seconds(own, "first"),
                _seconds(own, "between"),
                _identical(own),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _identical(rows: list[Mapping[str, Any]]) -> str:
    if any(row["identical"] is None for row in rows):
        return ""
    return f"{sum(row['identical'] for row in rows)} of {sum(row['answers'] for row in rows)}"


def _seconds(rows: list[Mapping[str, Any]], name: str) -> str:
    return f"{median(row[f'{name}_p50'] for row in rows):.2f} ({median(row[f'{name}_p95'] for row in rows):.2f})"


def _follow_ups(found: list[dict[str, float]]) -> str:
    lines = [
        "What was read of a conversation is not read again. Questions are asked at once, as programs do, or after a "
        "pause, as people do, in which the server begins the next turn. Seconds to the first token, medians:",
        "",
        "| about | asked | conversations | first question | second question | ratio |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (images, pause), own in by_images_and_pause(found).items():
        first, second = (median(one[name] for one in own) for name in ("first", "second"))
        ratio = median(one["second"] / one["first"] for one in own)
        when = f"after {pause:g} s" if pause else "at once"
        lines.append(f"| {counted(images, 'image')} | {when} | {len(own)} | {first:.3f} | {second:.3f} | {ratio:.2f} |")
    return "\n".join(lines)
