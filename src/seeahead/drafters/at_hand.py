"""Drafters that this machine has for a target: those trained here, and published ones that were fetched before.

They are found by the target's name alone, so that the name of a drafter is checked before any weights are read; its own
folder says later whether it fits. Nothing is fetched.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from huggingface_hub import try_to_load_from_cache

from seeahead.cache_folder import default_cache
from seeahead.checked import AS_TUPLE, checked, is_folder, matching, read_json, several
from seeahead.drafters.folder import Folder
from seeahead.drafters.formats import weight_files
from seeahead.errors import DrafterError, ModelError, SeeaheadError, shown
from seeahead.provenance import write_json

PUBLISHED = Path(__file__).with_name("published.toml")
_TEXT = matching(r"\S", "a text")


@dataclass(frozen=True)
class Format:
    """`dialects`: those in which tests compare tiny checkpoints with an independent reading; `told` in their place.
    `is_read`: whether a drafter of it can be loaded."""

    title: Annotated[str, _TEXT]
    dialects: Annotated[tuple[str, ...], AS_TUPLE, several("names", 0)] = ()
    told: str = ""
    is_read: bool = True


@dataclass(frozen=True)
class PublishedDrafter:
    """One row; `licence` is empty where none was seen."""

    target: Annotated[str, _TEXT]
    id: Annotated[str, matching(r"^[\w.-]+/[\w.-]+$", "owner/name")]
    format: str
    licence: str = ""
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """Hub ids of targets by what they are called, formats by name, and the drafters."""

    targets: dict[str, str]
    formats: dict[str, Format]
    drafters: tuple[PublishedDrafter, ...]

    @classmethod
    def read(cls) -> PublishedTable:
        given = tomllib.loads(PUBLISHED.read_text("utf-8"))
        formats = {name: checked(Format, row, name) for name, row in given["formats"].items()}
        rows = tuple(checked(PublishedDrafter, row, str(row["id"])) for row in given["drafters"])
        return cls(given["targets"], formats, rows)


@dataclass(frozen=True)
class _Trained:
    """A drafter's folder, and the target it was trained for."""

    target: Annotated[str, _TEXT]
    folder: Annotated[str, _TEXT]


def at_hand(target: str | Path) -> dict[str, Path]:
    """Folders of the drafters for a target (a folder or a hub id), by kind. Of each the one trained last, else the
    published one fetched last."""
    found: dict[str, Path] = {}
    fetched = sorted(_fetched_for(target), key=lambda folder: -folder.stat().st_mtime)
    for folder in (*_trained_for(target), *fetched):
        with suppress(SeeaheadError):  # it was moved, or is no drafter's any more
            found.setdefault(Folder.read(folder).kind, folder)
    return found


def remember(target: str, folder: Path) -> None:
    """A drafter that was trained here: `at_hand` finds it as long as its folder stays."""
    record = _Trained(_name_of(target), str(folder.absolute()))
    write_json(_place(record.target) / f"{Folder.read(folder).kind}.json", asdict(record))


def _trained_for(target: str | Path) -> Iterator[Path]:
    with suppress(SeeaheadError, OSError):  # no home folder
        name = _name_of(target)
        names = (name,) if is_folder(target) else dict.fromkeys((name, name.partition("@")[0]))  # of any revision, too
        for path in (path for name in names for path in sorted(_place(name).glob("*.json"))):
            with suppress(SeeaheadError):  # damaged: the next training writes it again
                folder = Path(checked(_Trained, read_json(path, "train it again", ModelError), path.name).folder)
                if weight_files(folder)[0].is_file():
                    yield folder


def _fetched_for(target: str | Path) -> Iterator[Path]:
    """What the hub's cache has, as it is."""
    name, table = str(target).partition("@")[0], PublishedTable.read()
    titles = {title for title, hub_id in table.targets.items() if hub_id == name}
    for row in table.drafters:
        if row.target in titles and table.formats[row.format].is_read:
            folder = in_hub_cache(row.id)
            if folder is not None and weight_files(folder)[0].is_file():
                yield folder


def check_published(name: str) -> None:
    """Raises DrafterError for a hub id that is known for a drafter of a form that is not read here."""
    table = PublishedTable.read()
    for row in table.drafters:
        if row.id == name.partition("@")[0] and not table.formats[row.format].is_read:
            about = row.note or table.formats[row.format].title
            raise DrafterError(
                f"drafter {shown(name)} has a form of its own ({about}), which is not read here; "
                "docs/published-drafters.md lists those that are"
            )


def here(source: str | Path) -> Path | None:
    """The folder of a drafter or a model that was loaded before."""
    return Path(source) if is_folder(source) else in_hub_cache(str(source))


def in_hub_cache(name: str) -> Path | None:
    """The folder of a hub id, with `@` and a revision behind it or without, where the hub's cache here has it."""
    owner, _, revision = name.partition("@")
    found: object = None
    with suppress(ValueError):  # it is no id that the hub could have
        found = try_to_load_from_cache(owner, "config.json", revision=revision or None)
    return Path(found).parent if isinstance(found, str) else None


def _place(name: str) -> Path:
    return default_cache() / "drafters" / hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _name_of(target: str | Path) -> str:
    """A folder by where it is, a hub id without the revision that is the hub's own."""
    return str(Path(target).resolve()) if is_folder(target) else str(target).removesuffix("@").removesuffix("@main")
