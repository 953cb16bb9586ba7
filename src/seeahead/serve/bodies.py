"""Bodies of requests as they come in: untrusted bytes become checked values, or a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, islice, zip_longest
from sys import getsizeof
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from seeahead.data.files import without_repeats
from seeahead.errors import escaped, shown
from seeahead.serve.errors import ApiError
from seeahead.serve.schema import ChatBody, TextBody
from seeahead.serve.ticket import BusyError

Body = TypeVar("Body", ChatBody, TextBody)
_MOST_DEPTH = 64
_MOST_DIGITS = 20  # of a length: Python reads no number of thousands
_LONG = 1 << 16
_LARGE, _MOST_WIDE = 32 << 20, 1 << 20
"""Bytes of a body from which on it is not decoded as it is, since a single letter outside of ASCII makes all of it four
times as large, and bytes of such letters that it may have."""
_WIDE = re.compile(rb"[\x80-\xff]+")
_MOST_VALUES = 100_000  # to check so many holds up everybody else for a part of a second


class Bodies:
    """Reads bodies; those that are held at the same time have a limit together as well."""

    def __init__(self, most_bytes: int, most_together: int) -> None:
        self._most_bytes, self._most_together, self._held = most_bytes, most_together, 0

    @asynccontextmanager
    async def read(self, request: Request, kind: type[Body]) -> AsyncIterator[Body]:
        """The body, held inside. Raises ApiError for what is too large, no JSON, or not what `kind` allows."""
        _check_head(request)
        self._check_told(request)
        data, num_bytes = bytearray(), 0
        try:
            try:
                async for part in request.stream():
                    data += part
                    num_bytes += len(part)
                    self._held += len(part)
                    self._check(num_bytes)
            except ClientDisconnect:
                raise ApiError(400, "the body ended before it was whole") from None
            value = _parsed(bytes(data))
            data.clear()  # the body has texts of its own
            further = _further_bytes(value)
            num_bytes += further
            self._held += further
            self._check_together(num_bytes)
            yield _checked(value, kind)
        finally:
            self._held -= num_bytes

    def _check_told(self, request: Request) -> None:
        """Who says that too much comes is refused before any of it is read."""
        told = request.headers.get("content-length", "")
        if told.isdecimal():
            self._check_size(int(told[:_MOST_DIGITS]))

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._most_bytes:
            raise ApiError(413, f"the body is larger than {self._most_bytes:,} bytes, the limit; send less")

    def _check(self, num_bytes: int) -> None:
        self._check_size(num_bytes)
        self._check_together(num_bytes)

    def _check_together(self, num_bytes: int) -> None:
        """One alone may take any room."""
        if self._held > max(num_bytes, self._most_together):
            told = "the bodies of other requests fill this server's memory; ask again later"
            raise ApiError.of(BusyError(told, 1.0))


def _check_head(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, f"the content type is {shown(given)}; send application/json")
    if (packed := request.headers.get("content-encoding", "identity")) != "identity":
        raise ApiError(415, f"the content encoding is {shown(packed)}; send the body as it is")


def _parsed(data: bytes) -> Any:
    if _has_many_values(data):
        raise ApiError(400, f"the body holds more than {_MOST_VALUES:,} values, the limit; send less")
    try:
        data = _in_ascii(data) if len(data) > _LARGE and not data.isascii() else data
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=without_repeats)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 (byte {error.start}); send JSON") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply; send less of it") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {escaped(str(error))}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body is not a JSON object; send one")
    if any(True for _ in islice(_levels(value), _MOST_DEPTH, None)):
        raise ApiError(400, "the body is nested too deeply; send less of it")
    return value


def _has_many_values(data: bytes) -> bool:
    """By what stands before each value, and outside of texts: these may hold any number of commas."""

    def is_many(text: bytes) -> bool:
        return sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES

    if not is_many(data):
        return False
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"")
    # A value and its key have four quotes at most.
    return plain.count(b'"') > 4 * _MOST_VALUES or is_many(b"".join(plain.split(b'"')[::2]))


def _in_ascii(data: bytes) -> bytes:
    """The same JSON, with letters outside of ASCII as their escapes: texts without any stay small."""
    if len(data) - len(data.translate(None, bytes(range(0x80, 0x100)))) > _MOST_WIDE:
        told = f"a body of more than {_LARGE:,} bytes may have {_MOST_WIDE:,} bytes of letters outside of ASCII"
        raise ApiError(413, told)
    return _WIDE.sub(lambda found: json.dumps(found[0].decode())[1:-1].encode(), data)


def _levels(value: dict[str, Any]) -> Iterator[list[Any]]:
    """What the body holds, by how deep it lies: keys, values and items of lists."""
    level: list[Any] = [value]
    while level:
        inner = [one for table in level for one in (chain(*table.items()) if isinstance(table, dict) else table)]
        yield inner
        level = [one for one in inner if isinstance(one, dict | list)]


def _further_bytes(value: dict[str, Any]) -> int:
    """That long texts take beyond one for each letter: a single letter may make all of a text's wider."""
    texts = (one for level in _levels(value) for one in level if isinstance(one, str) and len(one) > _LONG)
    return sum(getsizeof(text) - len(text) for text in texts)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _checked(value: Any, kind: type[Body]) -> Body:
    try:
        body = kind.model_validate(value)
    except ValidationError as error:
        raise _told(value, error) from None
    for name in body.refused():
        raise ApiError(400, f"{shown(name)} is not done here; leave it out", param=escaped(name))
    return body


def _told(value: Any, error: ValidationError) -> ApiError:
    """The fault that lies deepest: where a field may be of several kinds, pydantic tells why it is none of them."""
    faults = error.errors(include_url=False, include_context=False)
    places = [_place(value, fault) for fault in faults]
    number = max(range(len(faults)), key=lambda one: (len(places[one]), not faults[one]["type"].endswith("_type")))
    fault, place = faults[number], ".".join(places[number])
    words, given = fault["msg"].removeprefix("Value error, "), fault["input"]
    told = f" (given: {escaped(json.dumps(given), 60)})" if isinstance(given, str | int | float | bool) else ""
    message = f"{escaped(place, 80)}: {escaped(words, 200)}{told}" if place else escaped(words, 200)
    return ApiError(400, message, param=escaped(place) or None)


def _place(value: Any, fault: Mapping[str, Any]) -> list[str]:
    """The keys that lead to a fault, without the names of kinds that pydantic puts among them."""
    place: list[str] = []
    for key, following in zip_longest(fault["loc"], fault["loc"][1:]):
        if isinstance(value, dict) and following in value:
            continue  # the name of a kind, though it may be a field's too: what it is of comes next
        if (isinstance(value, dict) and key in value) or (isinstance(value, list) and isinstance(key, int)):
            value = value[key]
            place.append(str(key))
    return [*place, str(fault["loc"][-1])] if fault["type"] == "missing" else place
