"""Which image files are read, and what their first bytes say before Pillow opens them. No Pillow, nothing decoded."""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from seeahead.errors import ImageError

MAX_BYTES = 64 * 1024 * 1024
"""Larger files are not read, and neither are the texts in an image where they are larger together."""

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: 50 megapixels are 150 MB of RGB."""

SUFFIXES = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif"),
}
"""How files end, by format in Pillow's words. Nothing else is opened: its rarer decoders are old and little tried."""

IMAGE_SUFFIXES = (*SUFFIXES["JPEG"], *(suffix for kind in SUFFIXES if kind != "JPEG" for suffix in SUFFIXES[kind]))
"""How an image file may end, photographs first."""

# Also where a file ends before its first bytes are complete.
_STARTS = {
    "JPEG": rb"\xff\xd8(\xff|\Z)",
    "PNG": rb"\x89PNG|\x89PN?\Z",
    "WEBP": rb"RIFF(.{4}WEBP|.{0,7}\Z)",
    "GIF": rb"GIF8",
    "BMP": rb"BM(.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0|.{0,15}\Z)",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6fF]\s",
    "AVIF": rb".{4}ftypavi[fs]",
    "HEIF": rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
}
_START = re.compile(b"|".join(b"(?P<%s>%s)" % (kind.encode(), start) for kind, start in _STARTS.items()), re.DOTALL)

_PNG = b"\x89PNG\r\n\x1a\n"
# Pillow refuses a PNG with a longer compressed text or colour profile, and neither is needed for its pixels.
_MAX_PNG_TEXT = 1024 * 1024


def format_of(data: bytes) -> str | None:
    """The format that the first bytes promise, one of SUFFIXES; None where they promise no image."""
    found = _START.match(data[:32])
    return found.lastgroup if found and len(data) > 1 else None


def why_unreadable(data: bytes, readable: Sequence[str]) -> str:
    """The end of a message about bytes that Pillow does not open, though it reads the `readable` formats."""
    kind = format_of(data)
    if kind == "HEIF" and kind not in readable:
        return "is a HEIC image, which is read with pip install '.[heic]'; or convert it to JPEG or PNG"
    if kind is None:
        return f"is not an image in one of the formats {', '.join(readable)}; convert it"
    if kind not in readable:
        return f"is an image in {kind}, which the installed Pillow cannot read; update Pillow, or convert it to PNG"
    return f"is truncated or damaged, or a rare kind of {kind}; save or download it again"


def has_negative_width(data: bytes) -> bool:
    """Of a BMP file. Pillow takes such a width for one of four billion pixels."""
    return format_of(data) == "BMP" and data[14:18] > b"\x0c\0\0\0" and struct.unpack("<i", data[18:22])[0] < 0


def check_scans(data: bytes, name: str) -> None:
    """Raises ImageError for a JPEG with very many scans: a few bytes each go over all pixels once more."""
    num_scans, place = 0, 2 if format_of(data) == "JPEG" else len(data)
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None or found[0] == b"\xff\xd9" or found.end() + 2 > len(data):
            return
        num_scans += found[0] == b"\xff\xda"
        if num_scans > _MOST_SCANS:
            break
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    raise ImageError(f"{name} is a JPEG of too many parts, at most {_MOST_SCANS} scans are read; save it again")


_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a JPEG: the beginning of a segment, which says its length next. In a scan's data it stands only at its end."""
_MOST_SCANS, _MOST_SEGMENTS = 100, 100_000  # cameras and editors write about ten, of segments some hundred


def without_large_texts(data: bytes, name: str) -> bytes:
    """A PNG file without the texts and colour profiles for which Pillow would refuse it: large or damaged ones.

    Other files as they are. Raises ImageError for a bomb."""
    if not data.startswith(_PNG):
        return data
    kept, num_text_bytes, start = [], 0, 0
    for place, end, size in _texts(memoryview(data)):
        num_text_bytes += size or 0
        if num_text_bytes > MAX_BYTES:
            raise ImageError(f"{name} holds more than {MAX_BYTES:,} bytes of texts, the limit; save it without them")
        if size is None or size > _MAX_PNG_TEXT:
            kept.append(data[start:place])
            start = end
    return b"".join((*kept, data[start:])) if kept else data


def _texts(data: memoryview) -> Iterator[tuple[int, int, int | None]]:
    """(start, end, bytes when inflated or None where it is damaged) of every chunk that may be compressed."""
    place = len(_PNG)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        kind = bytes(data[place + 4 : place + 8])
        if end > len(data) or kind == b"IEND":
            return
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            yield place, end, _text_size(kind, data[place + 8 : end - 4])
        place = end


def _text_size(kind: bytes, body: memoryview) -> int | None:
    _, _, rest = bytes(body).partition(b"\0")  # after the keyword
    if kind == b"iTXt":
        text = rest[2:].split(b"\0", 2)[-1]  # after the language and the translated keyword
        return len(text) if rest[:1] == b"\0" else _inflated_size(text)
    return _inflated_size(rest[1:]) if rest[:1] == b"\0" else None  # another compression: there is none


def _inflated_size(data: bytes) -> int:
    """At most a little more than MAX_BYTES. Inflated piece by piece, nothing is kept."""
    stream, size = zlib.decompressobj(), 0
    with suppress(zlib.error):  # damaged text is no reason to refuse good pixels, and Pillow does not
        while data and not stream.eof and size <= MAX_BYTES:
            size += len(stream.decompress(data, 1024 * 1024))
            data = stream.unconsumed_tail
    return size
