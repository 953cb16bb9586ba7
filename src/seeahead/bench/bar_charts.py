"""Bars: how many times as fast as plain every method is, over all scenarios and in each of them. Hollow for peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seeahead.bench.charts import WIDTH, Methods, colour, ends_of, line, shortened, straight, svg, text
from seeahead.bench.statistics import Interval
from seeahead.bench.words import heading
from seeahead.errors import counted


def overview(ident: str, methods: Methods) -> dict[str, str]:
    """Over all scenarios, by the word of the figure: whole answers, then decoding, on one scale."""
    titles = {"end to end": "Speed of whole answers over plain", "speed-up": "Speed of decoding over plain"}
    rows = {word: [entry[word] for entry in methods] for word in titles}
    highest = _highest(rows.values())
    return {word: bars(f"{ident}{word[0]}", titles[word], methods, row, highest) for word, row in rows.items()}


def scenarios(ident: str, methods: Methods) -> dict[str, str]:
    """Decoding in every scenario by itself, all on one scale."""
    groups = {name: [entry.groups["scenario"][name] for entry in methods] for name in methods[0].groups["scenario"]}
    rows = {name: [part["ratio of sums"] for part in parts] for name, parts in groups.items()}
    highest, counts = _highest(rows.values()), methods[0].record.scenarios
    return {
        name: bars(
            f"{ident}b{number}", f"Speed-up in {name}, {counted(counts[name], 'question')}", methods, row, highest
        )
        for number, (name, row) in enumerate(rows.items())
    }


def _highest(rows: Iterable[Sequence[Interval | None]]) -> float:
    """Where the scale of bars ends: by the figures, so that one wide interval does not make all bars short."""
    found = [figure for row in rows for figure in row if figure]
    furthest = max((figure.high or figure.value for figure in found), default=0.0)
    return max(1.2, min(furthest, 1.2 * max((figure.value for figure in found), default=0.0)))


def bars(ident: str, title: str, methods: Methods, figures: Sequence[Interval | None], highest: float) -> str:
    """A bar with its interval per method, hollow for peers; the thin upright line is 1, which is plain."""
    left, step = 140.0, 24
    scale = straight(0, highest, left, WIDTH - 48)
    body, described = [line(scale(1), 2, scale(1), step * len(methods), "one")], []
    for number, (entry, figure) in enumerate(zip(methods, figures, strict=True)):
        y, name = step * number + step / 2, heading(entry.method)
        body.append(text(left - 6, y, shortened(name, 21), "end"))
        if figure is None:
            note = "failed" if entry.own.errors else "no figure"
            body.append(text(left + 4, y, note, "start", "quiet"))
            described.append(f"{name}: {note}")
            continue
        end, kind = scale(figure.value), "hollow" if entry.is_peer else "solid"
        body.append(f'<rect class="{kind}" style="--c:{colour(methods, entry.method)}" x="{left}" y="{y - 7}" ')
        body.append(f'width="{max(0.5, end - left):.1f}" height="14" rx="2"/>')
        spread = ""
        for low, high in ends_of(entry, figure):
            a, b = scale(low), scale(min(high, highest))
            body += [line(a, y, b, y, "whisker"), line(a, y - 4, a, y + 4, "whisker")]
            # An interval that goes on beyond the scale ends in an arrow.
            ends = [(b, y - 4, b, y + 4)] if high <= highest else [(b - 4, y - 4, b, y), (b - 4, y + 4, b, y)]
            body += [line(*points, "whisker") for points in ends]
            spread, end = f" ({low:.2f} to {high:.2f})", max(end, b)
        body.append(text(end + 5, y, f"{figure.value:.2f}×", "start", "value"))
        described.append(f"{name} {figure.value:.2f}{spread}")
    return svg(ident, step * len(methods), title, described, body)
