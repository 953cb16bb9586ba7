"""Your own data as a suite: a folder of images, or a .jsonl file in the format of MMSpec, every line checked."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from seeahead.checked import AS_TUPLE, allowed_in, check_letters, checked, matching, several, whole
from seeahead.data.files import EXAMPLE, find_image, read_lines, told
from seeahead.data.suite import DESCRIBE, Item, Suite, Turn, sampled
from seeahead.errors import InputError, escaped, shown
from seeahead.image_formats import IMAGE_SUFFIXES

_Text = Annotated[str, matching(r"\S", "a text")]
_AnyText = Annotated[str, Field(strict=True)]
_Number = Annotated[int, Field(strict=True)]
EXPECTED = f"images ({', '.join(IMAGE_SUFFIXES)}) or one .jsonl file with lines such as {EXAMPLE}"
_MOST_TOKENS = 1_000_000
_Limit = Annotated[int, whole(1, _MOST_TOKENS)]
IMAGES_SCENARIO, QUESTIONS_SCENARIO = "describe in detail", "question"


def load_own(path: Path, *, count: int | None, seed: int, max_new_tokens: int) -> Suite:
    """`path` is a folder or a .jsonl file; `count` is the number of items per scenario, None for all.

    Raises InputError for whatever is wrong, with file and line."""
    if not 1 <= max_new_tokens <= _MOST_TOKENS:
        raise InputError(f"the limit of new tokens is {max_new_tokens}; give 1 to {_MOST_TOKENS:,}")
    file = _questions_at(path)
    named = path if path.name else path.resolve()
    check_letters(named.name, f"the name of {told(named)}")  # it becomes part of the record, which is UTF-8
    items = _from_images(path, max_new_tokens) if file is None else read_items(file, max_new_tokens)
    chosen = sampled(items, lambda item: item.scenario, count, f"{seed} bench own data")
    return Suite(named.stem, f"own data: {named.name}", tuple(chosen))


def _questions_at(path: Path) -> Path | None:
    """The .jsonl file at `path` or in the folder there; None for a folder without one."""
    name, mode = told(path), _mode(path)
    if stat.S_ISDIR(mode):
        files = sorted(file for file in path.glob("*.jsonl") if not file.name.startswith("."))
        if len(files) > 1:
            names = escaped(", ".join(file.name for file in files))
            raise InputError(f"{name} holds {len(files)} .jsonl files; name one of them: {names}")
        return files[0] if files else None
    if path.suffix.lower() != ".jsonl" or not stat.S_ISREG(mode):
        kind = "neither a folder nor a .jsonl file" if stat.S_ISREG(mode) else "a pipe or a device, which is not read"
        raise InputError(f"{name} is {kind}; give a folder with {EXPECTED}")
    return path


def _mode(path: Path) -> int:
    """What is at `path`, for the functions of `stat`."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{told(path)} does not exist; give a folder with {EXPECTED}") from None
    except OSError as error:
        raise InputError(f"{told(path)} cannot be read: {error.strerror or error}; give another path") from None
    except ValueError:  # a null byte, or letters that no file can have
        raise InputError(f"{told(path)} is not a path; give a folder with {EXPECTED}") from None


def _from_images(folder: Path, max_new_tokens: int) -> list[Item]:
    """The default question for every image of the folder and its folders; hidden ones are left out."""
    names = sorted(
        found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.suffix.lower() in IMAGE_SUFFIXES
    )
    visible = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    files = [name for name in visible if not (folder / name).is_dir()]
    if not files:
        raise InputError(f"{told(folder)} holds no images; put into it {EXPECTED}")
    for name in files:
        check_letters(name, f"{told(folder)}: the name of the image {shown(name)}")
    turns = (Turn(DESCRIBE, max_new_tokens),)
    return [Item(name, IMAGES_SCENARIO, (find_image(name, [folder], folder, told(folder)),), turns) for name in files]


@dataclass(frozen=True)
class _Row:
    """A line of a file of questions, in the format of MMSpec. `image`: a path, or several; `max_new_tokens`: of every
    answer, or one for each of the `turns`."""

    turns: Annotated[tuple[_Text, ...], several('a list of questions, such as ["What is this?"]')]
    id: Annotated[_Text | _Number | None, Field(description="a text or a whole number")] = None
    image: Annotated[tuple[_Text, ...] | None, AS_TUPLE, Field(description="a path, a list of paths, or nothing")] = ()
    category: Annotated[_AnyText | None, Field(description="a text")] = None
    topic: Annotated[_AnyText | None, Field(description="a text")] = None
    max_new_tokens: Annotated[
        _Limit | tuple[_Limit, ...] | None,
        Field(description=f"a whole number from 1 to {_MOST_TOKENS:,}, or a list with one for each question"),
    ] = None

    @model_validator(mode="after")
    def _has_a_limit_each(self) -> _Row:
        if isinstance(self.max_new_tokens, tuple) and len(self.max_new_tokens) != len(self.turns):
            given, wanted = len(self.max_new_tokens), len(self.turns)
            raise InputError(f"max_new_tokens is a list of {given}; allowed: one whole number, or a list of {wanted}")
        return self


def read_items(
    file: Path, max_new_tokens: int, homes: Sequence[Path] | None = None, folder: Path | None = None
) -> list[Item]:
    """The conversations of a .jsonl file. Images are in `homes`, all inside `folder`: where the file is, by default."""
    homes, folder = homes or (file.parent, file.parent / "images"), folder or file.parent
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, values in read_lines(file):
        where = f"{told(file)} line {number}"
        _check_keys(values, where)
        row = checked(_Row, values, where, is_open=True)
        images = tuple(find_image(name, homes, folder, where) for name in row.image or ())
        name = f"line {number}" if row.id is None else str(row.id)
        if name in lines:
            raise InputError(f"{where}: the id {shown(name)} is already that of line {lines[name]}")
        lines[name] = number
        # In MMSpec's own files the six classes are in "topic", and "category" says in a few words what one image shows.
        scenario = (row.topic or row.category or "").strip() or QUESTIONS_SCENARIO
        limit = row.max_new_tokens or max_new_tokens
        limits = limit if isinstance(limit, tuple) else (limit,) * len(row.turns)
        items.append(Item(name, scenario, images, tuple(map(Turn, row.turns, limits))))
    if not items:
        raise InputError(f"{told(file)} has no lines; write one JSON object per line, such as {EXAMPLE}")
    return items


def _check_keys(row: Mapping[str, Any], where: str) -> None:
    known = allowed_in(_Row)
    for key in row:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
        # "images" would silently make a question without an image.
        if key not in known and near and near[0] not in row:
            raise InputError(f"{where}: unknown key {shown(key)}, did you mean {near[0]}? allowed: {', '.join(known)}")
