"""Several charts as one image that stands alone, such as a README shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from seeahead.bench.charts import WIDTH
from seeahead.bench.html import TEMPLATES

_ALONE = """.chart { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.chart text.heading { font-size: 14px; font-weight: 600; }"""


def grid(title: str, drawn: Sequence[tuple[str, str]], num_columns: int) -> str:
    """(heading, chart) in rows and columns, as one SVG file."""
    margin, above = 20.0, 34.0
    cell = WIDTH + 2 * margin
    body, top = [], 8.0
    for start in range(0, len(drawn), num_columns):
        row = drawn[start : start + num_columns]
        for number, (heading, chart) in enumerate(row):
            left = number * cell + margin
            place = f'x="{left:g}" y="{top + above:g}" width="{WIDTH}" height="{_height(chart):g}"'
            words = f'<text class="heading" x="{left:g}" y="{top + above / 2:g}">{escape(heading)}</text>'
            body.append(words)
            body.append(chart.replace("<svg ", f"<svg {place} ", 1))
        top += above + max(_height(chart) for _, chart in row) + margin
    width, style = num_columns * cell, (TEMPLATES / "charts.css").read_text(encoding="utf-8").strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 {width:g} {top:g}" '
        f'width="{width:g}" height="{top:g}"><title>{escape(title)}</title><style>{style}\n{_ALONE}</style>'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{"".join(body)}</svg>\n'
    )


def _height(chart: str) -> float:
    return float(chart.partition('viewBox="0 0 ')[2].partition('"')[0].split()[1])
