"""Which image files are read, and what their first bytes say before Pillow opens them. No Pillow, nothing decoded."""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Literal

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


def check_structure(data: bytes, name: str) -> None:
    """Raises ImageError for a file that Pillow would take minutes, or all memory, to open or to decode."""
    for check in (_check_jpeg, _check_ppm, _check_bmp):
        check(data, name)
    check_tables(data, name, has_pixels=True)


def _check_jpeg(data: bytes, name: str) -> None:
    """Very many scans: a few bytes each go over all pixels once more. Very many parts of Exif: each makes a copy of
    those before. And much between segments, which Pillow reads byte by byte."""
    if format_of(data) != "JPEG":
        return
    if _has_more(_EXIF, data, _MOST_EXIF):
        raise ImageError(f"{name} is a JPEG of too many parts, at most {_MOST_EXIF} of Exif are read; save it again")
    num_scans, num_between, place = 0, 0, 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        start, end = found.span() if found else (len(data), len(data))
        kind = data[start:end]
        num_between += 0 if num_scans else start - place
        num_scans += kind == b"\xff\xda"
        if num_scans > _MOST_SCANS or num_between > _MOST_BETWEEN:
            break
        if kind == b"\xff\xd9" and num_scans == 0:  # Pillow reads on
            place = end
        elif kind == b"\xff\xd9" or end + 2 > len(data):
            return
        else:
            place = end + max(2, int.from_bytes(data[end : end + 2]))
    raise ImageError(f"{name} is a JPEG of too many parts, at most {_MOST_SCANS} scans are read; save it again")


_MARKER = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")
"""Of a JPEG: its end, or the beginning of a segment, which says its length next. In a scan's data it stands only at the
scan's end."""
_EXIF = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)
_MOST_SCANS, _MOST_SEGMENTS = 100, 100_000  # cameras and editors write about ten, of segments some hundred
_MOST_EXIF, _MOST_BETWEEN = 64, 256 * 1024  # one or two, and next to nothing


def _has_more(pattern: re.Pattern[bytes], data: bytes, most: int) -> bool:
    return next(islice(pattern.finditer(data), most, None), None) is not None


def _check_ppm(data: bytes, name: str) -> None:
    """A long head, which Pillow reads byte by byte, and very many comments: each is cut out of a copy of the rest."""
    if not _PPM.match(data):
        return
    kind, head = data[1:2], _COMMENT.sub(b"", data[:_MOST_HEAD])
    words = rb"(\S+\s+){3}" if kind in b"14" else rb"(\S+\s+){4}"
    is_long = len(data) > _MOST_HEAD and not re.match(words, head)
    if is_long or (kind in b"123" and _has_more(_COMMENT, data, _MOST_COMMENTS)):
        raise ImageError(
            f"{name} is a PPM of too long a head or too many comments, at most {_MOST_HEAD:,} bytes and "
            f"{_MOST_COMMENTS:,} comments are read; save it as PNG"
        )


_PPM = re.compile(rb"P[0-6fy]")
_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_MOST_HEAD, _MOST_COMMENTS = 64 * 1024, 1000  # programs write some twenty bytes, and one


def _check_bmp(data: bytes, name: str) -> None:
    """Many pixels as run lengths: Pillow decodes them in Python, and older ones make up to 255 rows more than there
    are."""
    if format_of(data) != "BMP" or len(data) < 34 or data[14] < 40:  # the oldest head knows no run lengths
        return
    width, height, _, packing = struct.unpack_from("<iiII", data, 18)
    if packing in (1, 2) and (abs(width * height) > _MOST_IN_RUNS or abs(width) > _WIDEST_IN_RUNS):
        raise ImageError(
            f"{name} is a BMP in run lengths of {width}x{height} pixels, at most {_MOST_IN_RUNS:,} are read, and "
            f"{_WIDEST_IN_RUNS:,} in a row; save it as PNG"
        )


_MOST_IN_RUNS, _WIDEST_IN_RUNS = 1 << 22, 1 << 16


def check_tables(data: bytes, name: str, *, has_pixels: bool = False) -> None:
    """Raises ImageError for the tables of a TIFF, or of Exif, with very many values: each becomes an object of Python.
    And, where the pixels are its own, for tiles of many more than the image has: they are decoded whole."""
    if not _TIFF.match(data):
        return
    # Pillow takes the last kind for an older one, libtiff takes it for what it is.
    for is_big in {b"+\0": (True,), b"\0+": (False, True)}.get(data[2:4], (False,)):
        num_values, num_bytes, sizes = 0, 0, dict.fromkeys((*_IMAGE_SIZE, *_TILE_SIZE), 0)
        for tag, kind, num, first in _entries(data, name, is_big=is_big):
            num_values += 0 if kind in _KEPT_AS_BYTES else num
            num_bytes += num * _UNITS[kind]
            if num_values > _MOST_VALUES or num_bytes > MAX_BYTES:
                raise ImageError(f"{name} has tables of more than {_MOST_VALUES:,} values, the limit; {_PLAINER}")
            if tag in sizes:
                sizes[tag] = max(sizes[tag], first)
        pixels, tile = (sizes[width] * sizes[height] for width, height in (_IMAGE_SIZE, _TILE_SIZE))
        if has_pixels and tile > (most := max(_MOST_IN_TILE, 2 * min(pixels, MAX_PIXELS))):
            raise ImageError(f"{name} is a TIFF with tiles of {tile:,} pixels, the limit is {most:,}; save it as PNG")


def _entries(data: bytes, name: str, *, is_big: bool) -> Iterator[tuple[int, int, int, int]]:
    """(tag, kind, number of values, the first as a whole number) of every entry whose values are in the file: of its
    first image, which alone is read, and of the tables inside."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    wide, layout = (8, "HHQ8s") if is_big else (4, "HHL4s")
    entry, left = struct.Struct((">" if order == "big" else "<") + layout), _MOST_ENTRIES
    places = [int.from_bytes(data[wide : 2 * wide], order)]
    for place in places:
        start = place + (8 if is_big else 2)
        num_entries = min(int.from_bytes(data[place:start], order), max(len(data) - start, 0) // entry.size)
        left -= num_entries
        if left < 0:
            raise ImageError(f"{name} has tables of more than {_MOST_ENTRIES:,} entries, the limit; {_PLAINER}")
        for tag, kind, num, field in entry.iter_unpack(data[start : start + num_entries * entry.size]):
            unit = _UNITS.get(kind, 0)
            end = (at := int.from_bytes(field, order)) + num * unit
            is_inside = num * unit <= wide
            if unit and num and (is_inside or end <= len(data)):
                first = int.from_bytes(field[:unit] if is_inside else data[at : at + unit], order)
                yield tag, kind, num, first
                if tag in _INNER_TABLES:
                    places.append(first)


_PLAINER = "save it without its metadata, or as PNG"
_TIFF = re.compile(rb"II(\*\0|\+\0|\0\*)|MM(\0\*|\0\+|\*\0)")
_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its kind."""
_KEPT_AS_BYTES = (1, 2, 7)
_IMAGE_SIZE, _TILE_SIZE, _INNER_TABLES = (256, 257), (322, 323), (34665, 34853, 40965)  # tags
_MOST_VALUES, _MOST_ENTRIES, _MOST_IN_TILE = 200_000, 65_535, 1 << 22


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
