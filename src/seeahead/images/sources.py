"""Where images come from: paths, bytes, open files, data: URLs and, if allowed, web addresses become bytes.

What comes in is untrusted: nothing larger than a limit is read, and only regular files are opened.
"""

import base64
import binascii
import io
import os
import re
import stat
import string
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeGuard
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image

from seeahead.errors import ImageError, InputError, shown
from seeahead.fetch import MAX_LETTERS, fetch

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray[Any, Any] | IO[bytes]
"""What an image may be given as: a path, a `data:` or web address, the bytes of a file or an open binary file, a PIL
image, an array of uint8."""

ImageSources = ImageSource | Iterable[ImageSource] | None
"""Images as a caller may give them: several, one, or none."""

ALLOWED = "a path, bytes, an open binary file, a PIL image, an array of uint8 or a data: URL"

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_IS_BASE64 = re.compile(r"; *base64 *\Z", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PIECE = 1 << 14
_LONG = 1 << 20
_MOST_ESCAPES = 1_000_000  # each takes a step of Python; in base64 few letters need one


def as_sources(images: ImageSources) -> list[ImageSource]:
    """Images as a list. A text or an open file is one image, though it could be iterated."""
    if images is None:
        return []
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray):
        return [images]
    if _is_stream(images):
        return [images]
    if not is_list(images):
        raise InputError(f"images were given as {type(images).__name__}; give a list, each of them {ALLOWED}")
    return list(images)


def is_list(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether a caller may mean several things by it: a text, bytes or a mapping is one."""
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping):
        return False
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def read_source(source: ImageSource, *, allow_urls: bool, max_bytes: int) -> tuple[str, bytes]:
    """A short name for messages, and the bytes of the file."""
    name, data = _named(source, allow_urls, max_bytes)
    if len(data) > max_bytes:
        raise ImageError(f"{name} is larger than {max_bytes:,} bytes, the limit; make it smaller first")
    return name, data


def _named(source: ImageSource, allow_urls: bool, max_bytes: int) -> tuple[str, bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        return "the image given as bytes", bytes(source)
    if _is_stream(source):
        is_stdin = source is getattr(sys.stdin, "buffer", None)
        name = "the image from standard input" if is_stdin else "the image given as an open file"
        return name, _of_stream(source, max_bytes + 1, name)
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
        return shown(source), _of_file(source, max_bytes + 1)
    if not isinstance(source, str):
        raise ImageError(f"an image was given as {type(source).__name__}; give {ALLOWED}")
    address = source.strip()
    if not address:
        raise ImageError("the path of the image is empty, such a file does not exist; give the path of an image")
    scheme = _SCHEME.match(address)
    kind = scheme.group(1).lower() if scheme else ""
    if kind == "data":
        return "the data: URL", _of_data_url(address, max_bytes)
    if kind in ("http", "https"):
        if not allow_urls:
            raise ImageError(
                f"{shown(address)} is a web address, which is not allowed here; download the image, give its path"
            )
        return shown(address), fetch(address, max_bytes=max_bytes)
    if kind and address[len(kind) :].startswith("://"):
        raise ImageError(f"{shown(address)} is an address of a kind that is not read; give {ALLOWED}")
    return shown(source), _of_file(source, max_bytes + 1)


def _is_stream(source: object) -> TypeGuard[IO[bytes]]:
    return callable(getattr(source, "read", None)) and not isinstance(source, type)


def _of_file(name: str, most: int) -> bytes:
    if len(name) > MAX_LETTERS:  # a list would be made of its parts
        raise ImageError(
            f"{shown(name)} has {len(name):,} letters, a path at most {MAX_LETTERS:,}; give the path of an image"
        )
    try:
        path = Path(name)
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as stream:
                return stream.read(most)
        fault = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
    except FileNotFoundError:
        fault = "does not exist"
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
    except ValueError:  # a null byte in the path
        fault = "is not a path"
    instead = ", or '-i -' to read standard input" if name in ("/dev/stdin", "/dev/fd/0") else ""
    raise ImageError(f"{shown(name)} {fault}; give the path of an image{instead}")


def _of_stream(stream: Any, most: int, name: str) -> bytes:
    """From the start where it can be wound back, as Pillow does: what was just written can be handed over."""
    if isinstance(stream, io.TextIOBase):
        raise ImageError(f'{name} was opened as text; open it with mode "rb"')
    data = bytearray()
    try:
        if hasattr(stream, "seekable") and stream.seekable():
            stream.seek(0)
        # Some streams give less than they are asked for before they end.
        while len(data) < most and (piece := stream.read(most - len(data))):
            data += piece
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = shown(str(error) or type(error).__name__)
        raise ImageError(f'{name} cannot be read as bytes: {reason}; open an image with mode "rb"') from None
    return bytes(data)


def _of_data_url(url: str, max_bytes: int) -> bytes:
    """As browsers do: white space does not matter, padding may be missing, a fragment is no data.

    The alphabet of URLs is read too."""
    end = len(url) if (end := url.find("#")) < 0 else end
    comma = url.find(",", 0, end)
    if comma < 0:
        raise ImageError("the data: URL has no comma; write data:image/png;base64,…")
    if end - comma - 1 > 3 * max_bytes:  # %XX is the widest spelling of a byte
        raise ImageError(f"the data: URL is longer than {max_bytes:,} bytes, the limit; make the image smaller first")
    if url.count("%", comma, end) > _MOST_ESCAPES:
        raise ImageError(f"the data: URL has more than {_MOST_ESCAPES:,} letters as %XX; write data:image/png;base64,…")
    is_base64 = _IS_BASE64.search(url, 0, comma)
    if is_base64 and len(url) > _LONG and not url.isascii():
        # Such a text takes up to four times its length, and so do its copies.
        raise ImageError("the data: URL has letters outside of ASCII; write data:image/png;base64,…")
    try:
        data = _unquoted(url, comma + 1, end)
        if is_base64:
            digits = data.translate(_URL_SAFE, string.whitespace.encode()).rstrip(b"=")
            data = base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, UnicodeError):
        raise ImageError("the data: URL is not valid base64; write data:image/png;base64,…") from None
    return data


def _unquoted(text: str, start: int, end: int) -> bytes:
    """Of a part of the text, in pieces, since for each a list is made of all its parts."""
    made = bytearray()
    while start < end:
        stop = min(start + _PIECE, end)
        if stop < end and (cut := text.rfind("%", stop - 2, stop)) > start:
            stop = cut  # two digits belong to it
        made += unquote_to_bytes(text[start:stop])
        start = stop
    return bytes(made)
