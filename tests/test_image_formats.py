"""Image files by their first bytes: large texts do no harm, damage is called damage, phone formats are known."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from seeahead import image_formats, images
from seeahead.image_formats import IMAGE_SUFFIXES, MAX_BYTES, SUFFIXES, format_of, without_large_texts
from seeahead.images import FORMATS, load_image
from tests.image_files import RED, encoded, plain, png_chunk, refusal

SIZE = (8, 6)
BEFORE_PIXELS = 33  # behind the header of a PNG
BEHIND_PIXELS = -12  # before its last chunk


def png_with(kind, body, place) -> bytes:
    data = encoded(plain())
    return data[:place] + png_chunk(kind, body) + data[place:]


def text_bodies(text: bytes) -> list[tuple[bytes, bytes]]:
    packed = zlib.compress(text, 9)
    return [
        (b"zTXt", b"workflow\0\0" + packed),
        (b"iTXt", b"workflow\0\1\0en\0\0" + packed),
        (b"iTXt", b"workflow\0\2\0en\0\0" + packed),
        (b"iTXt", b"workflow\0\0\0en\0\0" + text),
        (b"tEXt", b"workflow\0" + text),
        (b"iCCP", b"profile\0\0" + packed),
    ]


@pytest.mark.parametrize("place", [BEFORE_PIXELS, BEHIND_PIXELS])
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("letters", [10, 1024 * 1024, 2_000_000])
def test_a_png_with_large_texts_or_profiles_opens(letters, number, place):
    kind, body = text_bodies(b"x" * letters)[number]
    image = load_image(png_with(kind, body, place))
    assert (image.size, image.getpixel((0, 0))) == (SIZE, RED)


def test_a_png_as_programs_write_it_opens():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 2_000_000, zip=True)
    texts.add_itxt("prompt", "y" * 2_000_000, zip=True)
    assert load_image(encoded(plain(), pnginfo=texts, icc_profile=bytes(2_000_000))).size == SIZE


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_damaged_texts_do_not_refuse_good_pixels(kind):
    for body in (b"", b"key", b"key\0", b"key\0\0", b"key\0\1\0", b"key\0\0not zlib", b"key\0\1\0\0\0" + b"\xff" * 9):
        for place in (BEFORE_PIXELS, BEHIND_PIXELS):
            assert load_image(png_with(kind, body, place)).size == SIZE


def test_small_texts_and_other_formats_are_left_as_they_are():
    for data in (png_with(b"zTXt", b"k\0\0" + zlib.compress(b"text"), BEFORE_PIXELS), encoded(plain(), "JPEG"), b"x"):
        assert without_large_texts(data, "it") is data


@pytest.mark.parametrize("place", [BEFORE_PIXELS, BEHIND_PIXELS])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_bomb_in_a_text_is_refused_and_called_by_its_name(number, place, monkeypatch):
    monkeypatch.setattr(image_formats, "MAX_BYTES", 1_900_000)
    kind, body = text_bodies(bytes(2_000_000))[number]
    assert "holds more than 1,900,000 bytes of texts" in refusal(png_with(kind, body, place))


def test_the_texts_of_an_image_may_be_as_large_as_a_file():
    kind, body = text_bodies(bytes(MAX_BYTES + 2_000_000))[0]
    assert f"holds more than {MAX_BYTES:,} bytes of texts" in refusal(png_with(kind, body, BEFORE_PIXELS))


def test_many_texts_that_are_a_bomb_together_are_refused(monkeypatch):
    monkeypatch.setattr(image_formats, "MAX_BYTES", 1_000_000)
    data = encoded(plain())
    chunk = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(400_000)))
    assert load_image(data[:33] + 2 * chunk + data[33:]).size == SIZE
    assert "holds more than 1,000,000 bytes of texts" in refusal(data[:33] + 3 * chunk + data[33:])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_called_truncated(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    known = 12 if kind in ("AVIF", "HEIF") else 4  # as many bytes as it takes to know the format
    for end in [*range(known, 60), len(data) // 4, len(data) // 2]:
        assert "truncated or damaged" in refusal(data[:end]), end


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_header_is_called_damaged(kind):
    data = encoded(plain(size=(24, 24)), kind)
    start = 14 if kind in ("AVIF", "HEIF", "BMP") else 12  # what says the format stays
    assert "truncated or damaged" in refusal(data[:start] + b"\x28\0\0\0" * 60)


@pytest.mark.parametrize(("width", "height"), [(-5, -5), (-5, 5), (-1, 1), (-(2**31), 5)])
def test_a_bmp_with_a_negative_width_is_called_damaged(width, height):
    data = bytearray(encoded(plain(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    assert "truncated or damaged" in refusal(bytes(data))


def test_a_bmp_with_a_negative_height_is_stored_from_its_top():
    upright = plain()
    upright.putpixel((0, 0), (0, 0, 0))
    data = bytearray(encoded(upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM), "BMP"))
    data[22:26] = struct.pack("<i", -upright.height)
    assert load_image(bytes(data)).tobytes() == upright.tobytes()


needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")


@needs_avif
def test_avif_is_turned_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(encoded(plain(), "AVIF", exif=exif)).size == (6, 8)


@needs_avif
def test_avif_that_pillow_cannot_read_says_what_to_do(monkeypatch):
    without = tuple(kind for kind in FORMATS if kind != "AVIF")
    monkeypatch.setattr(images, "FORMATS", without)
    assert "is an image in AVIF, which the installed Pillow cannot read; update Pillow" in refusal(
        encoded(plain(), "AVIF")
    )


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"])
def test_heic_says_what_to_do(brand, monkeypatch):
    head = struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1heic"
    monkeypatch.setattr(images, "FORMATS", tuple(kind for kind in images.FORMATS if kind != "HEIF"))
    told = refusal(head + bytes(400))
    assert "is a HEIC image, which is read with pip install '.[heic]'; or convert it to JPEG" in told


def test_heic_is_read_where_its_package_is(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / "photo.heic"
    Image.new("RGB", (64, 48), "red").save(path, format="HEIF", quality=95)
    image = images.load_image(path)
    assert (image.size, image.mode) == ((64, 48), "RGB")
    red, green, blue = image.getpixel((32, 24))
    assert red > 240
    assert max(green, blue) < 16
    assert "is truncated or damaged" in refusal(path.read_bytes()[:200])


def test_what_only_begins_like_an_image_in_words_is_none():
    for text in (b"BMW, a car of Munich, is not an image", b"Python", b"MM", b"RIFF1234WAVEfmt ", b"P1234", b"GIF"):
        assert "not an image in one of the formats" in refusal(text), text
    film = struct.pack(">I", 24) + b"ftypisom" + bytes(40)
    assert "not an image in one of the formats" in refusal(film)


def test_endings_are_those_of_the_formats_that_are_read():
    known = Image.registered_extensions()
    assert {suffix: known[suffix] for kind in FORMATS for suffix in SUFFIXES[kind]} == {
        suffix: kind for kind in FORMATS for suffix in SUFFIXES[kind]
    }
    assert set(IMAGE_SUFFIXES) == {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
    assert IMAGE_SUFFIXES[0] == ".jpg"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_format_is_known_by_the_first_bytes(kind):
    assert format_of(encoded(plain(), kind)) == kind
    assert Image.open(io.BytesIO(encoded(plain(), kind))).format == kind
