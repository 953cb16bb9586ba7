"""Public data sets as suites: how a row of each becomes an item. The table of them is in `public_table`.

Nothing is downloaded: a data set is read from a folder in the form in which it is published.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seeahead.data.items import PICTURE_SUFFIXES, Item, Suite, find_picture, photographs, sampled, shown, store_bytes
from seeahead.data.public_rows import Row, find_files, read_rows
from seeahead.demo.scenarios import Turn
from seeahead.errors import InputError

# Validation and test shards before everything else: a folder often holds the training shards too.
TABLES = ("test-*.parquet", "val*.parquet", "*.parquet", "*.tsv")

Ask = Callable[[Row], Sequence[str]]
Show = Callable[[Row], Sequence[str]]


@dataclass(frozen=True)
class PublicSuite:
    """One data set: where it is from, what its folder holds, and how a row is read."""

    title: str
    hub: str  # owner/name on the Hub
    terms: str
    scenario: str  # or "{field}" for a field of the row
    files: tuple[str, ...]  # globs; the first that finds anything is read
    pictures: tuple[str, ...]  # folders that may hold the pictures
    ask: Ask
    show: Show
    key: str = ""  # name of the list inside a JSON object
    keep: Callable[[Row], bool] = lambda row: True
    max_new_tokens: int = 64
    after_picture: bool = False  # the question comes second, after a turn about a bundled picture

    def layout(self) -> str:
        """What the folder holds, in words."""
        # Shards of a split are found by more patterns; for people they are all parquet files.
        shown_files = [name for name in self.files if name not in TABLES[:-2]]
        files = " or ".join(f"`{name}`".replace(" + ", "` and `") for name in shown_files)
        folders = ", ".join(f"`{name}`" if name else "the folder itself" for name in self.pictures)
        return f"{files}; pictures in {folders}" if folders else files


def load_public(
    name: str, suite: PublicSuite, *, count: int | None, seed: int, folder: Path | None, workspace: Path
) -> Suite:
    """The data set in `folder`; pictures out of parquet files are written into `workspace`."""
    holds = suite.layout().replace("`", "")
    get = f"get {suite.hub} yourself and say seeahead bench --suite {name} --folder FOLDER; FOLDER holds {holds}"
    if folder is None:
        raise InputError(f"suite {name} ({suite.title}) is not fetched for you: {get}")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: {get}")
    files = find_files(folder, suite.files)
    if not files:
        raise InputError(f"nothing of suite {name} is in {folder}: {get}")
    rows = [row for file in files for row in read_rows(file, folder, suite.key) if suite.keep(row)]
    if not rows:
        raise InputError(f"{', '.join(str(file) for file in files[:3])} has no row for suite {name}; see its page")
    chosen = sampled(rows, lambda row: _scenario(suite, row), count, f"{seed} bench {name}")
    rng = random.Random(f"{seed} bench {name} pictures")
    items = tuple(_item(name, suite, row, folder, workspace, rng) for row in chosen)
    return Suite(name, suite.title, items)


def _scenario(suite: PublicSuite, row: Row) -> str:
    fields = [field for _, field, _, _ in string.Formatter().parse(suite.scenario) if field]
    # A data set without its categories is still a data set: then its own name is the scenario.
    values = {field: str(row.values.get(field) or suite.title) for field in fields}
    return suite.scenario.format(**values)


def _item(name: str, suite: PublicSuite, row: Row, folder: Path, workspace: Path, rng: random.Random) -> Item:
    try:
        texts = [without_placeholders(text) for text in suite.ask(row)]
        names = [] if row.embedded else list(_named(suite, row))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{row.where} is not a row of {suite.title} ({reason}); get {suite.hub}") from None
    if not texts or not all(texts):
        raise InputError(f"{row.where} has an empty question; the file is damaged, get {suite.hub} again")
    homes = [home / inside for home in (row.file.parent, folder) for inside in suite.pictures]
    suffixes = (*PICTURE_SUFFIXES, "")  # pictures of SEED-Bench have no ending
    pictures = [find_picture(picture, homes, folder, row.where, suffixes) for picture in names]
    if row.embedded:
        pictures = [store_bytes(workspace, data, row.where) for data in row.embedded()]
    turns = tuple(Turn(text, suite.max_new_tokens) for text in texts)
    if suite.after_picture:
        pictures = [rng.choice(photographs())]
        turns = (Turn("What is in the picture?", 48), *turns)
    return Item(
        f"{name} {row.file.relative_to(folder).as_posix()} {row.number}", _scenario(suite, row), tuple(pictures), turns
    )


def _named(suite: PublicSuite, row: Row) -> Sequence[str]:
    """Names of the row's pictures; tables may say where the picture lies in a column of its own."""
    path = row.values.get("image_path")
    return [path] if isinstance(path, str) and path else suite.show(row)


def without_placeholders(text: str) -> str:
    """Pictures stand before the first question here, so the markers of their places go."""
    return re.sub(r"[ \t]*<image>[ \t]*\n?", " ", text).strip()


def field(*names: str) -> Ask:
    """The first of these fields that the row has."""

    def ask(row: Row) -> Sequence[str]:
        for name in names:
            if isinstance(value := row.values.get(name), str):
                return [value]
        raise KeyError(" or ".join(names))

    return ask


def always(text: str) -> Ask:
    return lambda row: [text]


def each(name: str) -> Ask:
    """A field that is a list of texts, or one text."""

    def ask(row: Row) -> Sequence[str]:
        value = row.values[name]
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} is {shown(str(value))}, not texts")
        return texts

    return ask


def if_any(name: str) -> Show:
    """The same for a field that a row without pictures leaves out."""
    return lambda row: each(name)(row) if row.values.get(name) else []


def explained(ask: Ask) -> Ask:
    """TABED asks for the reasoning, so that answers are long. The words are ours."""
    return lambda row: [f"Answer the question and explain in detail how you reach the answer.\n{q}" for q in ask(row)]


def step_by_step(ask: Ask) -> Ask:
    return lambda row: [f"{question}\nExplain in detail, step by step." for question in ask(row)]


def conversation(row: Row) -> Sequence[str]:
    """The human side of a LLaVA conversation; tables of the same data set have one question instead."""
    if "conversations" not in row.values:
        return field("question")(row)
    return [turn["value"] for turn in row.values["conversations"] if turn["from"] == "human"]


def with_options(row: Row) -> Sequence[str]:
    """Question and lettered options, from a list, from choice_a … or from columns A …; a hint comes first."""
    values = row.values
    options: Sequence[Any] = values.get("choices") or [
        values[name] for letter in "abcd" for name in (f"choice_{letter}", letter.upper()) if values.get(name)
    ]
    if not options:
        raise KeyError("choices")
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options)]
    start = [values["hint"]] if values.get("hint") else []
    return ["\n".join([*start, values["question"], *lines])]


def template(form: str) -> Show:
    """A file name made from fields of the row, such as "{image_id}.jpg"."""
    return lambda row: [form.format(**row.values)]


def last_part(name: str) -> Show:
    """The file name without the folders that the annotation puts before it."""
    return lambda row: [PurePosixPath(row.values[name]).name]


def coco_picture(row: Row) -> Sequence[str]:
    """VQAv2 names a picture by its number; the split is in the name of the question file."""
    split = re.search(r"(train|val|test)20\d\d", row.file.stem)
    if split is None:
        raise ValueError("the file name has no COCO split such as val2014")
    return [f"COCO_{split.group()}_{row.values['image_id']:012d}.jpg"]


def science_picture(row: Row) -> Sequence[str]:
    values = row.values
    return [f"{values['split']}/{values['id']}/{values['image']}"] if values.get("image") else []


def no_picture(row: Row) -> Sequence[str]:
    return []


def part_of(dataset: str) -> Callable[[Row], bool]:
    """Rows of one data set among those that LLaVA-NeXT-Interleave-Bench has in one file."""

    def keep(row: Row) -> bool:
        metadata = row.values.get("metadata")
        inner = metadata.get("dataset") if isinstance(metadata, Mapping) else None
        return bool(row.values.get("sub_task", inner) == dataset)

    return keep
