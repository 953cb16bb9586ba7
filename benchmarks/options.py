"""The page of the documents that shows what becomes of every field of a GenerationConfig."""

from __future__ import annotations

from seeahead.option_table import OPTIONS, Option


def options_page() -> str:
    same: dict[tuple[str, str], list[str]] = {}
    for name, option in OPTIONS.items():
        same.setdefault((option.treatment, option.why), []).append(f"`{name}`{_allowed(option)}")
    rows = [f"| {', '.join(names)} | {treatment} | {why} |" for (treatment, why), names in same.items()]
    rows.sort(key=lambda row: "| refused |" not in row)
    return "\n".join([_HEAD, "| field | | how, or what to do |", "|---|---|---|", *rows, ""])


def _allowed(option: Option) -> str:
    values = ", ".join(f"`{value}`" for value in option.allowed if value is not None)
    return f" (allowed: {values})" if option.treatment == "refused" and values else ""


_HEAD = """# Settings

What becomes of every field of transformers' `GenerationConfig`, whether a caller states it
(`engine.generate(..., top_p=0.9)`) or the model's own `generation_config.json` does. The engine, `custom_generate` and
the command line all let transformers read the settings: its defaults, its logits processors, its stopping criteria.
`tests/test_options.py` holds every row against `generate`. A field that is not in this table is refused as soon as it
has a value.
"""
