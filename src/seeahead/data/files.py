"""Files of data sets: where images lie, and rows of JSON, JSON lines, tables, parquet and MME's text files. No torch.

Images of a data set are untrusted: here a name is only looked up, and never outside of the data's own folder.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from seeahead.checked import check_letters, is_file, parsed, read_text
from seeahead.errors import InputError, escaped, shown
from seeahead.image_formats import IMAGE_SUFFIXES, SUFFIXES, format_of
from seeahead.provenance import write_bytes

EXAMPLE = '{"id": "1", "image": "cat.jpg", "turns": ["What is this?"], "category": "question"}'
_MAX_PATH_SHOWN = 300
_NOT_FROM_TABLES = "images written into a table are not read, take the data set's own files"
_MAX_NAME = 500  # what is longer in a column of images is an image, as base64


@dataclass(frozen=True)
class Row:
    """One row of an annotation file; `embedded` reads the images that stand in the file itself, when asked to."""

    values: Mapping[str, Any]
    file: Path
    number: int
    embedded: Callable[[], Sequence[bytes]] | None = None

    @property
    def where(self) -> str:
        return f"{self.file} row {self.number}"


def told(path: Path) -> str:
    """The path of a data file as it may stand in a message."""
    return escaped(str(path), _MAX_PATH_SHOWN)


def find_image(
    name: str, roots: Sequence[Path], folder: Path, where: str, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> Path:
    """The file called `name` under the first of `roots` that has it; refused where it would leave `folder`.

    `where` is the start of every message: the file and line that name the image."""
    inside = PurePosixPath(name.replace("\\", "/"))
    if inside.is_absolute() or PureWindowsPath(name).drive or ".." in inside.parts:
        raise InputError(f"{where}: the image {shown(name)} leaves the folder of the data; give a path inside it")
    if inside.suffix.lower() not in suffixes:
        allowed = ", ".join(suffix for suffix in suffixes if suffix)
        raise InputError(f"{where}: {shown(name)} does not end like an image; allowed: {allowed}")
    for root in roots:
        path = root / inside
        if not is_file(path):
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{where}: the image {shown(name)} is a link out of the folder {told(folder)}; copy it there"
            )
        return path
    looked = " or ".join(dict.fromkeys(told(root) for root in roots))
    raise InputError(f"{where}: no image {shown(name)} in {looked}; put it there or correct the name")


def store_bytes(workspace: Path, data: bytes, where: str) -> Path:
    """The bytes of an image file, kept under a name made from their hash."""
    kind = format_of(data)
    if kind not in SUFFIXES:
        kinds = ", ".join(suffixes[0][1:] for suffixes in SUFFIXES.values())
        raise InputError(f"{where}: the image in it is none of {kinds}; convert it first")
    path = workspace / (hashlib.sha256(data).hexdigest()[:20] + SUFFIXES[kind][0])
    try:
        if not path.is_file():
            write_bytes(path, data)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write an image into {told(workspace)}: {reason}; choose a folder to write to"
        ) from None
    return path


def _text_of(file: Path) -> str:
    return read_text(file, "give another file, saved as UTF-8", most_bytes=math.inf)


def read_lines(file: Path, example: str = EXAMPLE) -> list[tuple[int, Mapping[str, Any]]]:
    """(line number, object) of every line that is not blank. Raises InputError for a line that is no JSON object."""
    rows: list[tuple[int, Mapping[str, Any]]] = []
    # Not splitlines(): it also splits at characters that may stand inside a JSON string.
    for number, line in enumerate(_text_of(file).split("\n"), start=1):
        # Some editors put a mark before the text; where files were joined it is in the middle.
        if line := line.strip().removeprefix("\ufeff").strip():
            where = f"{told(file)} line {number}"
            rows.append((number, parsed(line, where, f"such as {example}", made_of=without_repeats)))
            if "\\u" in line:  # else there is no way to write half a character
                check_letters(json.dumps(rows[-1][1], ensure_ascii=False), where)
    return rows


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, refused where a key stands twice: one of the two values would be lost without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, num in Counter(key for key, _ in pairs).items() if num > 1)
        raise InputError(f"the key {shown(twice)} stands twice; keep one of them")
    return made


def find_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """What the first pattern finds that finds anything, here or one folder below; " + " joins globs to one pattern."""
    for pattern in patterns:
        for prefix in ("", "*/"):
            found = {path for glob in pattern.split(" + ") for path in folder.glob(prefix + glob) if path.is_file()}
            visible = sorted(path for path in found if not path.name.startswith("."))
            for path in visible:
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise InputError(f"{path} is a link out of {folder}; copy it there")
            if visible:
                return visible
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
    text = _text_of(file)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data"):  # POPE's files called .json
            return _line_rows(file)
        raise InputError(f"{file} is not JSON ({error}); download it again") from None
    if isinstance(content, dict) and key:
        if key not in content:
            raise InputError(f"{file} has no {key!r}; it is not the file its name says, download it again")
        content = content[key]
    if isinstance(content, dict):  # rows by their id
        content = [{"id": name, **row} if isinstance(row, dict) else row for name, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{file} is not a list of objects; it is not the file its name says, download it again")
    return (_of_letters(Row(values, file, number)) for number, values in enumerate(content, start=1))


def _of_letters(row: Row) -> Row:
    """Raises InputError for half a character, which JSON can hold and nothing else."""
    check_letters(json.dumps(row.values, ensure_ascii=False), f"{row.where}")
    return row


def _table_rows(file: Path) -> Iterator[Row]:
    """A table with a head line. Images are named in it; those written into it as base64 are not read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, values in enumerate(csv.DictReader(stream, delimiter="\t"), start=2):
                if len(values.get("image") or "") > _MAX_NAME:
                    raise csv.Error(f"row {number} holds an image")
                yield Row({name: value for name, value in values.items() if name and value is not None}, file, number)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file} cannot be read ({error}); {_NOT_FROM_TABLES}") from None


def _mme_rows(file: Path, folder: Path) -> Iterator[Row]:
    """MME's release: one text file per image, a question and its answer per line; texts without image are skipped.

    The image has the same name and lies beside the text, or in `images` where texts are in `questions_answers_YN`."""
    apart = file.parent.name == "questions_answers_YN"
    home = file.parent.parent / "images" if apart else file.parent
    category = file.parent.parent.name if apart else file.parent.name
    candidates = [home / (file.stem + suffix) for suffix in IMAGE_SUFFIXES]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        return
    image = found.relative_to(folder).as_posix()
    for number, line in enumerate(_text_of(file).splitlines(), start=1):
        question, _, _ = line.partition("\t")
        if question.strip():
            yield Row({"question": question.strip(), "image": image, "category": category}, file, number)


def _parquet_rows(file: Path) -> Iterator[Row]:
    """Everything but the images at once; the images of a row only when the row was chosen."""
    try:
        table = importlib.import_module("pyarrow.parquet").ParquetFile(str(file))
        # An image is a structure of bytes and path, or a list of such structures.
        heavy = [column.name for column in table.schema_arrow if "bytes: binary" in str(column.type)]
        light = [column.name for column in table.schema_arrow if column.name not in heavy]
        number = 0
        for group in range(table.num_row_groups):
            for index, values in enumerate(table.read_row_group(group, columns=light).to_pylist()):
                number += 1
                yield Row(values, file, number, partial(_embedded, file, table, group, index, heavy) if heavy else None)
    except ImportError:
        raise InputError(f"reading {file} needs pyarrow, which is not installed; pip install '.[bench]'") from None
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or ["unreadable"])[0]
    return InputError(f"cannot read {file}: {reason}; download it again")


def _embedded(file: Path, table: Any, group: int, index: int, columns: list[str]) -> list[bytes]:
    try:
        values = table.read_row_group(group, columns=columns).slice(index, 1).to_pylist()[0].values()
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None
    entries = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    return [entry["bytes"] for entry in entries if entry is not None and entry.get("bytes")]
