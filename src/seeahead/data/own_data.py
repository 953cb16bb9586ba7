"""Your own data as a suite: a folder of images, or a .jsonl file in the format of MMSpec, every line checked."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seeahead.data.files import EXAMPLE, find_image, kind_of, read_lines, told
from seeahead.data.suite import DESCRIBE, Item, Suite, Turn, sampled
from seeahead.errors import InputError, escaped, shown
from seeahead.image_formats import IMAGE_SUFFIXES

KEYS = ("id", "image", "turns", "category", "topic", "max_new_tokens")
EXPECTED = f"images ({', '.join(IMAGE_SUFFIXES)}) or one .jsonl file with lines such as {EXAMPLE}"
_MOST_TOKENS = 1_000_000
IMAGES_SCENARIO, QUESTIONS_SCENARIO = "describe in detail", "question"


def load_own(path: Path, *, count: int | None, seed: int, max_new_tokens: int) -> Suite:
    """`path` is a folder or a .jsonl file; `count` is the number of items per scenario, None for all.

    Raises InputError for whatever is wrong, with file and line."""
    if max_new_tokens < 1:
        raise InputError(f"the limit of new tokens is {max_new_tokens}; give 1 or more")
    name = told(path)
    mode = _mode(path)
    _check_name(path.name, f"the name of {name}")
    if stat.S_ISDIR(mode):
        questions = sorted(file for file in path.glob("*.jsonl") if not file.name.startswith("."))
        if len(questions) > 1:
            names = escaped(", ".join(file.name for file in questions))
            raise InputError(f"{name} holds {len(questions)} .jsonl files; name one of them: {names}")
        items = read_items(questions[0], max_new_tokens) if questions else _from_images(path, max_new_tokens)
    elif path.suffix.lower() != ".jsonl" or not stat.S_ISREG(mode):
        kind = "neither a folder nor a .jsonl file" if stat.S_ISREG(mode) else "a pipe or a device, which is not read"
        raise InputError(f"{name} is {kind}; give a folder with {EXPECTED}")
    else:
        items = read_items(path, max_new_tokens)
    chosen = sampled(items, lambda item: item.scenario, count, f"{seed} bench own data")
    return Suite(path.stem, f"own data: {path.name}", tuple(chosen))


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


def _check_name(name: str, what: str) -> None:
    """A name becomes part of the record, which is UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{what} is not UTF-8; rename it") from None


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
        _check_name(name, f"{told(folder)}: the name of the image {shown(name)}")
    turns = (Turn(DESCRIBE, max_new_tokens),)
    return [Item(name, IMAGES_SCENARIO, (find_image(name, [folder], folder, told(folder)),), turns) for name in files]


def read_items(
    file: Path, max_new_tokens: int, homes: Sequence[Path] | None = None, folder: Path | None = None
) -> list[Item]:
    """The conversations of a .jsonl file. Images are in `homes`, all inside `folder`: where the file is, by default."""
    homes, folder = homes or (file.parent, file.parent / "images"), folder or file.parent
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, row in read_lines(file):
        where = f"{told(file)} line {number}"
        _check_keys(row, where)
        images = tuple(find_image(name, homes, folder, where) for name in _images(row, where))
        texts = _turns(row, where)
        limits = _limits(row, where, max_new_tokens, len(texts))
        item = Item(_id(row, where, number), _scenario(row, where), images, tuple(map(Turn, texts, limits)))
        if item.id in lines:
            raise InputError(f"{where}: the id {shown(item.id)} is already that of line {lines[item.id]}")
        lines[item.id] = number
        items.append(item)
    if not items:
        raise InputError(f"{told(file)} has no lines; write one JSON object per line, such as {EXAMPLE}")
    return items


def _check_keys(row: Mapping[str, Any], where: str) -> None:
    for key in row:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        # "images" would silently make a question without an image.
        if key not in KEYS and near and near[0] not in row:
            raise InputError(f"{where}: unknown key {shown(key)}, did you mean {near[0]}? allowed: {', '.join(KEYS)}")


def _limits(row: Mapping[str, Any], where: str, default: int, count: int) -> list[int]:
    """How long each answer may get."""
    value = row.get("max_new_tokens", default)
    limits = value if isinstance(value, list) else [value] * count
    if len(limits) != count or not all(type(limit) is int and 0 < limit <= _MOST_TOKENS for limit in limits):
        raise InputError(
            f'{where}: "max_new_tokens" is not a whole number from 1 to {_MOST_TOKENS:,}, nor a list of {count} of them'
        )
    return limits


def _id(row: Mapping[str, Any], where: str, number: int) -> str:
    value = row.get("id", f"line {number}")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f'{where}: "id" is {kind_of(value)}; allowed: a text or a whole number')
    return str(value)


def _images(row: Mapping[str, Any], where: str) -> list[str]:
    value = row.get("image")
    names = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f'{where}: "image" is {kind_of(value)}; allowed: a path, a list of paths, or nothing')
    return list(names)


def _turns(row: Mapping[str, Any], where: str) -> list[str]:
    if "turns" not in row:
        raise InputError(f'{where}: "turns" is missing; allowed: a list of questions, such as ["What is this?"]')
    value = row["turns"]
    if not isinstance(value, list) or not value:
        raise InputError(f'{where}: "turns" is {kind_of(value)}; allowed: a list with at least one question')
    for position, text in enumerate(value, start=1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f'{where}: question {position} of "turns" is {kind_of(text)}; allowed: a text')
    return list(value)


def _scenario(row: Mapping[str, Any], where: str) -> str:
    for key in ("category", "topic"):
        if not isinstance(row.get(key), str | None):
            raise InputError(f'{where}: "{key}" is {kind_of(row[key])}; allowed: a text')
    # In MMSpec's own files the six classes are in "topic", and "category" says in a few words what one picture shows.
    named: str = row.get("topic") or row.get("category") or ""
    return named.strip() or QUESTIONS_SCENARIO
