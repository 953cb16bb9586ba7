"""Images for `benchmarks.serve_fuzz_requests`: good ones of every format, broken ones, bombs, and odd addresses."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib
from random import Random
from typing import Any
from urllib.parse import quote

from PIL import Image, features

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "AVIF")
_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "JPEG": ("L", "RGB", "CMYK"), "GIF": ("L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "LAB", "I;16"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"), "PPM": ("1", "L", "RGB", "I"), "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
}  # fmt: skip
_SIZES = ((40, 30), (1, 1), (1, 900), (1500, 1), (2, 3), (200, 150), (1200, 900))


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _formats() -> list[str]:
    return [kind for kind in _FORMATS if kind not in ("WEBP", "AVIF") or features.check(kind.lower())]


@functools.cache
def _file(kind: str, mode: str, size: tuple[int, int], turned: int = 1, frames: int = 1) -> bytes:
    """An image file; `turned` is its EXIF orientation."""
    whole = Image.linear_gradient("L").resize(size)
    if mode == "I;16":
        whole = whole.convert("I").convert("I;16")
    elif mode == "LAB":
        whole = Image.merge("LAB", (whole, whole, whole))
    else:
        whole = whole.convert("RGB").convert(mode) if mode not in ("I", "F", "LA") else whole.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = turned
    held = io.BytesIO()
    more: dict[str, Any] = {}
    if frames > 1:
        more = {"save_all": True, "append_images": [whole.rotate(90 * one) for one in range(1, frames)]}
    if turned != 1 and kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        more["exif"] = exif
    whole.save(held, kind, **more)
    return held.getvalue()


def _some(random: Random) -> bytes:
    kind = random.choice(_formats())
    turned = random.choice((1, 1, 2, 3, 5, 6, 8, 9, 65535))
    frames = random.choice((1, 1, 5)) if kind in ("PNG", "GIF", "WEBP", "TIFF", "AVIF") else 1
    return _file(kind, random.choice(_MODES[kind]), random.choice(_SIZES), turned, frames)


@functools.cache
def good_images() -> tuple[str, ...]:
    """Addresses of small images that every server reads."""
    return tuple(uri(_file(kind, "RGB", size)) for kind in _formats()[:6] for size in ((40, 30), (30, 44)))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@functools.cache
def _zeros(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes << 20), 9)


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IEND", b"")


def _bomb(random: Random) -> bytes:
    """A small file that says it is large, or that is when it is unpacked."""
    large = random.choice((7000, 30_000, 65_000, 2**31 - 1, 0))
    jpeg, bmp, gif = _file("JPEG", "RGB", (40, 30)), _file("BMP", "RGB", (40, 30)), _file("GIF", "RGB", (40, 30))
    start = jpeg.index(b"\xff\xc0") + 5
    side = struct.pack(">H", large & 0xFFFF)
    return random.choice((
        _png(large, large),
        _png(large, 1, _chunk(b"IDAT", _zeros(1))),
        _png(3000, 3000, _chunk(b"IDAT", _zeros(26))),
        _png(2000, 2000, _chunk(b"IDAT", _zeros(100))),
        _png(4, 4, _chunk(b"zTXt", b"a\0\0" + _zeros(70)), _chunk(b"IDAT", _zeros(1))),
        _png(4, 4, _chunk(b"iCCP", b"a\0\0" + _zeros(3)), _chunk(b"IDAT", _zeros(1))),
        _png(4, 4, *[_chunk(b"tEXt", b"a\0" + b"x" * 99)] * 2000, _chunk(b"IDAT", _zeros(1))),
        jpeg[:start] + side + side + jpeg[start + 4 :],
        bmp[:18] + struct.pack("<ii", min(large, 2**31 - 1), -large) + bmp[26:],
        gif[:6] + struct.pack("<HH", large & 0xFFFF, large & 0xFFFF) + gif[10:],
        b"P6 %d %d 255\n" % (large, large) + bytes(100),
        b"P5 " + b"9" * 5000 + b" 1 255\n",
    ))  # fmt: skip


def _broken(random: Random) -> bytes:
    data = bytearray(_some(random))
    way = random.randrange(5)
    if way == 0:
        del data[random.randrange(len(data)) :]
    elif way == 1:
        for _ in range(random.randint(1, 20)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif way == 2:
        for _ in range(random.randint(1, 8)):
            data[random.randrange(min(len(data), 64))] = random.randrange(256)
    elif way == 3:
        place = random.randrange(len(data))
        data[place:place] = random.randbytes(random.choice((1, 7, 4000)))
    else:
        data += _some(random) if random.random() < 0.5 else random.randbytes(50_000)
    return bytes(data)


_PLACES = (
    "file:///etc/passwd", "file://%00", "file:///proc/self/environ", "FILE:///dev/zero", "file://", "file:../x.png",
    "http://127.0.0.1:1/x.png", "http://[::1]/x", "http://localhost/x", "http://0x7f.1/", "http://2130706433/",
    "http://169.254.169.254/latest/meta-data", "http://10.0.0.1:99999/", "http://user:pass@127.0.0.1/", "https://[::]/",
    "http://", "https://[", "http:///x", "http://a b/", "http://\u0130.\u0131/", "http://xn--/", "http://127.0.0.1\\@x/",
    "http://" + "a" * 300 + ".invalid/", "http://[::ffff:10.0.0.1]/x", "ftp://example.com/x", "gopher://127.0.0.1/",
    "javascript:alert(1)", "//127.0.0.1/x", "/etc/passwd", "C:\\x.png", "", " ", "\x00", "\ud800", "x" * 100_000,
    "data:", "data:,", "data:image/png", "data:image/png;base64", "data:image/png;base64,", "data:;base64,====",
    "data:image/png;base64,!!!!", "data:text/html,<script>", "data:image/svg+xml,<svg/>", "data:image/png,%", "data,x",
    "data:image/png;base64,%F", "data:image/png;base64;base64,AAAA", "DATA:IMAGE/PNG;BASE64,AAAA", "data:image/heic,x",
)  # fmt: skip


def addresses(random: Random) -> list[str]:
    """A few addresses: of good, broken, huge and odd images, and of no image at all."""
    good = _some(random)
    spellings = (
        uri(good), uri(good, "text/plain"), uri(good, ""), f" {uri(good)}\n", uri(good).replace("=", ""),
        "data:image/*;base64," + base64.urlsafe_b64encode(good).decode(), "data:image/png," + quote(good),
        uri(good).replace("A", "A\n"), uri(good).upper(), uri(good)[: random.randrange(30, 400)], uri(good) + "=A==",
        uri(good).replace("A", "\u00c5"),
    )  # fmt: skip
    found = [random.choice(spellings), random.choice(spellings), uri(_broken(random)), uri(_broken(random))]
    found += [uri(good), uri(_bomb(random)), random.choice(_PLACES), random.choice(_PLACES)]
    if random.random() < 0.03:
        found.append("data:image/png;base64," + random.choice(("A", "AAA=", "%41")) * 4_000_000)
    return found
