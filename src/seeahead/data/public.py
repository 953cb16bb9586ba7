"""Public data sets, to ask and to train on: `public.toml` says which there are, and here is what their rows say.

Both are read from a folder in the form in which the data set is published; nothing is downloaded. Training data come
from such a folder (`NAME=FOLDER`), or by their Hub name through the package `datasets`.
"""

from __future__ import annotations

import importlib
import itertools
import random
import re
import string
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from seeahead.data.files import Row, find_files, find_image, read_rows, store_bytes
from seeahead.data.suite import Item, Suite, Turn, photographs, sampled
from seeahead.errors import InputError, shown
from seeahead.image_formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from seeahead.images import ImageSource

CAPTION = "Describe the picture in one sentence."
# Validation and test shards before everything else: a folder often holds the training shards too.
TABLES = ("test-*.parquet", "val*.parquet", "*.parquet", "*.tsv")

Talk = list[tuple[str, str]]
"""Texts by role, one after the other."""
T = TypeVar("T")


@dataclass(frozen=True)
class PublicSet:
    """A data set as `public.toml` has it: where it is from, what its folder holds, what is read out of a row.

    `images` and `ask` are forms (see `said`), `talk` is one of `TALKS`."""

    title: str
    hub: str  # owner/name on the Hub
    files: Sequence[str]  # globs; the first that finds anything is read
    folders: Sequence[str] = ()  # that may hold the images
    key: str = ""  # name of the list inside a JSON object
    only: Mapping[str, str] = field(default_factory=dict)  # fields and what they must say; rows may lack them
    images: str = ""
    may_lack_images: bool = False  # where the field "image" is empty or not there
    terms: str = ""
    scenario: str = ""  # or "{field}" for a field of the row
    ask: str = ""
    before: str = ""  # every question
    after: str = ""
    max_new_tokens: int = 64
    after_image: bool = False  # the question comes second, after a turn about a bundled image
    talk: str = ""
    hub_has_images: bool = True  # whether the Hub's rows have their images

    def layout(self) -> str:
        """What the folder holds, in words."""
        # Shards of a split are found by more patterns; for people they are all parquet files.
        shown_files = [name for name in self.files if name not in TABLES[:-2]]
        files = " or ".join(f"`{name}`".replace(" + ", "` and `") for name in shown_files)
        folders = ", ".join(f"`{name}`" if name else "the folder itself" for name in self.folders)
        return f"{files}; images in {folders}" if folders else files

    def rows(self, folder: Path, missing: str) -> Iterator[Row]:
        """Those that are wanted, of the files in `folder`. Raises InputError, with the text `missing`, without any."""
        files = find_files(folder, self.files) if folder.is_dir() else []
        if not files:
            raise InputError(missing)
        for file in files:
            yield from filter(self._is_wanted, read_rows(file, folder, self.key))

    def _is_wanted(self, row: Row) -> bool:
        values = row.values
        if "sub_task" in self.only:  # which the files of LLaVA-NeXT-Interleave-Bench say in two ways
            metadata = values.get("metadata")
            values = {"sub_task": metadata.get("dataset") if isinstance(metadata, Mapping) else None, **values}
        return all(values.get(name, wanted) == wanted for name, wanted in self.only.items())

    def read(self, row: Row, part: Callable[[Row], T]) -> T:
        try:
            return part(row)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{row.where} is not a row of {self.title} ({reason}); get {self.hub}") from None

    def find_images(self, row: Row, folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
        """Files of the row's images; tables may say where an image lies in a column of its own."""
        path = row.values.get("image_path")
        if isinstance(path, str) and path:
            names = [path]
        elif not self.images or (self.may_lack_images and not row.values.get("image")):
            names = []
        else:
            names = self.read(row, partial(said, self.images))
        homes = [home / inside for home in (row.file.parent, folder) for inside in self.folders]
        return [find_image(name, homes, folder, row.where, suffixes) for name in names]

    def scenario_of(self, row: Row) -> str:
        fields = [name for _, name, _, _ in string.Formatter().parse(self.scenario) if name]
        # A data set without its categories is still a data set: then its own name is the scenario.
        return self.scenario.format(**{name: str(row.values.get(name) or self.title) for name in fields})


def _registered(kind: str) -> dict[str, PublicSet]:
    text = Path(__file__).with_name("public.toml").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = tomllib.loads(text)[kind]
    found = {}
    for name, entry in entries.items():
        values = {**entries.get(entry.pop("like", ""), {}), **entry}
        files = [pattern for glob in values["files"] for pattern in (TABLES if glob == "tables" else (glob,))]
        found[name] = PublicSet(**{**values, "files": files})
    return found


SUITES: Mapping[str, PublicSet] = _registered("suites")
TRAINING: Mapping[str, PublicSet] = _registered("training")

# ---- what a row says


def said(form: str, row: Row) -> list[str]:
    """What a row says by one of `FORMS`, or by a text with the names of fields in it, such as "{image_id}.jpg".

    A field that stands alone may be a list of texts; of "{text|question}" the first that the row has is taken."""
    if form in FORMS:
        return FORMS[form](row)
    alone = re.fullmatch(r"\{([\w|]+)\}", form)
    if alone is None:
        return [form.format(**row.values)]
    name = next((name for name in alone[1].split("|") if row.values.get(name) is not None), alone[1])
    value = row.values[name]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} is {shown(str(value))}, not texts")
    return texts


def _human_side(row: Row) -> list[str]:
    """Of a LLaVA conversation; tables of the same data set have one question instead."""
    if "conversations" not in row.values:
        return said("{question}", row)
    return [turn["value"] for turn in row.values["conversations"] if turn["from"] == "human"]


def lettered(options: Sequence[Any]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options)]


def _with_options(row: Row) -> list[str]:
    """Question and lettered options, from a list, from choice_a … or from columns A …; a hint comes first."""
    values = row.values
    options: Sequence[Any] = values.get("choices") or [
        values[name] for letter in "abcd" for name in (f"choice_{letter}", letter.upper()) if values.get(name)
    ]
    if not options:
        raise KeyError("choices")
    start = [values["hint"]] if values.get("hint") else []
    return ["\n".join([*start, values["question"], *lettered(options)])]


def _coco_image(row: Row) -> list[str]:
    """By its number; the split is in the name of the file of questions or captions."""
    split = re.search(r"(train|val|test)20\d\d", row.file.stem)
    if split is None:
        raise ValueError("the file name has no COCO split such as val2014")
    before = "" if split.group().endswith("2017") else f"COCO_{split.group()}_"  # no longer in newer names
    return [f"{before}{row.values['image_id']:012d}.jpg"]


FORMS: Mapping[str, Callable[[Row], list[str]]] = {
    "human side": _human_side,
    "options": _with_options,
    "COCO image": _coco_image,
    "name of the image": lambda row: [PurePosixPath(row.values["image"]).name],
}

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}


def _turns(row: Row) -> Talk:
    """LLaVA's and ShareGPT's form. Conversations that do not take turns are left out: ShareGPT has some."""
    talk = [(_ROLES.get(turn["from"], ""), str(turn["value"])) for turn in row.values["conversations"]]
    if talk and talk[0][0] == "assistant":  # begun in the middle
        talk = talk[1:]
    wanted = itertools.cycle(("user", "assistant"))
    alternates = all(role == expected and text.strip() for (role, text), expected in zip(talk, wanted))
    return talk if alternates and len(talk) > 1 else []


def _caption(row: Row) -> Talk:
    found = row.values.get("caption") or row.values.get("answer")
    text = found[0] if isinstance(found, list) and found else found
    return [("user", CAPTION), ("assistant", str(text))] if text else []


def _science(row: Row) -> Talk:
    """The answer is the letter's option with its rationale."""
    values, (asked,) = row.values, _with_options(row)
    reason = f" {values['solution']}" if values.get("solution") else ""
    answer = lettered(values["choices"])[values["answer"]]
    return [("user", f"{asked}\nAnswer and give the reason."), ("assistant", f"{answer}.{reason}")]


TALKS: Mapping[str, Callable[[Row], Talk]] = {"turns": _turns, "caption": _caption, "science": _science}

# ---- to ask


def load_public(name: str, *, count: int | None, seed: int, folder: Path | None, workspace: Path) -> Suite:
    """The suite of that name in `folder`; images out of parquet files are written into `workspace`."""
    suite = SUITES[name]
    holds = suite.layout().replace("`", "")
    get = f"get {suite.hub} yourself and say seeahead bench --suite {name} --folder FOLDER; FOLDER holds {holds}"
    if folder is None:
        raise InputError(f"suite {name} ({suite.title}) is not fetched for you: {get}")
    rows = list(suite.rows(folder, f"nothing of suite {name} is in {folder}: {get}"))
    if not rows:
        files = ", ".join(str(file) for file in find_files(folder, suite.files)[:3])
        raise InputError(f"{files} has no row for suite {name}; see its page")
    chosen = sampled(rows, suite.scenario_of, count, f"{seed} bench {name}")
    rng = random.Random(f"{seed} bench {name} pictures")
    return Suite(name, suite.title, tuple(_item(name, suite, row, folder, workspace, rng) for row in chosen))


def _item(name: str, suite: PublicSet, row: Row, folder: Path, workspace: Path, rng: random.Random) -> Item:
    asked = [f"{suite.before}{text}{suite.after}" for text in suite.read(row, partial(said, suite.ask))]
    # Images stand before the first question here, so the markers of their places go.
    texts = [re.sub(r"[ \t]*<image>[ \t]*\n?", " ", text).strip() for text in asked]
    if not texts or not all(texts):
        raise InputError(f"{row.where} has an empty question; the file is damaged, get {suite.hub} again")
    if row.embedded:
        images = [store_bytes(workspace, data, row.where) for data in row.embedded()]
    else:
        images = suite.find_images(row, folder, (*IMAGE_SUFFIXES, ""))  # images of SEED-Bench have no ending
    turns = tuple(Turn(text, suite.max_new_tokens) for text in texts)
    if suite.after_image:
        images = [rng.choice(photographs())]
        turns = (Turn("What is in the picture?", 48), *turns)
    place = row.file.relative_to(folder).as_posix()
    return Item(f"{name} {place} {row.number}", suite.scenario_of(row), tuple(images), turns)


# ---- to train on


def read_public(name: str, folder: Path | None) -> Iterator[tuple[Talk, tuple[ImageSource, ...]]]:
    """The training conversations of a data set and their images, in its own order, from `folder` or by `datasets`.

    Raises InputError for a folder that does not hold it, a wrong row, or a missing package."""
    entry = TRAINING[name]
    if folder is None:
        if not entry.hub_has_images:
            raise InputError(f"{entry.hub} names images that lie elsewhere; get them too, and say {name}=FOLDER")
        yield from _from_hub(name, entry)
        return
    wanted = " or ".join(entry.files)
    for row in entry.rows(folder, f"nothing of {name} is in {folder}; get {entry.hub} and put {wanted} there"):
        talk, images = entry.read(row, TALKS[entry.talk]), entry.find_images(row, folder)
        if talk:
            yield talk, tuple(images)


def _from_hub(name: str, entry: PublicSet) -> Iterator[tuple[Talk, tuple[ImageSource, ...]]]:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            f"{name} by its Hub name needs the package datasets; pip install datasets, or say {name}=FOLDER"
        ) from None
    try:
        rows = datasets.load_dataset(entry.hub, split=entry.only["split"], streaming=True)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no such set, or one that runs code of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot load {entry.hub}: {reason}; get it yourself and say {name}=FOLDER") from None
    number, left = 0, iter(rows)
    while True:
        number += 1
        try:
            values = next(left)
            image = values.get("image")
            images = () if image is None else (image.convert("RGB"),)  # they come decoded
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - whatever a network, a damaged table or an image raises there
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"cannot read row {number} of {entry.hub}: {reason}; get it yourself and say {name}=FOLDER"
            ) from None
        if talk := entry.read(Row(values, Path(entry.hub), number), TALKS[entry.talk]):
            yield talk, images
