"""Every image a user may bring: it becomes upright RGB, or it is refused in one line."""

import base64
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from seeahead import image_formats, images
from seeahead.errors import ImageError
from seeahead.images import MAX_PIXELS, load_image
from tests.image_files import GREEN, RED, WHITE, encoded, plain, png_chunk, refusal


def png_with_header(width, height) -> bytes:
    """A few bytes that promise width x height pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = png_chunk(b"IDAT", zlib.compress(b"\0" * 64)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rest


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_becomes_rgb(kind):
    image = load_image(encoded(plain(), kind))
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.abs(np.asarray(image).astype(int) - RED).max() < 8


def test_a_path_a_string_bytes_an_image_and_a_data_url_give_the_same(tmp_path):
    data = encoded(plain(GREEN))
    path = tmp_path / "an image.png"
    path.write_bytes(data)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    results = [load_image(source).tobytes() for source in (path, str(path), data, plain(GREEN), url)]
    assert len(set(results)) == 1


def test_the_given_image_is_copied_not_shared():
    mine = plain()
    theirs = load_image(mine)
    theirs.putpixel((0, 0), GREEN)
    assert mine.getpixel((0, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = Image.new("RGB", (8, 4), WHITE)
    upright.paste(RED, (0, 0, 2, 2))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera with this orientation would store it
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert load_image(encoded(stored, "PNG", exif=exif)).tobytes() == upright.tobytes()


def test_damaged_exif_does_not_refuse_good_pixels():
    image = load_image(encoded(plain(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x01" * 30))
    assert image.size == (8, 6)


CORRUPT_EXIF = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x01" * 30


def test_warnings_of_pillow_stay_inside_and_those_of_others_do_not():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy = Image.open(io.BytesIO(encoded(plain(), "JPEG", exif=CORRUPT_EXIF)))
    before = list(warnings.filters)
    for source in (encoded(plain(), "JPEG", exif=CORRUPT_EXIF), lazy):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_image(source)
        assert caught == []
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_warnings_stay_inside_in_several_threads_at_once():
    data, before, failed = encoded(plain(), "JPEG", exif=CORRUPT_EXIF), list(warnings.filters), []

    def load():
        try:
            for _ in range(30):
                load_image(data)
        except UserWarning as warning:
            failed.append(warning)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert warnings.filters == before


def test_numbers_beyond_all_bounds_become_black_and_white():
    values = np.array([[-np.inf, np.nan, 1.0, 0.5, np.inf]], dtype=np.float32)
    assert np.asarray(load_image(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 0, 0, 255]
    values = np.array([[-np.inf, np.nan, 1.0, 0.5]], dtype=np.float32)
    assert np.asarray(load_image(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 255, 128]


def test_a_pil_image_whose_file_was_closed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(plain()))
    with Image.open(path) as image:
        pass
    assert "the PIL image is truncated or damaged, or its file was closed" in refusal(image)


def test_cmyk_jpeg():
    image = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = np.asarray(image).astype(int).mean((0, 1))
    assert red > 200
    assert max(green, blue) < 60


def test_16_bit_grey_keeps_its_greys():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        result = np.asarray(load_image(encoded(Image.fromarray(ramp), kind)))[..., 0].astype(int)
        assert np.abs(result - ramp / 257.0).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.0, 255.0], [0, 100, 255])]
)
def test_float_tiff(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.asarray(load_image(encoded(image, "TIFF")))[0, :, 0].tolist() == expected


def test_transparency_lies_on_white():
    assert load_image(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))).getpixel((0, 0)) == WHITE
    assert load_image(encoded(Image.new("LA", (4, 4), (0, 0)))).getpixel((0, 0)) == WHITE
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert load_image(encoded(palette)).getpixel((0, 0)) == RED
    assert load_image(encoded(palette, transparency=1)).getpixel((0, 0)) == WHITE


def test_grey_and_black_and_white():
    assert load_image(encoded(plain(77, mode="L"))).getpixel((0, 0)) == (77, 77, 77)
    assert load_image(encoded(plain(1, mode="1"))).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(plain(RED), kind, save_all=True, append_images=[plain(GREEN)], **options)
    assert load_image(data).getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("name", "told"),
    [("none.png", "does not exist"), ("", "is a folder"), ("a\0b.png", "is not a path"), ("x" * 300, "cannot be read"),
     ("loop.png", "cannot be read: Too many levels"), ("/dev/zero", "is not a regular file"),
     ("pipe.png", "is not a regular file")],
)  # fmt: skip
def test_missing_file_folder_and_pipe(tmp_path, name, told):
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert told in refusal(f"{tmp_path}/{name}" if name[:1] != "/" else name)


def test_standard_input_by_its_path_says_how_it_is_read(monkeypatch):
    device = Path(os.devnull).stat()
    monkeypatch.setattr(Path, "stat", lambda path: device)
    for name in ("/dev/stdin", "/dev/fd/0"):
        assert refusal(name).endswith(
            "is not a regular file; give the path of an image, or '-i -' to read standard input"
        )
    assert refusal("/dev/other").endswith("is not a regular file; give the path of an image")


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.4",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        bytes(1000),
    ],
)
def test_what_is_not_an_image(data):
    assert "not an image in one of the formats PNG, JPEG" in refusal(data)


@pytest.mark.parametrize("name", ["a.jpg", "a.eps", "a.png"])
def test_postscript_is_run_under_no_name(tmp_path, monkeypatch, name):
    """Pillow decodes it with a program that runs whatever is written there."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: pytest.fail("it was run"))
    path = tmp_path / name
    path.write_bytes(encoded(plain(), "EPS"))
    for source in (path, path.read_bytes(), b"\xc5\xd0\xd3\xc6" + path.read_bytes()):
        assert "is not an image in one of the formats PNG, JPEG" in refusal(source)


def test_nothing():
    assert "empty" in refusal(b"")
    for blank in ("", " ", "\n"):
        assert "the path of the image is empty" in refusal(blank)


def test_a_rare_format_that_pillow_knows_is_refused_too():
    assert "not an image" in refusal(encoded(plain(), "ICO"))


def test_wrong_type():
    assert "int" in refusal(7)
    assert "NoneType" in refusal(None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    message = refusal(data[: len(data) // 2])
    assert "truncated" in message or "not an image" in message


def test_random_damage_is_refused_or_read_but_never_crashes():
    random = np.random.default_rng(1)
    noise = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"):
        data = encoded(noise, kind)
        for _ in range(60):
            broken = bytearray(data)
            for place in random.integers(0, len(broken), 4):
                broken[place] = random.integers(0, 256)
            try:
                assert load_image(bytes(broken)).mode == "RGB"
            except ImageError:
                continue


@pytest.mark.parametrize("side", [8_000, 11_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side, monkeypatch):
    def decode(*_):
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert f"{MAX_PIXELS:,}" in refusal(png_with_header(side, side))


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    """Each of a few bytes takes as long as the pixels are many."""
    noise = Image.effect_noise((64, 48), 90)
    good = encoded(noise, "JPEG", progressive=True, quality=90, exif=b"Exif\0\0" + b"\xff\xda" * 200)
    place, end = good.rfind(b"\xff\xda"), good.rfind(b"\xff\xd9")
    assert load_image(good + b"\xff\xda" * 200).size == (64, 48), "what lies in a text, or after the end, is no scan"
    many = good[:end] + good[place:end] * 95 + good[end:]
    assert "at most 100 scans" in refusal(many)
    assert load_image(good[:end] + good[place:end] * 50 + good[end:]).size == (64, 48)
    monkeypatch.setattr(image_formats, "_MOST_SEGMENTS", 50)
    assert "too many parts" in refusal(good[:2] + b"\xff\xfe\0\4ab" * 60 + good[2:])


def test_a_lazy_pil_image_is_checked_before_it_is_decoded():
    lazy = Image.open(io.BytesIO(png_with_header(8_000, 8_000)))
    assert f"{MAX_PIXELS:,}" in refusal(lazy)


def test_pixels_at_the_limit_are_accepted(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 48)
    assert load_image(encoded(plain())).size == (8, 6)
    assert "49" in refusal(encoded(plain(size=(7, 7))))


def test_a_file_over_the_byte_limit(tmp_path, monkeypatch):
    data = encoded(plain())
    path = tmp_path / "big.png"
    path.write_bytes(data)
    monkeypatch.setattr(images, "MAX_BYTES", len(data) - 1)
    for source in (path, data, "data:image/png;base64," + base64.b64encode(data).decode()):
        assert f"{len(data) - 1:,} bytes" in refusal(source)


def test_data_urls():
    data = encoded(plain())
    text = base64.b64encode(data).decode()
    assert load_image("DATA:image/png;charset=x;base64," + text[:20] + "\n" + text[20:]).size == (8, 6)
    assert load_image("data:image/png," + "".join(f"%{byte:02X}" for byte in data)).size == (8, 6)
    assert "comma" in refusal("data:image/png;base64")
    assert "base64" in refusal("data:image/png;base64,!!!!")
    assert "empty" in refusal("data:,")


@pytest.mark.parametrize(
    "address", ["http://example.com/a.png", "https://example.com/a.png", "HTTP://example.com/a.png"]
)
def test_a_web_address_needs_permission(address):
    assert "not allowed" in refusal(address)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.com/a.png", "gopher://x/"])
def test_other_addresses_are_refused_even_with_permission(address):
    assert "address" in refusal(address, allow_urls=True)


def test_messages_stay_on_one_short_line():
    message = refusal(Path("a\nb" + "c" * 300 + ".png"))
    assert len(message) < 250
