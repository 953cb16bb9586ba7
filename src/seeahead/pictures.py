"""Pictures from anywhere, made safe: whatever comes in, an upright RGB picture or one ImageError goes out.

Pictures are untrusted input. Only common raster formats are opened, the header is checked before anything is
decoded, and a web address is followed only where the caller allows it. Knows nothing of models.
"""

import base64
import binascii
import io
import re
import stat
import struct
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image, ImageOps

from seeahead.errors import ImageError
from seeahead.fetch import fetch

PictureSource = str | Path | bytes | Image.Image
"""What a picture may be given as: a path, a `data:` or web address, the bytes of a file, a PIL image."""

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded: 50 megapixels are 150 MB of RGB."""

MAX_BYTES = 64 * 1024 * 1024
"""Larger files are not read."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")

# What Pillow raises on broken files, from its many decoders.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
                   MemoryError, struct.error)  # fmt: skip
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")


def load_picture(source: PictureSource, *, allow_urls: bool = False) -> Image.Image:
    """The picture as upright RGB: EXIF rotation applied, transparency on white, first frame of an animation.

    `source` is a path, the bytes of a file, a PIL image or a `data:` URL; an http(s) URL only with `allow_urls`,
    which belongs in a program's own settings and never in what a stranger may send.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the PIL image")
    name, data = _read(source, allow_urls=allow_urls)
    if not data:
        raise ImageError(f"{name} is empty; give a picture in one of the formats {', '.join(FORMATS)}")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except _BOMB_ERRORS:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels, the limit; make it smaller first") from None
    except _DECODER_ERRORS:
        raise ImageError(f"{name} is not a picture in one of the formats {', '.join(FORMATS)}; convert it") from None
    with closing(picture):
        return _to_rgb(picture, name)


def _to_rgb(picture: Image.Image, name: str) -> Image.Image:
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} is {width}x{height} pixels; give a picture with at least one pixel")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width}x{height} = {width * height:,} pixels, the limit is {MAX_PIXELS:,}; make it smaller"
        )
    try:
        picture.load()
    except (*_DECODER_ERRORS, *_BOMB_ERRORS):
        raise ImageError(f"{name} is truncated or damaged; save or download it again") from None
    try:
        return _composite(_upright(picture))
    except (*_DECODER_ERRORS, *_BOMB_ERRORS):
        raise ImageError(f"{name} has pixels of kind {picture.mode}, which cannot become RGB; convert it") from None


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except _DECODER_ERRORS:
        return picture  # damaged metadata is no reason to refuse good pixels


def _composite(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _to_8_bit(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    # convert() copies, so the caller's own picture stays untouched, except where there is nothing to convert.
    return picture.copy() if picture.mode == "RGB" else picture.convert("RGB")


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits and more; Pillow's own conversion clips at 255, which turns such pictures white."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float32))
    highest = float(values.max())
    if picture.mode.startswith("I;16") or 255 < highest <= 65535:
        highest = 65535.0
    elif picture.mode == "F" and highest <= 1:
        highest = 1.0
    elif highest <= 255:
        highest = 255.0
    return Image.fromarray(np.clip(values * (255.0 / highest), 0, 255).round().astype(np.uint8))


def _read(source: str | Path | bytes, *, allow_urls: bool) -> tuple[str, bytes]:
    """A short name for messages, and the bytes of the file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "the picture given as bytes", _limited(bytes(source), "the picture given as bytes")
    if isinstance(source, Path):
        return _shown(str(source)), _read_file(source)
    if not isinstance(source, str):
        raise ImageError(
            f"a picture was given as {type(source).__name__}; give a path, bytes, a PIL image or a data: URL"
        )
    scheme = _SCHEME.match(source)
    kind = scheme.group(1).lower() if scheme else ""
    if kind == "data":
        return "the data: URL", _decode_data_url(source)
    if kind in ("http", "https"):
        if not allow_urls:
            raise ImageError(
                f"{_shown(source)} is a web address, which is not allowed here; download the picture, give its path"
            )
        return _shown(source), fetch(source, max_bytes=MAX_BYTES)
    if "://" in source[:32]:
        raise ImageError(f"{_shown(source)} is a {kind}: address; give a path, bytes, a PIL image or a data: URL")
    return _shown(source), _read_file(Path(source))


def _read_file(path: Path) -> bytes:
    name = _shown(str(path))
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder; give the path of one picture")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is not a regular file; give the path of a picture")
        with path.open("rb") as stream:
            return _limited(stream.read(MAX_BYTES + 1), name)
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; give the path of a picture") from None
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror or error}; give the path of a picture") from None
    except ImageError:
        raise
    except ValueError:  # a null byte in the path
        raise ImageError(f"{name} is not a path; give the path of a picture") from None


def _decode_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise ImageError("the data: URL has no comma; write data:image/png;base64,…")
    if len(body) > 3 * MAX_BYTES:  # %XX is the widest spelling of a byte
        raise ImageError(f"the data: URL is longer than {MAX_BYTES:,} bytes, the limit; make the picture smaller first")
    data = unquote_to_bytes(body)
    if head.lower().endswith(";base64"):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            raise ImageError("the data: URL is not valid base64; write data:image/png;base64,…") from None
    return _limited(data, "the data: URL")


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name} is larger than {MAX_BYTES:,} bytes, the limit; make it smaller first")
    return data


def _shown(text: str) -> str:
    """The user's own words, on one line and not endless."""
    text = repr(text)[1:-1]
    return f"'{text if len(text) <= 120 else '…' + text[-119:]}'"
