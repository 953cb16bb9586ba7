"""What an image may be given as: paths, bytes, open files, arrays, data: URLs; one, several or none."""

import base64
import io
import os
import re
import tracemalloc
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from seeahead import images
from seeahead.errors import InputError
from seeahead.images import as_sources, load_image, sources
from tests.image_files import RED, encoded, plain, refusal

DATA = encoded(plain())
ROWS = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)


class Named:
    """A path of somebody else's class."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


class Stream:
    """The least that is read like a file: a read that gives a few bytes at a time."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def read(self, _size=-1):
        return self.pieces.pop(0) if self.pieces else b""


class Unwinding(io.RawIOBase):
    """A pipe: it can be read, not wound back, and gives at most ten bytes at once."""

    def __init__(self, data):
        self.inner = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self.inner.read(min(10, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


def test_arrays_of_uint8_become_rgb():
    assert np.array_equal(np.asarray(load_image(ROWS[..., :3])), ROWS[..., :3])
    assert np.array_equal(np.asarray(load_image(ROWS[..., 0])), np.repeat(ROWS[..., :1], 3, 2))
    seen = ROWS.copy()
    seen[..., 3] = 255
    assert np.array_equal(np.asarray(load_image(seen)), ROWS[..., :3])
    assert load_image(np.zeros((2, 3, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)
    assert np.array_equal(np.asarray(load_image(ROWS[::-1, ::2, 2::-1])), ROWS[::-1, ::2, 2::-1])


def test_an_array_is_copied_not_shared():
    values = ROWS[..., :3].copy()
    load_image(values).putpixel((0, 0), (9, 9, 9))
    assert np.array_equal(values, ROWS[..., :3])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "4 x 4 x 3 of type float32"),
        (np.zeros((4, 4, 3), np.int64), "of type int64"),
        (np.zeros((4, 4), bool), "of type bool"),
        (np.zeros((3, 4, 4, 3), np.uint8), "3 x 4 x 4 x 3 of type uint8"),
        (np.zeros((3, 4, 5), np.uint8), "3 x 4 x 5 of type uint8"),
        (np.zeros((4, 4, 2), np.uint8), "4 x 4 x 2"),
        (np.zeros(4, np.uint8), "is 4 of type"),
        (np.zeros((), np.uint8), "one number"),
        (np.array([["a"]]), "of type <U1"),
        (np.array([[None]]), "of type object"),
        (np.zeros((0, 4), np.uint8), "4x0 pixels"),
        (np.zeros((4, 0, 3), np.uint8), "0x4 pixels"),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), "100,000,000 pixels"),
    ],
)
def test_other_arrays_are_refused(values, said):
    message = refusal(values)
    assert message.startswith("the array ")
    assert said in message


def test_open_files_and_buffers_are_read_from_their_start(tmp_path):
    (tmp_path / "a.png").write_bytes(DATA)
    written = io.BytesIO()
    plain().save(written, "PNG")  # stands at its end now
    with (tmp_path / "a.png").open("rb") as file, (tmp_path / "a.png").open("rb", buffering=0) as raw:
        for source in (written, written, file, raw, Unwinding(DATA), Stream([DATA[:9], DATA[9:]])):
            assert load_image(source).getpixel((0, 0)) == RED


def test_files_that_cannot_be_read_as_an_image(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(DATA)
    with (tmp_path / "a.png").open(encoding="utf-8") as text:
        assert "was opened as text" in refusal(text)
    assert "was opened as text" in refusal(io.StringIO("x"))
    assert "cannot be read as bytes" in refusal(file_that_was_closed())
    assert "cannot be read as bytes" in refusal(Stream(["text"]))
    assert "cannot be read as bytes" in refusal(Stream([3]))
    with (tmp_path / "a.png").open("ab") as only_written:
        assert "cannot be read as bytes" in refusal(only_written)
    assert "is empty" in refusal(io.BytesIO())
    assert "is empty" in refusal(Stream([None]))
    monkeypatch.setattr(images, "MAX_BYTES", 40)
    for source in (io.BytesIO(DATA), Unwinding(DATA), Stream([DATA] * 9)):
        assert "larger than 40 bytes" in refusal(source)


def file_that_was_closed():
    file = io.BytesIO(DATA)
    file.close()
    return file


def test_everything_that_names_a_path_or_holds_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(DATA)
    held = (bytearray(DATA), memoryview(DATA), memoryview(DATA + DATA)[: len(DATA)])
    for source in (path, str(path), PurePath(path), Named(str(path)), Named(os.fsencode(path)), *held):
        assert load_image(source).getpixel((0, 0)) == RED


def test_other_things_are_no_image():
    for source in (None, 7, 2.5, True, [], {}, object(), io.BytesIO, {"url": "a.png"}, [DATA]):
        assert f"an image was given as {type(source).__name__}; give a path, bytes" in refusal(source)


# A file with every kind of letter that base64 knows, padding too.
TEXT = base64.b64encode(encoded(plain((190, 239, 255), size=(7, 5)), "BMP") + b"\xfb\xef\xbe\0").decode()
SAFE = TEXT.replace("+", "-").replace("/", "_")


@pytest.mark.parametrize(
    "url",
    [
        "data:image/bmp;base64," + TEXT.rstrip("="),
        "data:image/bmp;base64," + TEXT.rstrip("=") + "%3D%3D",
        "data:image/bmp;base64," + SAFE,
        "data:image/bmp;base64," + SAFE.rstrip("="),
        "  \n data:image/bmp;base64," + TEXT,
        "data:image/bmp;base64, " + TEXT[:50] + "\r\n\t " + TEXT[50:] + " ",
        "DATA:image/bmp; BASE64 ," + TEXT,
        "data:;base64," + TEXT,
        "data:image/bmp;base64," + TEXT + "#top",
        "data:image/bmp;name=a;base64," + TEXT.replace("+", "%2B").replace("/", "%2f"),
    ],
)
def test_data_urls_are_read_as_browsers_read_them(url):
    assert set("+/=") < set(TEXT)
    assert load_image(url).size == (7, 5)


@pytest.mark.parametrize("body", ["!!!!", "A", "AAAAA", "AA=A", "ä", "\ud800", "A" * 9 + "!"])
def test_data_urls_that_are_no_base64(body):
    assert "not valid base64" in refusal("data:image/png;base64," + body)


def test_escapes_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr(sources, "_PIECE", 5)
    for text in (
        "%41" * 9,
        "%" * 20,
        "%%41%4%41%zz%4",
        "abcd%41",
        "abc%41de",
        "abcde%41",
        "a%4%41%4%41",
        "ä%e4%C3%A4ab",
        "",
    ):
        assert sources._unquoted(text, 0, len(text)) == unquote_to_bytes(text)
        assert sources._unquoted(f"%4{text}1", 2, 2 + len(text)) == unquote_to_bytes(text)


def test_a_data_url_with_letters_outside_of_ascii_is_refused_before_it_is_copied():
    url = "data:image/png;base64," + "A" * (1 << 20) + "\U0001f408"
    tracemalloc.start()
    try:
        assert "the data: URL has letters outside of ASCII" in refusal(url)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert "not valid base64" in refusal("data:image/png;base64,AAAA\U0001f408")
    assert load_image(f"data:image/bmp;name=bücher.bmp;base64,{TEXT}#ä").size == (7, 5)


def test_a_data_url_of_very_many_escapes_is_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(sources, "_unquoted", lambda *given: b"read")
    for head in ("data:image/png;base64,", "data:image/png,"):
        assert "has more than 1,000,000 letters as %XX; write data:" in refusal(head + "%41" * 1_000_001)
        assert "not an image" in refusal(f"{head}{'%41' * 1_000_000}#{'%41' * 9}")
    monkeypatch.undo()
    assert load_image("data:image/bmp;base64," + "".join(f"%{ord(letter):x}" for letter in TEXT)).size == (7, 5)


@pytest.mark.parametrize("body", ["%41" * 500_000, "%" * 1_500_000, "aa " * 500_000])
def test_a_data_url_takes_no_more_memory_than_a_few_times_its_length(body):
    tracemalloc.start()
    try:
        refusal("data:image/png;base64," + body)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()


def test_a_path_may_hold_what_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.png", "1:a.png", " blank.png", "data", "http"):
        Path(name).write_bytes(DATA)
        assert load_image(name).size == (8, 6)


@pytest.mark.parametrize("name", ["\ud800.png", "a\0b", "\x1b[31m.png", "x" * 70_000, "\u202e.png", "a/" * 3000])
def test_paths_that_cannot_be_are_said_on_one_short_line(name):
    for source in (name, Path(name)):
        assert len(refusal(source)) < 300


def test_a_path_that_is_too_long_is_refused_before_it_is_taken_apart(monkeypatch):
    monkeypatch.setattr(sources, "Path", lambda name: pytest.fail("it was taken apart"))
    for source in ("a/" * 5000, Named("a/" * 5000), "\n" + "a/" * 5000):
        assert re.search(r" has 10,00[01] letters, a path at most 8,192; give the path of an image$", refusal(source))


def test_one_image_several_or_none():
    one = ("cat.jpg", Path("cat.jpg"), DATA, bytearray(DATA), memoryview(DATA), plain(), ROWS, io.BytesIO(DATA))
    for source in one:
        assert len(as_sources(source)) == 1
        assert as_sources(source)[0] is source
    assert as_sources(None) == as_sources([]) == as_sources(()) == []
    assert as_sources(["a", "b"]) == as_sources(name for name in "ab") == ["a", "b"]
    for wrong in (3, True, {"a": 1}, object()):
        with pytest.raises(InputError, match=f"images were given as {type(wrong).__name__}; give a list"):
            as_sources(wrong)
