"""The server under strain (benchmarks/serve_crowd.py, benchmarks/serve_fuzz.py): stored figures as pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import measured
from seeahead.bench.markdown import table
from seeahead.errors import counted

Found = Mapping[str, Any]


def crowd_documents(found: Found) -> dict[str, str]:
    """Pages by name."""
    settings, asked = found["settings"], found["asked"]
    drafters = ", ".join(asked["drafter"])
    images = " and ".join(
        f"{number} with {counted(int(images), 'image')}" for images, number in asked["images"].items()
    )
    words = [
        "# A crowd at the server",
        f"{settings['clients']} requests in every mixture of drafters ({drafters}), temperatures "
        f"({', '.join(asked['temperature'])}) with seeds, images ({images}) and most tokens "
        f"({', '.join(asked['max_tokens'])}), each asked alone first. {settings['num_at_once']} share passes; where "
        f"some leave, {settings['clients']} do.",
        table("", ["", "wanted", "measured"], list(map(list, _crowd_rows(found)))),
        *_slow_readers(found),
        f"{measured(found['provenance'])}, executor {settings['executor']}, in {settings['dtype']}, with "
        f"{found['provenance']['hardware']['num_cores']} cores, which clients and server share.",
    ]
    return {"results/serve-crowd.md": "\n\n".join(words) + "\n"}


def _crowd_rows(found: Found) -> list[tuple[str, str, str]]:
    settings, leaving, restart = found["settings"], found["leaving"], found["restart"]
    rounds = found["slow_readers"]["rounds"]
    arms = [one[kind] for one in rounds for kind in ("none", "fast", "slow")]
    num_slow, num_same = settings["readers"] * len(rounds), sum(one["slowly_the_same"] for one in rounds)
    places = (
        f"{leaving['left']} of {leaving['clients']} leave amid their answers, {leaving['running_before']} under way"
    )
    return [
        (f"{settings['clients']} at once: answers as alone", "all", _identical(found["together"])),
        (f"{places}: s until their places are free", f"a step, {leaving['step_under_way']:.2f}", _seconds(leaving)),
        ("answers of those who stay, as alone", "all", _identical(leaving)),
        (
            f"{settings['readers']} readers slow in the place of fast: change of the others' rate",
            "less than 10 %",
            f"{found['slow_readers']['change']:+.1%}".replace("%", " %"),
        ),
        ("answers of the others, as alone", "all", _identical(*arms)),
        ("answers read slowly, as read fast", "all", f"{num_same} of {num_slow}"),
        (f"kill -9 amid {restart['under_way']} answers, started anew: answers as before", "all", _identical(restart)),
    ]


def _identical(*parts: Found) -> str:
    return f"{sum(part['identical'] for part in parts)} of {sum(part['answers'] for part in parts)}"


def _seconds(leaving: Found) -> str:
    return f"{leaving['seconds_until_free']:.2f}"


def _slow_readers(found: Found) -> list[str]:
    rounds, leaving = found["slow_readers"]["rounds"], found["leaving"]
    rates = {kind: ", ".join(f"{one[kind]['rate']:.2f}" for one in rounds) for kind in ("none", "fast", "slow")}
    changes = ", ".join(f"{one['change']:+.1%}".replace("%", " %") for one in rounds)
    unread = min(one["slow"]["unread_bytes"][0] for one in rounds)
    return [
        "Places are free when the server counts neither the answers as running nor their clients as there. The step is "
        "the one amid which they leave, as those who stay see it; of the steps before it the median is "
        f"{leaving['step_p50']:.2f} s, the 95th percentile {leaving['step_p95']:.2f} s.",
        f"Others' answers a second, round by round: {rates['none']} alone, {rates['fast']} beside "
        f"{found['settings']['readers']} further clients that read at once, {rates['slow']} where these read a few "
        f"bytes at a time or nothing (change {changes}). Of each slow reader's answer at least {unread / 1000:.0f} KB "
        "were unread when the load was over: its socket was full, and the server held the rest.",
    ]


def fuzz_documents(found: Found) -> dict[str, str]:
    """Pages by name."""
    settings, source = found["settings"], found["provenance"]
    faults = ", ".join(f"{number} of {kind}" for kind, number in found["faults_by_kind"].items()) or "none"
    limits = sum(found["limits"].values())
    words = [
        "# Requests that no client should send",
        f"{found['requests']:,} requests in {found['took_seconds'] / 60:.0f} minutes, {settings['num_at_once']} at "
        "once: fields, bytes, heads, images and connections as they must not be, and ordinary requests among them, "
        "which must be answered as at the start. `left` is a client that goes away or sends half a request."
        + ("" if settings.get("num_kept", 1) else " Nothing is kept for next turns (`--num-kept 0`), images neither."),
        _statuses(found),
        f"Faults (5xx that is no limit, a wrong answer, silence): {faults}. Tracebacks in the server's log: "
        f"{found['tracebacks']}. Limits told (429, 503, 504): {limits}. Refusals in another form than OpenAI's: "
        f"{sum(found['errors_in_another_form'].values())}. At the end the server "
        f"{'answered' if found['answers_to_the_end'] else 'answered no more'}.",
        "Memory of the server; from the second sixth of the time to the last it grew by "
        f"{found['memory_growth_mib']:.0f} MiB (medians):",
        _memory(found),
        f"{measured(source)}, with {source['hardware']['num_cores']} cores.",
    ]
    return {"results/serve-fuzz.md": "\n\n".join(words) + "\n"}


def _statuses(found: Found) -> str:
    statuses = list(found["statuses"])
    rows = [
        [kind, *(str(own.get(status, "")) for status in statuses)] for kind, own in found["statuses_by_kind"].items()
    ]
    return table("", ["kind", *statuses], [*rows, ["all", *map(str, found["statuses"].values())]])


def _memory(found: Found) -> str:
    """At the sample next to each sixth of the time."""
    samples = found["memory"]
    last = samples[-1]["seconds"]
    at = [min(samples, key=lambda one: abs(one["seconds"] - part * last / 6)) for part in range(7)]
    return table(
        "",
        ["minutes", *(f"{one['seconds'] / 60:.0f}" for one in at)],
        [["MiB", *(f"{one['mib']:.0f}" for one in at)]],
    )
