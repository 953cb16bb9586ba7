"""Tables of the documents: every field of a GenerationConfig, the options of commands, the settings of drafters."""

from __future__ import annotations

import argparse

from seeahead.cli import VERBS, parser_of
from seeahead.drafters import KINDS, spec_class
from seeahead.option_table import OPTIONS, Option


def options_page() -> str:
    same: dict[tuple[str, str], list[str]] = {}
    for name, option in OPTIONS.items():
        same.setdefault((option.treatment, option.why), []).append(f"`{name}`{_allowed(option)}")
    rows = [f"| {', '.join(names)} | {treatment} | {why} |" for (treatment, why), names in same.items()]
    rows.sort(key=lambda row: "| refused |" not in row)
    return "\n".join([_HEAD, "| field | | how, or what to do |", "|---|---|---|", *rows, ""])


def command_options() -> str:
    """Every option of every command, as its parser has it; and every setting of every drafter."""
    parts = []
    for verb in VERBS:
        rows = [_row(action) for action in parser_of(verb)._actions if action.dest not in _EVERYWHERE]
        if rows:
            parts.append("\n".join([f"### {verb}", "", "| option | |", "|---|---|", *rows]))
    head = "### Settings of drafters\n\nBehind a colon, as in `-d language:chain=5,as=short`."
    table = ["| drafter | setting | default | |", "|---|---|---|---|", *_settings()]
    return "\n\n".join([*parts, head, "\n".join(table)])


_EVERYWHERE = ("help", "quiet", "verbose", "debug")


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    value = f" {action.metavar}" if isinstance(action.metavar, str) and action.option_strings else ""
    told = (action.help or "").replace("%%", "%").replace("|", "\\|")
    return f"| {names}{value} | {told} |"


def _settings() -> list[str]:
    """A row for each setting, with the drafters that have it."""
    same: dict[str, list[str]] = {}
    for kind in KINDS:
        for name, field in spec_class(kind).model_fields.items():
            if field.description and not field.exclude:
                default = field.default if isinstance(field.default, int | float | str) else ""
                told = field.description.replace("|", "\\|")
                row = f"`{field.alias or name}` | {f'`{default}`' if default != '' else ''} | {told} |"
                same.setdefault(row, []).append(f"`{kind}`")
    return [f"| {', '.join(kinds)} | {row}" for row, kinds in same.items()]


def _allowed(option: Option) -> str:
    values = ", ".join(f"`{value}`" for value in option.allowed if value is not None)
    return f" (allowed: {values})" if option.treatment == "refused" and values else ""


_HEAD = """# Settings

What becomes of every field of transformers' `GenerationConfig`, whether a caller states it
(`engine.generate(..., top_p=0.9)`) or the model's own `generation_config.json` does. The engine, `custom_generate` and
the command line all let transformers read the settings: its defaults, its logits processors, its stopping criteria.
`tests/test_options.py` holds every row against `generate`. A field that is not in this table is refused as soon as it
has a value. A seed is taken with a greedy answer too, and has no effect there.
"""
