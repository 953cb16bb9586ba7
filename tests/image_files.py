"""Shared by the tests of images: files made here, and what is said of one that is refused."""

import io
import struct
import zlib
from importlib import import_module

import pytest
from PIL import Image

from seeahead import images
from seeahead.errors import ImageError
from seeahead.images import load_image

if "HEIF" in images.FORMATS:  # so that tests can write such files
    import_module("pillow_heif").register_heif_opener(thumbnails=False)

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def encoded(image, kind="PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(color=RED, size=(8, 6), mode="RGB"):
    return Image.new(mode, size, color)


def refusal(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
