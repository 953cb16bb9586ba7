"""Values from files that anybody may have written (JSON, TOML), as small frozen classes: right, or one error line.

A class is a dataclass whose fields are annotated with what they take: `Annotated[int, whole(1, 8)]`. Types are strict:
"3" is no number, and true is not 1.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from seeahead.errors import InputError, SeeaheadError, escaped, shown

_MOST_BYTES = 8 << 20  # of a settings file: none that is meant to be one comes near
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 2, 3, 3, 3
_SHORT.maxstring = _SHORT.maxother = 80
_PLAIN = re.compile(r"[\w.+-]{1,60}", re.ASCII)
T = TypeVar("T")


def whole(least: int, most: int) -> Any:
    """What an int field takes."""
    return Field(strict=True, ge=least, le=most, description=f"a whole number from {least:,} to {most:,}")


def real(least: float, most: float, *, above: bool = False) -> Any:
    """What a float field takes: finite, `above` the least or from it on."""
    told = f"a number {'above' if above else 'from'} {least:g} {'up ' * above}to {most:g}"
    limits = {"gt" if above else "ge": least, "le": most}
    return Field(strict=True, allow_inf_nan=False, description=told, **limits)  # type: ignore[call-overload,unused-ignore]


def flag() -> Any:
    """What a bool field takes."""
    return Field(strict=True, description="true or false")


def one_of(allowed: Iterable[str]) -> Any:
    """What a str field takes that is one of a few words."""
    words = tuple(allowed)
    return Field(strict=True, pattern=f"^(?:{'|'.join(map(re.escape, words))})$", description=", ".join(words))


def matching(pattern: str, told: str) -> Any:
    """What a str field takes; `told` says what `pattern` wants."""
    return Field(strict=True, pattern=pattern, description=told)


def several(told: str, least: int = 1) -> Any:
    """What a tuple or dict field takes: at least so many entries, which say themselves what they are."""
    return Field(min_length=least, description=told)


def table(kind: type, where: str) -> BeforeValidator:
    """Of a field that is a table in the file, and a `kind` when it is read."""
    return BeforeValidator(lambda value: value if isinstance(value, kind) else checked(kind, value, where))


def rows(read: Callable[[object, str], object], what: str) -> BeforeValidator:
    """Of a tuple field: entries that `read` makes of what is given and of where it stands: `what` and a number."""

    def all_of(values: object) -> object:
        if not isinstance(values, list):
            return values
        return tuple(read(value, f"{what} {number}") for number, value in enumerate(values, 1))

    return BeforeValidator(all_of)


AS_TUPLE = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
"""Of a tuple field whose one entry may stand there without a list."""


def checked(
    kind: type[T], values: object, where: str, error: type[SeeaheadError] = InputError, *, is_open: bool = False
) -> T:
    """`values` as a `kind`. Raises `error`, in one line that starts with `where`, for anything that is not one.

    `is_open`: keys that `kind` has not are somebody else's and are left out; else they are refused."""
    given = as_table(values, where, error)
    known = allowed_in(kind)
    if not is_open:
        refuse_unknown(given, known, where, error)
    of: Any = kind
    try:
        read: T = _adapter(of).validate_python({name: given[name] for name in known if name in given})
    except ValidationError as refused:
        raise error(_one_line(refused, where, given, _told(of))) from None
    return read


def _one_line(refused: ValidationError, where: str, given: Mapping[str, Any], told: Mapping[str, str]) -> str:
    """What was given, and what is allowed: of the first of pydantic's complaints."""
    first = refused.errors(include_url=False)[0]
    if first["type"] == "value_error":  # a check of our own, which is one line already
        return f"{where}: {first['ctx']['error']}"
    name, place = str(first["loc"][0]), first["loc"][1] if len(first["loc"]) > 1 else None
    if first["type"] == "missing":
        return f"{where} lacks {name}; give it {told[name]}"
    what, value = name, given[name]  # a validator may have changed it since
    if place is not None and isinstance(value, Mapping):
        what, value = f"{name} {shown_value(place)}", first["input"]
    elif isinstance(place, int) and isinstance(value, list):
        what, value = f"{name}, entry {place + 1},", first["input"]
    return f"{where}: {what} is {shown_value(value)}; allowed: {told[name]}"


def as_table(values: object, where: str, error: type[SeeaheadError] = InputError) -> dict[str, Any]:
    """`values`, where they are a table (an object of JSON) with texts for keys."""
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise error(f"{where} is {shown_value(values)}; allowed: a table of names and values")
    return values


def allowed_in(kind: type) -> tuple[str, ...]:
    """Names of the fields of a `kind`."""
    return tuple(field.name for field in fields(kind) if field.init)


def refuse_unknown(
    table: Mapping[str, object], known: Collection[str], where: str, error: type[SeeaheadError] = InputError
) -> None:
    """Raises `error` for keys of `table` that are not among the `known`."""
    unknown = sorted(set(table) - set(known))
    if unknown:
        told = ", ".join(shown_value(name) if not _PLAIN.fullmatch(name) else name for name in unknown[:5])
        raise error(f"{where} has unknown {told}; allowed here: {', '.join(sorted(known))}")


def read_json(path: Path, what: str, error: type[SeeaheadError]) -> dict[str, Any]:
    """The object in a JSON file. Raises `error`, naming the file and `what` it should be, where there is none."""
    return parsed(read_text(path, what, error), placed(path), what, error)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables in a TOML file. Raises InputError as `read_json` does."""
    written = read_text(path, what, InputError)
    try:
        return tomllib.loads(written)
    except (RecursionError, ValueError) as error:  # the latter also for a number of more digits than Python reads
        reason = "nested too deep" if isinstance(error, RecursionError) else escaped(str(error))
        raise InputError(f"{placed(path)} is not TOML: {reason}; {what}") from None


def parsed(
    written: str,
    where: str,
    what: str,
    error: type[SeeaheadError] = InputError,
    made_of: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> dict[str, Any]:
    """The object that is `written` in JSON; `made_of` makes objects of pairs. Raises `error` as `read_json` does."""
    try:
        values = json.loads(written, object_pairs_hook=made_of)
    except json.JSONDecodeError as refused:
        reason = f"{refused.msg}, column {refused.colno}"
    except InputError as refused:
        reason = str(refused)
    except RecursionError:
        reason = "nested too deep"
    except ValueError:
        reason = "a number too long to be read; write it in quotes"
    else:
        if isinstance(values, dict):
            return values
        raise error(f"{where} is {shown_value(values)}, not an object; {what}")
    raise error(f"{where} is not JSON ({reason}); {what}")


def check_letters(text: str, where: str) -> None:
    """Raises InputError for half a surrogate pair, Python's form of a byte that is no UTF-8: no tokenizer takes it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        letter = shown(text[error.start])
        raise InputError(
            f"{where} is not valid text: letter {error.start + 1} is {letter}, half a character; give UTF-8"
        ) from None


def read_text(path: Path, what: str, error: type[SeeaheadError] = InputError, most_bytes: float = _MOST_BYTES) -> str:
    """The text of a file, without a byte order mark. Raises `error` as `read_json` does."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise error(f"{placed(path)} is {'not a regular file' if exists(path) else 'missing'}; {what}")
        if path.stat().st_size > most_bytes:
            raise error(f"{placed(path)} is larger than {most_bytes:,} bytes; {what}")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as refused:
        raise error(f"{placed(path)} cannot be read: {refused.strerror or refused}; {what}") from None
    except UnicodeDecodeError as refused:
        raise error(f"{placed(path)} is not UTF-8 text (byte {refused.start}); {what}") from None


# The methods of Path raise for what cannot be one, such as a text of 5,000 letters.
exists, is_file, is_folder = os.path.exists, os.path.isfile, os.path.isdir


def shown_value(value: object) -> str:
    """A value as it may stand in a message: on one line and not endless."""
    try:
        text = _SHORT.repr(value)
    except (ValueError, RecursionError):  # a whole number of too many digits
        return "something too long to show"
    return text if text.isprintable() else escaped(text)


def placed(path: Path) -> str:
    """A file as it may stand in a message."""
    return f"{shown(path.name)} in {shown(str(path.parent))}"


_adapter = cache(TypeAdapter[Any])


@cache
def _told(kind: type) -> dict[str, str]:
    """Of every field, what it takes in words."""
    told: dict[str, str] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, FieldInfo)]
        told[name] = next((note.description for note in notes if note.description), "another value")
    return told
