"""Rows of the annotation files that public data sets come with: JSON, JSON lines, tables, parquet, MME's text files."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seeahead.data.items import PICTURE_SUFFIXES
from seeahead.data.own_data import read_lines
from seeahead.errors import InputError

NOT_FROM_TABLES = "pictures written into a table are not read, take the data set's own files"
_MAX_NAME = 500  # what is longer in a column of pictures is a picture, as base64


@dataclass(frozen=True)
class Row:
    """One row of an annotation file; `embedded` reads the pictures that stand in the file itself, when asked to."""

    values: Mapping[str, Any]
    file: Path
    number: int
    embedded: Callable[[], Sequence[bytes]] | None = None

    @property
    def where(self) -> str:
        return f"{self.file} row {self.number}"


def find_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """What the first pattern finds that finds anything, here or one folder below; " + " joins globs to one pattern."""
    for pattern in patterns:
        for prefix in ("", "*/"):
            found = {path for glob in pattern.split(" + ") for path in folder.glob(prefix + glob) if path.is_file()}
            visible = sorted(path for path in found if not path.name.startswith("."))
            inside = [path for path in visible if path.resolve().is_relative_to(folder.resolve())]
            if len(inside) < len(visible):
                raise InputError(f"{next(iter(set(visible) - set(inside)))} is a link out of {folder}; copy it there")
            if inside:
                return inside
    return []


def read_rows(file: Path, folder: Path, key: str) -> Iterator[Row]:
    """Rows of one file, read by its ending. `key` names the list inside a JSON object that holds them, if any does."""
    readers: dict[str, Callable[[], Iterator[Row]]] = {
        ".json": lambda: _json_rows(file, key),
        ".jsonl": lambda: _line_rows(file),
        ".tsv": lambda: _table_rows(file),
        ".txt": lambda: _mme_rows(file, folder),
        ".parquet": lambda: _parquet_rows(file),
    }
    return readers[file.suffix]()


def _line_rows(file: Path) -> Iterator[Row]:
    return (Row(values, file, number) for number, values in read_lines(file))


def _json_rows(file: Path, key: str) -> Iterator[Row]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise InputError(f"{file} is not JSON ({error}); download it again") from None
        return _line_rows(file)  # POPE writes one object per line into files called .json
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({error}); download it again") from None
    if isinstance(content, dict) and key:
        if key not in content:
            raise InputError(f"{file} has no {key!r}; it is not the file its name says, download it again")
        content = content[key]
    if isinstance(content, dict):  # rows by their id
        content = [{"id": name, **row} if isinstance(row, dict) else row for name, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{file} is not a list of objects; it is not the file its name says, download it again")
    return (Row(values, file, number) for number, values in enumerate(content, start=1))


def _table_rows(file: Path) -> Iterator[Row]:
    """A table with a head line. Pictures are named in it; those written into it as base64 are not read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, values in enumerate(csv.DictReader(stream, delimiter="\t"), start=2):
                if len(values.get("image") or "") > _MAX_NAME:
                    raise csv.Error(f"row {number} holds a picture")
                yield Row({name: value for name, value in values.items() if name and value is not None}, file, number)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file} cannot be read ({error}); {NOT_FROM_TABLES}") from None


def _mme_rows(file: Path, folder: Path) -> Iterator[Row]:
    """MME's release: one text file per picture, a question and its answer per line; texts without picture are skipped.

    The picture has the same name and lies beside the text, or in `images` where texts are in `questions_answers_YN`."""
    apart = file.parent.name == "questions_answers_YN"
    home = file.parent.parent / "images" if apart else file.parent
    category = file.parent.parent.name if apart else file.parent.name
    pictures = [home / (file.stem + suffix) for suffix in PICTURE_SUFFIXES]
    picture = next((path for path in pictures if path.is_file()), None)
    if picture is None:
        return
    image = picture.relative_to(folder).as_posix()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}; download it again") from None
    for number, line in enumerate(lines, start=1):
        question, _, _ = line.partition("\t")
        if question.strip():
            yield Row({"question": question.strip(), "image": image, "category": category}, file, number)


def _parquet_rows(file: Path) -> Iterator[Row]:
    """Everything but the pictures at once; the pictures of a row only when the row was chosen."""
    parquet = _parquet_package(file)
    try:
        table = parquet.ParquetFile(str(file))
        # A picture is a structure of bytes and path, or a list of such structures.
        heavy = [column.name for column in table.schema_arrow if "bytes: binary" in str(column.type)]
        light = [column.name for column in table.schema_arrow if column.name not in heavy]
        number = 0
        for group in range(table.num_row_groups):
            for index, values in enumerate(table.read_row_group(group, columns=light).to_pylist()):
                number += 1
                yield Row(values, file, number, _embedded(table, group, index, heavy) if heavy else None)
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise InputError(f"cannot read {file}: {reason}; download it again") from None


def _parquet_package(file: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"reading {file} needs pyarrow, which is not installed; pip install 'seeahead[bench]'"
        ) from None


def _embedded(table: Any, group: int, index: int, columns: Sequence[str]) -> Callable[[], Sequence[bytes]]:
    def read() -> Sequence[bytes]:
        values = table.read_row_group(group, columns=list(columns)).slice(index, 1).to_pylist()[0]
        found: list[bytes] = []
        for column in columns:
            entries = values[column] if isinstance(values[column], list) else [values[column]]
            found += [entry["bytes"] for entry in entries if entry is not None and entry.get("bytes")]
        return found

    return read
