"""Your own data as a suite: a folder of pictures, or a .jsonl file in the format of MMSpec, every line checked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seeahead.data.items import DESCRIBE, PICTURE_SUFFIXES, Item, Suite, find_picture, sampled, shown
from seeahead.demo.scenarios import Turn
from seeahead.errors import InputError

KEYS = ("id", "image", "turns", "category", "topic")
EXAMPLE = '{"id": "1", "image": "cat.jpg", "turns": ["What is this?"], "category": "question"}'
EXPECTED = f"pictures ({', '.join(PICTURE_SUFFIXES)}) or one .jsonl file with lines such as {EXAMPLE}"
PICTURES_SCENARIO, QUESTIONS_SCENARIO = "describe in detail", "question"


def load_own(path: Path, *, count: int | None, seed: int, max_new_tokens: int) -> Suite:
    """`path` is a folder or a .jsonl file; `count` is the number of items per scenario, None for all.

    Raises InputError for whatever is wrong, with file and line."""
    if max_new_tokens < 1:
        raise InputError(f"the limit of new tokens is {max_new_tokens}; give 1 or more")
    if path.is_dir():
        questions = sorted(file for file in path.glob("*.jsonl") if not file.name.startswith("."))
        if len(questions) > 1:
            names = ", ".join(file.name for file in questions)
            raise InputError(f"{path} holds {len(questions)} .jsonl files; name one of them: {names}")
        items = _from_lines(questions[0], max_new_tokens) if questions else _from_pictures(path, max_new_tokens)
    elif not path.is_file():
        raise InputError(f"{path} does not exist; give a folder with {EXPECTED}")
    elif path.suffix.lower() != ".jsonl":
        raise InputError(f"{path} is neither a folder nor a .jsonl file; give a folder with {EXPECTED}")
    else:
        items = _from_lines(path, max_new_tokens)
    chosen = sampled(items, lambda item: item.scenario, count, f"{seed} bench own data")
    return Suite(path.stem, f"own data: {path.name}", tuple(chosen))


def _from_pictures(folder: Path, max_new_tokens: int) -> list[Item]:
    """The default question for every picture of the folder and its folders; hidden ones are left out."""
    names = sorted(
        found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.suffix.lower() in PICTURE_SUFFIXES
    )
    visible = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    files = [name for name in visible if not (folder / name).is_dir()]
    if not files:
        raise InputError(f"{folder} holds no pictures; put into it {EXPECTED}")
    turns = (Turn(DESCRIBE, max_new_tokens),)
    return [
        Item(name, PICTURES_SCENARIO, (find_picture(name, [folder], folder, str(folder)),), turns) for name in files
    ]


def _from_lines(file: Path, max_new_tokens: int) -> list[Item]:
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, row in read_lines(file):
        item = _item(row, file, number, max_new_tokens)
        if item.id in lines:
            before = lines[item.id]
            raise InputError(f"{file} line {number}: the id {shown(item.id)} is already that of line {before}")
        lines[item.id] = number
        items.append(item)
    if not items:
        raise InputError(f"{file} has no lines; write one JSON object per line, such as {EXAMPLE}")
    return items


def read_lines(file: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """(line number, object) of every line that is not blank. Raises InputError for a line that is no JSON object."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    rows: list[tuple[int, Mapping[str, Any]]] = []
    # Not splitlines(): it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deep")
            column = getattr(error, "colno", 1)
            raise InputError(f"{file} line {number}: not JSON ({reason}, column {column}); such as {EXAMPLE}") from None
        if not isinstance(row, dict):
            raise InputError(f"{file} line {number}: {_kind(row)}; allowed: one object a line, such as {EXAMPLE}")
        rows.append((number, row))
    return rows


def _item(row: Mapping[str, Any], file: Path, number: int, max_new_tokens: int) -> Item:
    where = f"{file} line {number}"
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
