"""What a suite is made of, seeded sampling, and where pictures lie: found in a data folder, or kept as files. No torch.

Pictures of a data set are untrusted: here a name is only looked up, and never outside of the data's own folder.
"""

from __future__ import annotations

import hashlib
import io
import random
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, TypeVar

from seeahead.demo.scenarios import PICTURES, Turn, picture_facts
from seeahead.errors import InputError, escaped
from seeahead.errors import shown as shown
from seeahead.picture_formats import PICTURE_SUFFIXES as PICTURE_SUFFIXES
from seeahead.picture_formats import SUFFIXES, format_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

T = TypeVar("T")

DESCRIBE = "Describe the picture in detail."
_MAX_PATH_SHOWN = 300


@dataclass(frozen=True)
class Item:
    """One conversation: pictures, shown with the first turn, and the questions asked one after the other."""

    id: str
    scenario: str
    pictures: tuple[Path, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Suite:
    """Items to measure on. Speed-ups are averaged over scenarios, so that a large one does not decide alone."""

    name: str
    about: str
    items: tuple[Item, ...]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """In the order of their first item."""
        return tuple(dict.fromkeys(item.scenario for item in self.items))


def sampled(entries: Sequence[T], scenario_of: Callable[[T], str], count: int | None, stream: str) -> list[T]:
    """At most `count` entries of each scenario (None: all), in their old order; the same stream draws the same ones."""
    if count is None:
        return list(entries)
    if count < 1:
        raise InputError(f"the number of items per scenario is {count}; give 1 or more, or leave it out for all")
    by_scenario: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        by_scenario.setdefault(scenario_of(entry), []).append(index)
    chosen: set[int] = set()
    for scenario, indices in by_scenario.items():
        # One stream per scenario: a scenario that grows does not change what is drawn from the others.
        chosen.update(random.Random(f"{stream} {scenario}").sample(indices, min(count, len(indices))))
    return [entry for index, entry in enumerate(entries) if index in chosen]


def photographs() -> list[Path]:
    """The bundled photographs; all were held out when the demo model was trained."""
    return [PICTURES / name for name, facts in picture_facts().items() if facts["kind"] == "photograph"]


def told(path: Path) -> str:
    """The path of a data file as it may stand in a message."""
    return escaped(str(path), _MAX_PATH_SHOWN)


def find_picture(
    name: str, roots: Sequence[Path], folder: Path, where: str, suffixes: Sequence[str] = PICTURE_SUFFIXES
) -> Path:
    """The file called `name` under the first of `roots` that has it; refused where it would leave `folder`.

    `where` is the start of every message: the file and line that name the picture."""
    inside = PurePosixPath(name.replace("\\", "/"))
    if inside.is_absolute() or PureWindowsPath(name).drive or ".." in inside.parts:
        raise InputError(f"{where}: the picture {shown(name)} leaves the folder of the data; give a path inside it")
    if inside.suffix.lower() not in suffixes:
        allowed = ", ".join(suffix for suffix in suffixes if suffix)
        raise InputError(f"{where}: {shown(name)} does not end like a picture; allowed: {allowed}")
    for root in roots:
        path = root / inside
        if not _is_file(path):
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{where}: the picture {shown(name)} is a link out of the folder {told(folder)}; copy it there"
            )
        return path
    looked = " or ".join(dict.fromkeys(told(root) for root in roots))
    raise InputError(f"{where}: no picture {shown(name)} in {looked}; put it there or correct the name")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a zero byte, or a folder that must not be read
        return False


def store_bytes(workspace: Path, data: bytes, where: str) -> Path:
    """The bytes of a picture file, kept under a name made from their hash."""
    kind = format_of(data)
    if kind not in SUFFIXES:
        kinds = ", ".join(suffixes[0][1:] for suffixes in SUFFIXES.values())
        raise InputError(f"{where}: the picture in it is none of {kinds}; convert it first")
    return _store(workspace, hashlib.sha256(data).hexdigest()[:20] + SUFFIXES[kind][0], lambda: data)


def store_picture(workspace: Path, picture: Picture) -> Path:
    """A picture made here, kept as PNG. Named by its pixels: PNG files differ between versions of Pillow."""
    digest = hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes())

    def encode() -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    return _store(workspace, digest.hexdigest()[:20] + ".png", encode)


def _store(workspace: Path, name: str, content: Callable[[], bytes]) -> Path:
    """Written beside and renamed, so that an interrupted run leaves no half picture; what is there is used again."""
    path = workspace / name
    temporary = workspace / f".{name}.{uuid.uuid4().hex}.tmp"
    try:
        if not path.is_file():
            workspace.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content())
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        reason = error.strerror or error
        where = told(workspace)
        raise InputError(f"cannot write a picture into {where}: {reason}; choose a folder to write to") from None
    return path
