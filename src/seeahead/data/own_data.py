"""Your own data as a suite: a folder of pictures, or a .jsonl file in the format of MMSpec, every line checked."""

from __future__ import annotations

import difflib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seeahead.data.items import DESCRIBE, PICTURE_SUFFIXES, Item, Suite, find_picture, sampled, shown, told
from seeahead.demo.scenarios import Turn
from seeahead.errors import InputError, escaped

KEYS = ("id", "image", "turns", "category", "topic")
EXAMPLE = '{"id": "1", "image": "cat.jpg", "turns": ["What is this?"], "category": "question"}'
EXPECTED = f"pictures ({', '.join(PICTURE_SUFFIXES)}) or one .jsonl file with lines such as {EXAMPLE}"
PICTURES_SCENARIO, QUESTIONS_SCENARIO = "describe in detail", "question"


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
        items = _from_lines(questions[0], max_new_tokens) if questions else _from_pictures(path, max_new_tokens)
    elif path.suffix.lower() != ".jsonl" or not stat.S_ISREG(mode):
        kind = "neither a folder nor a .jsonl file" if stat.S_ISREG(mode) else "a pipe or a device, which is not read"
        raise InputError(f"{name} is {kind}; give a folder with {EXPECTED}")
    else:
        items = _from_lines(path, max_new_tokens)
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


def _from_pictures(folder: Path, max_new_tokens: int) -> list[Item]:
    """The default question for every picture of the folder and its folders; hidden ones are left out."""
    names = sorted(
        found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.suffix.lower() in PICTURE_SUFFIXES
    )
    visible = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    files = [name for name in visible if not (folder / name).is_dir()]
    if not files:
        raise InputError(f"{told(folder)} holds no pictures; put into it {EXPECTED}")
    for name in files:
        _check_name(name, f"{told(folder)}: the name of the picture {shown(name)}")
    turns = (Turn(DESCRIBE, max_new_tokens),)
    return [
        Item(name, PICTURES_SCENARIO, (find_picture(name, [folder], folder, told(folder)),), turns) for name in files
    ]


def _from_lines(file: Path, max_new_tokens: int) -> list[Item]:
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, row in read_lines(file):
        item = _item(row, file, number, max_new_tokens)
        if item.id in lines:
            before = lines[item.id]
            raise InputError(f"{told(file)} line {number}: the id {shown(item.id)} is already that of line {before}")
        lines[item.id] = number
        items.append(item)
    if not items:
        raise InputError(f"{told(file)} has no lines; write one JSON object per line, such as {EXAMPLE}")
    return items


def read_lines(file: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """(line number, object) of every line that is not blank. Raises InputError for a line that is no JSON object."""
    name = told(file)
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for
            raise InputError(f"{name} is not a regular file; save it as one")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    rows: list[tuple[int, Mapping[str, Any]]] = []
    # Not splitlines(): it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        # Some editors put a mark before the text; where files were joined it is in the middle.
        if line := line.strip().removeprefix("\ufeff").strip():
            rows.append((number, _parsed(line, f"{name} line {number}")))
    return rows


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_without_repeats)
        if "\\u" in line:  # else there is no way to write one
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    except InputError as error:
        raise InputError(f"{where}: {error}; keep one of them") from None
    except UnicodeEncodeError as error:
        letter = shown(error.object[error.start])
        raise InputError(f"{where}: {letter} is half a character, which is no text; write the whole one") from None
    except RecursionError:
        raise InputError(f"{where}: not JSON (nested too deep); such as {EXAMPLE}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg}, column {error.colno}); such as {EXAMPLE}") from None
    except ValueError:
        raise InputError(
            f"{where}: a number with more digits than can be read; write it as a text, in quotes"
        ) from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: {_kind(row)}; allowed: one object a line, such as {EXAMPLE}")
    return row


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, refused where a key stands twice: one of the two values would be lost without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InputError(f"the key {shown(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return made


def _item(row: Mapping[str, Any], file: Path, number: int, max_new_tokens: int) -> Item:
    where = f"{told(file)} line {number}"
    for key in row:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        # "images" would silently make a question without a picture.
        if key not in KEYS and near and near[0] not in row:
            raise InputError(f"{where}: unknown key {shown(key)}, did you mean {near[0]}? allowed: {', '.join(KEYS)}")
    roots = [file.parent, file.parent / "images"]
    pictures = tuple(find_picture(name, roots, file.parent, where) for name in _pictures(row, where))
    turns = tuple(Turn(text, max_new_tokens) for text in _turns(row, where))
    return Item(_id(row, where, number), _scenario(row, where), pictures, turns)


def _id(row: Mapping[str, Any], where: str, number: int) -> str:
    value = row.get("id", f"line {number}")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f'{where}: "id" is {_kind(value)}; allowed: a text or a whole number')
    return str(value)


def _pictures(row: Mapping[str, Any], where: str) -> list[str]:
    value = row.get("image")
    names = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f'{where}: "image" is {_kind(value)}; allowed: a path, a list of paths, or nothing')
    return list(names)


def _turns(row: Mapping[str, Any], where: str) -> list[str]:
    if "turns" not in row:
        raise InputError(f'{where}: "turns" is missing; allowed: a list of questions, such as ["What is this?"]')
    value = row["turns"]
    if not isinstance(value, list) or not value:
        raise InputError(f'{where}: "turns" is {_kind(value)}; allowed: a list with at least one question')
    for position, text in enumerate(value, start=1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f'{where}: question {position} of "turns" is {_kind(text)}; allowed: a text')
    return list(value)


def _scenario(row: Mapping[str, Any], where: str) -> str:
    for key in ("category", "topic"):
        if not isinstance(row.get(key), str | None):
            raise InputError(f'{where}: "{key}" is {_kind(row[key])}; allowed: a text')
    # In MMSpec's own files the six classes are in "topic", and "category" says in a few words what one picture shows.
    named: str = row.get("topic") or row.get("category") or ""
    return named.strip() or QUESTIONS_SCENARIO


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a text" if value.strip() else "an empty text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    return kinds.get(type(value), "something else")
