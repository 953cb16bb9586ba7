"""Public data sets, as suites and to train on: how rows of each are read. Which there are is in `public_table`.

A suite is read from a folder in the form in which the data set is published; nothing is downloaded. Training data come
from such a folder (`NAME=FOLDER`), or by their Hub name through the package `datasets`.
"""

from __future__ import annotations

import importlib
import itertools
import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from seeahead.data.files import Row, find_files, find_image, read_rows, store_bytes
from seeahead.data.suite import Item, Suite, Turn, photographs, sampled
from seeahead.errors import InputError
from seeahead.image_formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from seeahead.data.conversations import Conversation
    from seeahead.images import ImageSource

# Validation and test shards before everything else: a folder often holds the training shards too.
TABLES = ("test-*.parquet", "val*.parquet", "*.parquet", "*.tsv")

Texts = Callable[[Row], Sequence[str]]
"""What a row says: its questions, or the names of its images."""
Talk = list[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True)
class PublicSet:
    """Where a data set is from, what its folder holds, and which images a row names."""

    title: str
    hub: str  # owner/name on the Hub
    files: tuple[str, ...]  # globs; the first that finds anything is read
    folders: tuple[str, ...]  # that may hold the images
    images: Texts

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
        names = [path] if isinstance(path, str) and path else self.read(row, self.images)
        homes = [home / inside for home in (row.file.parent, folder) for inside in self.folders]
        return [find_image(name, homes, folder, row.where, suffixes) for name in names]


# ---- as a suite


@dataclass(frozen=True)
class PublicSuite(PublicSet):
    """A data set whose questions are asked."""

    terms: str
    scenario: str  # or "{field}" for a field of the row
    ask: Texts
    key: str = ""  # name of the list inside a JSON object
    keep: Callable[[Row], bool] = lambda row: True
    max_new_tokens: int = 64
    after_image: bool = False  # the question comes second, after a turn about a bundled image

    def layout(self) -> str:
        """What the folder holds, in words."""
        # Shards of a split are found by more patterns; for people they are all parquet files.
        shown_files = [name for name in self.files if name not in TABLES[:-2]]
        files = " or ".join(f"`{name}`".replace(" + ", "` and `") for name in shown_files)
        folders = ", ".join(f"`{name}`" if name else "the folder itself" for name in self.folders)
        return f"{files}; images in {folders}" if folders else files

    def scenario_of(self, row: Row) -> str:
        fields = [field for _, field, _, _ in string.Formatter().parse(self.scenario) if field]
        # A data set without its categories is still a data set: then its own name is the scenario.
        return self.scenario.format(**{field: str(row.values.get(field) or self.title) for field in fields})


def load_public(
    name: str, suite: PublicSuite, *, count: int | None, seed: int, folder: Path | None, workspace: Path
) -> Suite:
    """The data set in `folder`; images out of parquet files are written into `workspace`."""
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
    chosen = sampled(rows, suite.scenario_of, count, f"{seed} bench {name}")
    rng = random.Random(f"{seed} bench {name} pictures")
    return Suite(name, suite.title, tuple(_item(name, suite, row, folder, workspace, rng) for row in chosen))


def _item(name: str, suite: PublicSuite, row: Row, folder: Path, workspace: Path, rng: random.Random) -> Item:
    # Images stand before the first question here, so the markers of their places go.
    texts = [re.sub(r"[ \t]*<image>[ \t]*\n?", " ", text).strip() for text in suite.read(row, suite.ask)]
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


@dataclass(frozen=True)
class PublicTraining(PublicSet):
    """A data set whose conversations are learned from."""

    talk: Callable[[Row], Talk]
    key: str = ""  # name of the list inside a JSON object
    split: str = "train"


def read_public(name: str, entry: PublicTraining, folder: Path | None) -> Iterator[Conversation]:
    """The training conversations of a data set, in its own order, from `folder` or through `datasets`.

    Raises InputError for a folder that does not hold it, a wrong row, or a missing package."""
    return _from_hub(name, entry) if folder is None else _from_folder(name, entry, folder)


def _from_folder(name: str, entry: PublicTraining, folder: Path) -> Iterator[Conversation]:
    files = find_files(folder, entry.files) if folder.is_dir() else []
    if not files:
        wanted = " or ".join(entry.files)
        raise InputError(f"nothing of {name} is in {folder}; get {entry.hub} and put {wanted} there")
    for file in files:
        for row in read_rows(file, folder, entry.key):
            if row.values.get("split", entry.split) == entry.split:
                talk, images = entry.read(row, entry.talk), entry.find_images(row, folder)
                if talk:
                    yield _conversation(talk, tuple(images))


def _from_hub(name: str, entry: PublicTraining) -> Iterator[Conversation]:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            f"{name} by its Hub name needs the package datasets; pip install datasets, or say {name}=FOLDER"
        ) from None
    try:
        rows = datasets.load_dataset(entry.hub, split=entry.split, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no such set, or one that runs code of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot load {entry.hub}: {reason}; get it yourself and say {name}=FOLDER") from None
    for number, values in enumerate(rows, 1):
        talk = entry.read(Row(values, Path(entry.hub), number), entry.talk)
        # A name is of no use without the file: images come decoded, or not at all.
        image = values.get("image")
        if talk and not isinstance(image, str):
            yield _conversation(talk, () if image is None else (image.convert("RGB"),))


def _conversation(talk: Talk, images: tuple[ImageSource, ...]) -> Conversation:
    """Markers as many as images, the first message's if the data set has them, else before it."""
    from seeahead.data.conversations import MARKER, Conversation  # needs PIL, without which suites are named

    if sum(text.count(MARKER) for _, text in talk) != len(images):
        talk = [(role, text.replace(MARKER, "").strip()) for role, text in talk]
        talk[0] = (talk[0][0], MARKER * len(images) + talk[0][1])
    return Conversation(tuple(talk), images)


_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}


def turns(row: Row) -> Talk:
    """LLaVA's and ShareGPT's form. Conversations that do not take turns are left out: ShareGPT has some."""
    talk = [(_ROLES.get(turn["from"], ""), str(turn["value"])) for turn in row.values["conversations"]]
    if talk and talk[0][0] == "assistant":  # begun in the middle
        talk = talk[1:]
    wanted = itertools.cycle(("user", "assistant"))
    alternates = all(role == expected and text.strip() for (role, text), expected in zip(talk, wanted))
    return talk if alternates and len(talk) > 1 else []
