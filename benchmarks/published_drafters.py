"""The page of the documents that lists drafters others published, from the package's table of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from seeahead import drafters
from seeahead.checked import AS_TUPLE, checked, matching, several

REGISTRY = Path(drafters.__file__).with_name("published.toml")
_TEXT = matching(r"\S", "")


@dataclass(frozen=True)
class Format:
    """`dialects`: those in which tests compare tiny checkpoints with an independent reading; `told` in their place."""

    title: Annotated[str, _TEXT]
    dialects: Annotated[tuple[str, ...], AS_TUPLE, several("names", 0)] = ()
    told: str = ""

    @property
    def checked(self) -> str:
        return self.told or "shapes and forward pass of tiny ones: " + ", ".join(self.dialects)


@dataclass(frozen=True)
class PublishedDrafter:
    """One row; `licence` is empty where none was seen."""

    target: Annotated[str, _TEXT]
    id: Annotated[str, matching(r"^[\w.-]+/[\w.-]+$", "owner/name")]
    format: str
    licence: str = ""
    note: str = ""


def registry() -> tuple[dict[str, Format], list[PublishedDrafter]]:
    """Formats by name, and the drafters."""
    given = tomllib.loads(REGISTRY.read_text("utf-8"))
    formats = {name: checked(Format, row, name) for name, row in given["formats"].items()}
    return formats, [checked(PublishedDrafter, row, str(row["id"])) for row in given["drafters"]]


def published_page() -> str:
    formats, rows = registry()
    listed = [
        f"| {row.target} | `{row.id}` | {formats[row.format].title} | {row.licence or 'none seen'} | {row.note} |"
        for row in rows
    ]
    known = [f"| {one.title} | {one.checked} |" for one in formats.values()]
    drafters_table = ["| target | drafter | format | licence | |", "|---|---|---|---|---|", *listed]
    formats_table = ["| format | checked here |", "|---|---|", *known]
    return "\n".join([_HEAD, *drafters_table, "", _CHECKED, *formats_table, "", _TAIL])


_HEAD = """# Published drafters

Drafters that others published for vision-language models, as they were found in their authors' code, documents and
threads. A hub id is a drafter as it is: `seeahead generate -m TARGET -d ID`. Answers are the target's own with any of
them. Look up the licence of the weights where none was seen. [How they are read](methods/published-heads.md): where a
file leaves something open, each possible reading is a *dialect*, and a short *probe* at load finds the right one.
"""
_CHECKED = """## What was checked

No weights of others are part of this repository, and none were run for this page. Of each format that is a head, tests
write tiny checkpoints as its authors' code does, and compare what is read with an independent float64 reading of the
published equations: over prompts with two images, trees of three levels and several rounds.
"""
_TAIL = """What one brings on your machine is one command:

```
seeahead bench -m TARGET -d none -d ID --data YOURS
```
"""
