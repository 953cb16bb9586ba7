"""Images from anywhere, made safe: whatever comes in, an upright RGB image or one ImageError goes out.

Images are untrusted input. Only common raster formats are opened, the header is checked before anything is
decoded, and a web address is followed only where the caller allows it. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from seeahead.errors import ImageError
from seeahead.hidden_warnings import hidden
from seeahead.image_formats import (
    MAX_BYTES,
    MAX_PIXELS,
    SUFFIXES,
    check_structure,
    check_tables,
    format_of,
    has_negative_width,
    why_unreadable,
    without_large_texts,
)
from seeahead.images.sources import ImageSource, ImageSources, as_sources, read_source

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "PIXEL_BYTES", "ImageSource", "ImageSources", "OpenedImage",
           "as_sources", "load_image", "open_image"]  # fmt: skip

PIXEL_BYTES = 4
"""That a pixel of an RGB image takes in Pillow's memory."""

_OPTIONAL = {"WEBP": "webp", "AVIF": "avif"}  # parts that a build of Pillow may lack, by its names


def _is_readable(kind: str) -> bool:
    if kind == "HEIF":  # of another package, which most do without
        return find_spec("pillow_heif") is not None
    return kind not in _OPTIONAL or (_OPTIONAL[kind] in features.modules and features.check_module(_OPTIONAL[kind]))


FORMATS = tuple(kind for kind in SUFFIXES if _is_readable(kind))

# What Pillow raises on broken files, from its many decoders.
_DECODER_ERRORS = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
                   RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error)  # fmt: skip
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# Of Pillow: what is wrong with an image is said by an error, or does not matter.
_quiet = partial(hidden, module=r"PIL\.")
_DAMAGED = "is truncated or damaged; save or download it again"
_DAMAGED_OR_CLOSED = "is truncated or damaged, or its file was closed; call its load() before the file is closed"


def load_image(source: ImageSource, *, allow_urls: bool = False, max_pixels: int | None = None) -> Image.Image:
    """The image as upright RGB: EXIF rotation applied, transparency on white, first frame of an animation.

    `source` is a path, the bytes of a file or an open binary file (read from its start), a PIL image, an array of
    uint8 [height, width], [height, width, 3] or [height, width, 4], or a `data:` URL; an http(s) URL only with
    `allow_urls`, which belongs in a program's own settings and never in what a stranger may send. A file of more than
    `max_pixels` is refused before it is decoded.
    """
    if isinstance(source, Image.Image):
        with _quiet():
            return _to_rgb(source, "the PIL image", _DAMAGED_OR_CLOSED, is_own=False)
    if isinstance(source, np.ndarray):
        with _quiet():
            return _to_rgb(_from_array(source), "the array")
    return open_image(source, allow_urls=allow_urls, max_pixels=max_pixels).load()


def open_image(source: ImageSource, *, allow_urls: bool = False, max_pixels: int | None = None) -> OpenedImage:
    """The same of a file, with nothing decoded yet. Raises ImageError for one that is not to be decoded."""
    name, data = read_source(source, allow_urls=allow_urls, max_bytes=MAX_BYTES)
    if not data:
        raise ImageError(f"{name} is empty; give an image in one of the formats {', '.join(FORMATS)}")
    with _quiet():
        image = _opened(data, name)
    _check_size(*image.size, name, max_pixels)
    return OpenedImage(image, name, data)


@dataclass(frozen=True)
class OpenedImage:
    """An image of which the header is read."""

    _image: Image.Image
    _name: str
    _data: bytes

    @property
    def num_bytes(self) -> int:
        """Of its file."""
        return len(self._data)

    @property
    def digest(self) -> bytes:
        """The same for the same file."""
        return hashlib.blake2b(self._data, digest_size=32).digest()

    @property
    def num_pixels(self) -> int:
        return self._image.width * self._image.height

    def load(self) -> Image.Image:
        """As `load_image`, once: the file is closed."""
        with _quiet(), closing(self._image) as image:
            return _to_rgb(image, self._name)


def _opened(data: bytes, name: str) -> Image.Image:
    """The image by its header; nothing is decoded yet."""
    check_structure(data, name)
    data = without_large_texts(data, name)
    if "HEIF" in FORMATS and format_of(data) == "HEIF":
        _register_heif()
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except _BOMB_ERRORS:
        if has_negative_width(data):
            raise ImageError(f"{name} {_DAMAGED}") from None
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels, the limit; make it smaller first") from None
    except _DECODER_ERRORS:
        raise ImageError(f"{name} {why_unreadable(data, FORMATS)}") from None


def _register_heif() -> None:
    """Of a HEIC the image alone is opened, as far as the installed release can leave out what is beside it."""
    package = import_module("pillow_heif")
    beside = ("thumbnails", "depth_images", "aux_images")
    package.register_heif_opener(**{name: False for name in beside if hasattr(package.options, name.upper())})


def _from_array(values: np.ndarray[Any, Any]) -> Image.Image:
    kinds = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype != np.uint8 or not kinds:
        shape = " x ".join(map(str, values.shape)) or "one number"
        raise ImageError(
            f"the array is {shape} of type {values.dtype}; give uint8, height x width, with 3 (RGB) or 4 (RGBA) last"
        )
    _check_size(values.shape[1], values.shape[0], "the array")
    return Image.fromarray(np.ascontiguousarray(values))


def _check_size(width: int, height: int, name: str, most: int | None = None) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name} is {width}x{height} pixels; give an image with at least one pixel")
    if width * height > (most := most or MAX_PIXELS):
        raise ImageError(
            f"{name} has {width}x{height} = {width * height:,} pixels, the limit is {most:,}; make it smaller"
        )


def _to_rgb(image: Image.Image, name: str, damaged: str = _DAMAGED, *, is_own: bool = True) -> Image.Image:
    """A new image; `is_own`: nobody else has the old one, which may be turned as it is."""
    _check_size(*image.size, name)
    try:
        image.load()
    except (*_DECODER_ERRORS, *_BOMB_ERRORS):
        raise ImageError(f"{name} {damaged}") from None
    _check_exif(image, name)
    try:
        return _composite(_upright(image, is_own))
    except (*_DECODER_ERRORS, *_BOMB_ERRORS):
        raise ImageError(f"{name} has pixels of kind {image.mode}, which cannot become RGB; convert it") from None


def _check_exif(image: Image.Image, name: str) -> None:
    """Raises ImageError for tables that turning the image would make objects of without end."""
    exif = image.info.get("exif")
    if exif is None and isinstance(written := image.info.get("Raw profile type exif"), str):
        with suppress(ValueError):  # of what is damaged Pillow reads nothing either
            exif = bytes.fromhex("".join(written.split("\n")[3:]))
    if isinstance(exif, bytes):
        check_tables(exif.lstrip(b"Exif\0"), name)


def _upright(image: Image.Image, is_own: bool) -> Image.Image:
    try:
        if not is_own:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)  # a copy of a photo takes as much as the photo
        return image
    except _DECODER_ERRORS:
        return image  # damaged metadata is no reason to refuse good pixels


def _composite(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    # convert() copies, so the caller's own image stays untouched, except where there is nothing to convert.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits and more; Pillow's own conversion clips at 255, which turns such images white."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    highest = float(values.max())
    if image.mode.startswith("I;16") or 255 < highest <= 65535:
        highest = 65535.0
    elif image.mode == "F" and highest <= 1:
        highest = 1.0
    elif highest <= 255:
        highest = 255.0
    return Image.fromarray((np.clip(values, 0, highest) * (255.0 / highest)).round().astype(np.uint8))
