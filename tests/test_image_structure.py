"""Small image files that Pillow would take minutes, or all memory, to open or decode: refused before it looks."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seeahead import images
from seeahead.image_formats import check_structure, check_tables
from seeahead.images import load_image
from tests.image_files import RED, encoded, plain, png_chunk, refusal


@pytest.fixture
def closed(monkeypatch):
    """Pillow, which must not be asked."""
    monkeypatch.setattr(Image, "open", lambda *given, **more: pytest.fail("it was opened"))


# ---- PPM

PLAIN_PPM = b"P2 4 3 255\n" + b"7 " * 12


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("kind", [b"P1 4 3\n", b"P2 4 3 255\n", b"P3 4 3 255\n"])
def test_a_plain_ppm_of_many_comments_is_refused(kind, end, closed):
    assert "too many comments, at most 65,536 bytes and 1,000 comments" in refusal(kind + (b"#" + end) * 1001 + b"1 ")


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"P0CMYK", b"PyP", b"PyRGBA"])
def test_a_ppm_of_a_long_head_is_refused(kind, closed):
    for head in (b" #" + b"x" * 70_000 + b"\n4 3 255\n", b" 4 " + b"#\n" * 40_000 + b"3 255\n", b" " * 70_000 + b"4 "):
        assert "PPM of too long a head" in refusal(kind + head + bytes(40))
    if kind not in (b"P1", b"P4"):
        assert "PPM of too long a head" in refusal(kind + b" 4 3 #" + b"x" * 70_000 + b"\n255\n" + bytes(40))


def test_a_ppm_with_comments_as_people_write_them_opens():
    comments = b"#\n" + b"# ---- made by hand ----\r# 7 8 9\n"
    for data in (
        PLAIN_PPM.replace(b"7 ", b"7 #\n"),
        PLAIN_PPM + comments * 300,
        b"P2\n" + comments + b"4 #x\n3 25#x\n5\n" + b"7 " * 12,
        b"P5 4 3 255\n" + b"#" * 12,
        b"P4 " + comments * 1000 + b"4 3\n" + bytes(3),
    ):
        assert load_image(data).size == (4, 3)
    large = np.full((300, 400, 3), ord("#"), np.uint8)
    large[:, ::2] = ord("\n")
    assert np.array_equal(np.asarray(load_image(encoded(Image.fromarray(large), "PPM"))), large)


# ---- JPEG


def segment(body, kind=b"\xe1"):
    return b"\xff" + kind + struct.pack(">H", len(body) + 2) + body


JPEG = encoded(plain(), "JPEG")
EXIF = segment(b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0")


def test_a_jpeg_of_many_parts_of_exif_is_refused(monkeypatch):
    assert load_image(JPEG[:2] + 64 * EXIF + JPEG[2:]).size == (8, 6)
    monkeypatch.setattr(Image, "open", lambda *given, **more: pytest.fail("it was opened"))
    # Pillow does not stop at an end before the first scan, nor at a marker that stands alone.
    for before in (b"", b"\xff\xd9", b"\xff\xf0\xff\xff", b"\xff\xd0\xff\xc8"):
        assert "at most 64 of Exif" in refusal(JPEG[:2] + before + 65 * EXIF + JPEG[2:])


@pytest.mark.parametrize("filler", [b"\xff", b"a", b"\xff\xd9", b"\xff\xd0", b"\xff\0", b"\xff\xf0"])
def test_a_jpeg_with_much_between_its_segments_is_refused(filler, closed):
    many = filler * (300_000 // len(filler))
    start = JPEG[:2] + EXIF
    for data in (JPEG[:2] + b"\xff" + many + JPEG[2:], start + many + JPEG[2:], start + many):
        assert "JPEG of too many parts" in refusal(data)


def test_a_jpeg_with_a_little_between_its_segments_opens():
    for filler in (b"\xff" * 1000, b"\xff\xd0" * 1000):
        assert load_image(JPEG[:2] + filler + JPEG[2:]).size == (8, 6)
    assert load_image(JPEG + bytes(400_000)).size == (8, 6), "what lies behind the end is not read"


# ---- BMP


def runs(width, height, packing, data=b"\0\1"):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8 if packing == 1 else 4, packing, len(data), 0, 0, 2, 0)
    palette = bytes(4) + b"\0\0\xff\0"
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


@pytest.mark.parametrize("packing", [1, 2])
def test_a_large_bmp_of_run_lengths_is_refused(packing, closed):
    for width, height in ((2048, 2049), (2048, -2049), (50_000, 1000), (65_537, 1), (1, 5_000_000)):
        told = refusal(runs(width, height, packing))
        assert f"is a BMP in run lengths of {width}x{height} pixels, at most 4,194,304 are read" in told


def test_a_small_bmp_of_run_lengths_and_a_large_one_without_open():
    image = load_image(runs(4, 2, 1, b"\4\1\0\0\4\1\0\1"))
    assert (image.size, image.getpixel((3, 1))) == ((4, 2), RED)
    assert load_image(encoded(Image.new("L", (2100, 2100)), "BMP")).size == (2100, 2100)


# ---- TIFF

SHORT, LONG, RATIONAL, LETTERS, SIGNED_LETTERS, LONG8 = 3, 4, 5, 7, 6, 16
SIZE = {3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 16: 8}
GREY = {256: 1, 257: 2, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}


def tiff(tables, start=b"II*\0"):
    """A file of {tag: (kind, values as bytes)} per table; a tag for which `tables` has a number is one LONG.

    An entry of tag 34665 is put where the next table lies.
    """
    order = "<" if start[:1] == b"I" else ">"
    is_big = b"+" in start[:4]
    wide, head, layout = (8, "Q", "HHQ8s") if is_big else (4, "H", "HHL4s")
    number = order + {8: "Q", 4: "L"}[wide]
    data = bytearray(start + (struct.pack(order + "HHQ", 8, 0, 16) if is_big else struct.pack(number, 8)))
    for entries in tables:
        sizes = struct.calcsize(order + head) + len(entries) * struct.calcsize(order + layout) + wide
        table, rest = struct.pack(order + head, len(entries)), b""
        behind = len(data) + sizes + sum(len(value[1]) for value in entries.values() if not isinstance(value, int))
        for tag, value in entries.items():
            given = behind if tag == 34665 else value
            kind, body = (LONG, struct.pack(order + "L", given)) if isinstance(given, int) else given
            if len(body) > wide:
                place, rest = struct.pack(number, len(data) + sizes + len(rest)), rest + body
            else:
                place, rest = body.ljust(wide, b"\0"), rest + bytes(0 if isinstance(given, int) else len(body))
            table += struct.pack(order + layout, tag, kind, len(body) // SIZE[kind], place)
        data += table + bytes(wide) + rest
    return bytes(data)


def values(kind, num):
    return kind, bytes(num * SIZE[kind])


STARTS = [b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"]


def test_the_files_that_are_made_here_open():
    for start in (b"II*\0", b"MM\0*", b"II+\0"):
        offsets = struct.pack("<2L" if start[:1] == b"I" else ">2L", 0, 1)
        file = tiff([{**GREY, 273: (LONG, offsets), 34665: 0}, {40961: 1}], start)
        assert load_image(file).size == (1, 2)


@pytest.mark.parametrize("kind", [SHORT, LONG, RATIONAL, SIGNED_LETTERS, LONG8])
@pytest.mark.parametrize("start", STARTS)
def test_a_tiff_with_tables_of_very_many_values_is_refused(start, kind, closed):
    many = values(kind, 200_001)
    for tables in ([{**GREY, 273: many}], [{**GREY, 34665: 0}, {40000: many}]):
        assert "has tables of more than 200,000 values, the limit" in refusal(tiff(tables, start))
    halves = {**GREY, 273: values(kind, 100_001), 279: values(kind, 100_000)}
    assert "has tables of more than 200,000 values, the limit" in refusal(tiff([halves], start))


def test_values_that_stay_bytes_may_be_many(monkeypatch):
    file = tiff([{**GREY, 273: (LONG, bytes(8)), 34675: values(LETTERS, 1_000_000)}])
    assert load_image(file).size == (1, 2)
    strips = {**GREY, 257: 50_000, 273: values(LONG, 50_000), 279: values(LONG, 50_000)}
    assert load_image(tiff([strips])).size == (1, 50_000)
    # The same bytes named again and again are as many for each name.
    monkeypatch.setattr("seeahead.image_formats.MAX_BYTES", 2_500_000)
    again = struct.pack("<HHLL", 34675, LETTERS, 1_000_000, 0)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 3) + again * 3 + bytes(1_000_000)
    assert "has tables of more than" in refusal(data)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0"])
def test_a_table_that_names_itself_or_has_very_many_entries_is_left(start, closed):
    order = "<" if start[:1] == b"I" else ">"
    inner = struct.pack(order + "HHL4s", 34665, LONG, 1, struct.pack(order + "L", 8))
    if b"+" in start:
        inner = struct.pack("<HHQQ", 34665, LONG, 1, 16)
        head = start + struct.pack("<HHQQ", 8, 0, 16, 70_000)
    else:
        head = start + struct.pack(order + "LH", 8, 60_000)
    assert "has tables of more than 65,535 entries, the limit" in refusal(head + inner * 70_000)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_tiles_much_larger_than_the_image_are_refused(start, closed):
    sizes = {**GREY, 259: 8, 322: 23_100, 323: 23_100, 324: 8}
    assert "is a TIFF with tiles of 533,610,000 pixels, the limit is 4,194,304" in refusal(tiff([sizes], start))
    order = "<" if start[:1] == b"I" else ">"
    long = (LONG8, struct.pack(order + "Q", 23_100))
    assert "is a TIFF with tiles of 533,610,000 pixels" in refusal(tiff([{**sizes, 322: long, 323: long}], start))
    claimed = {**sizes, 256: 1 << 31, 257: 1 << 31}
    assert "is a TIFF with tiles of 533,610,000 pixels, the limit is 100,000,000" in refusal(tiff([claimed], start))


def test_tiles_of_the_size_of_an_image_open():
    for side, tile in ((16, 2048), (2049, 2304), (3000, 3008)):
        sizes = {**GREY, 256: side, 257: side, 322: tile, 323: tile, 324: 8}
        check_structure(tiff([sizes]), "it")


def test_a_tiff_cut_anywhere_is_truncated():
    data = tiff([{**GREY, 273: values(LONG, 300_000), 34665: 0}, {40000: 1}])
    for end in (8, 9, 12, 40, 95, 120, 4000):
        assert "truncated or damaged" in refusal(data[:end])


# ---- Exif


def exif(num, kind=RATIONAL):
    return tiff([{0x0112: values(kind, num)}])


def test_exif_with_tables_of_very_many_values_is_refused(monkeypatch):
    png = encoded(plain())
    for place in (33, -12):
        good, bad = (png[:place] + png_chunk(b"eXIf", exif(num)) + png[place:] for num in (1000, 200_001))
        assert load_image(good).size == (8, 6)
        assert "has tables of more than 200,000 values" in refusal(bad)
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", lambda *given, **more: pytest.fail("it was turned"))
    own = plain()
    own.info["exif"] = b"Exif\0\0" * 3 + exif(200_001)
    assert "the PIL image has tables of more than 200,000 values" in refusal(own)
    own.info = {"Raw profile type exif": f"\nexif\n  9\n{exif(200_001).hex()}\n"}
    assert "the PIL image has tables of more than 200,000 values" in refusal(own)


def test_exif_that_is_none_does_not_refuse_good_pixels():
    for info in ({"exif": b""}, {"exif": 3}, {"exif": b"Exif\0\0"}, {"Raw profile type exif": "a\nb\nc\nno hex"}):
        own = plain()
        own.info = info
        assert load_image(own).size == (8, 6)
    check_tables(b"", "it")


# ---- HEIC


@pytest.mark.parametrize("known", [("thumbnails",), ("thumbnails", "depth_images"), ("thumbnails", "aux_images")])
def test_of_a_heic_the_image_alone_is_opened_with_what_the_release_knows(known, monkeypatch):
    said = []
    package = SimpleNamespace(
        options=SimpleNamespace(**{name.upper(): True for name in known}),
        register_heif_opener=lambda **options: said.append(options),
    )
    monkeypatch.setattr(images, "import_module", lambda name: package)
    monkeypatch.setattr(images, "FORMATS", (*images.FORMATS, "HEIF"))
    refusal(struct.pack(">I", 24) + b"ftypheic" + bytes(400))
    assert said == [dict.fromkeys(known, False)]


def test_of_a_heic_nothing_beside_the_image_is_opened():
    package = pytest.importorskip("pillow_heif")
    load_image(encoded(plain(), "HEIF"))
    assert (package.options.THUMBNAILS, package.options.DEPTH_IMAGES, package.options.AUX_IMAGES) == (False,) * 3
