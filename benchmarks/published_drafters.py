"""The page of the documents that lists drafters others published, from the package's table of them."""

from __future__ import annotations

from seeahead.drafters.at_hand import Format, PublishedDrafter, PublishedTable


def published_page() -> str:
    table = PublishedTable.read()
    formats = table.formats
    listed = [_row(row, table) for row in table.drafters]
    known = [f"| {one.title} | {_checked(one)} |" for one in formats.values()]
    drafters_table = ["| target | drafter | format | licence | |", "|---|---|---|---|---|", *listed]
    formats_table = ["| format | checked here |", "|---|---|", *known]
    return "\n".join([_HEAD, *drafters_table, "", _CHECKED, *formats_table, "", _TAIL])


def _row(row: PublishedDrafter, table: PublishedTable) -> str:
    hub_id = table.targets.get(row.target)
    target = row.target if hub_id is None else f"{row.target} (`{hub_id}`)"
    form = table.formats[row.format]
    notes = ", ".join(filter(None, ["" if form.is_read else "not read", row.note]))
    return f"| {target} | `{row.id}` | {form.title} | {row.licence or 'none seen'} | {notes} |"


def _checked(one: Format) -> str:
    return one.told or "shapes and forward pass of tiny ones: " + ", ".join(one.dialects)


_HEAD = """# Published drafters

Drafters that others published for vision-language models, as they were found in their authors' code, documents and
threads. **None of these weights has been run here**; their formats are tested on tiny copies
([below](#what-was-checked)). A hub id is a drafter as it is: `seeahead generate -m TARGET -d ID`; those marked as not
read are refused. Once one was fetched, `auto`, the default, takes it by itself where its target is loaded by the id
below. Answers are the target's own with any of them. Look up the licence of the weights where none was seen. [How they
are read](methods/published-heads.md): where a file leaves something open, each possible reading is a *dialect*, and a
short *probe* at load finds the right one.
"""
_CHECKED = """## What was checked

No weights of others are part of this repository. Of each format that is a head, tests write tiny checkpoints as its
authors' code does, and compare what is read with an independent float64 reading of the published equations: over
prompts with two images, trees of three levels and several rounds.
"""
_TAIL = """What one brings on your machine is one command:

```
seeahead bench -m TARGET -d none -d ID --data YOURS
```
"""
