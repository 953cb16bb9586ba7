"""One's own data: a folder of pictures or a .jsonl file. Whatever is wrong is one line with file and line number."""

import importlib
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from seeahead.data.files import store_bytes
from seeahead.data.own_data import load_own
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.data.suite import DESCRIBE
from seeahead.errors import InputError
from seeahead.image_formats import IMAGE_SUFFIXES, SUFFIXES
from seeahead.images import FORMATS, load_image
from tests.sizes import ROOT


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def lines(folder, *rows):
    file = folder / "questions.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return file


def load(path, count=None, seed=0):
    return load_own(path, count=count, seed=seed, max_new_tokens=64)


def test_a_folder_of_images_is_asked_the_default_question(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".thumbnails/d.png", ".e.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    suite = load(tmp_path)
    assert [item.id for item in suite.items] == ["a.JPG", "b.png", "deep/er/c.webp"]
    assert {item.scenario for item in suite.items} == {"describe in detail"}
    assert [(turn.text, turn.max_new_tokens) for turn in suite.items[0].turns] == [(DESCRIBE, 64)]
    assert suite.items[2].images == (tmp_path / "deep/er/c.webp",)
    assert suite.name == tmp_path.name


def test_the_bundled_images_can_be_given_as_a_folder():
    assert len(load(PICTURES).items) == 15


def test_a_file_may_have_many_images_none_and_several_turns(tmp_path):
    picture(tmp_path / "cat.jpg")
    picture(tmp_path / "images/dog.png")
    file = lines(
        tmp_path,
        {"id": "one", "image": "cat.jpg", "turns": ["What is it?", "And now?"], "category": "pets", "note": 1},
        {"id": 2, "image": ["cat.jpg", "dog.png"], "turns": ["Compare."], "category": "Two pets", "topic": "pairs"},
        "",
        {"image": None, "turns": ["Who wrote it?\u2028No answer is fine."]},
    )
    for path in (file, tmp_path):  # the one .jsonl file of a folder is what is read
        one, two, text = load(path).items
        assert (one.id, one.scenario, [turn.text for turn in one.turns]) == ("one", "pets", ["What is it?", "And now?"])
        assert (two.id, two.scenario) == ("2", "pairs")
        assert two.images == (tmp_path / "cat.jpg", tmp_path / "images/dog.png")
        assert (text.id, text.scenario, text.images) == ("line 4", "question", ())


def test_sampling_is_per_scenario_seeded_and_keeps_the_order(tmp_path):
    file = lines(tmp_path, *({"id": n, "turns": ["?"], "category": f"c{n % 3}"} for n in range(60)))
    some = [item.id for item in load(file, count=4, seed=1).items]
    assert len(some) == 12
    assert some == sorted(some, key=int)
    assert some == [item.id for item in load(file, count=4, seed=1).items]
    assert some != [item.id for item in load(file, count=4, seed=2).items]
    assert len(load(file, count=1000).items) == 60


def test_a_line_may_say_how_long_its_answers_get(tmp_path):
    file = tmp_path / "long.jsonl"
    asked = {"turns": ["What?", "Why?"]}
    rows = [asked, {**asked, "max_new_tokens": 7}, {**asked, "max_new_tokens": [7, 9]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    suite = load_own(file, count=None, seed=0, max_new_tokens=5)
    limits = [[turn.max_new_tokens for turn in item.turns] for item in suite.items]
    assert limits == [[5, 5], [7, 7], [7, 9]]


GOOD = {"id": "1", "image": "cat.jpg", "turns": ["What is it?"]}

WRONG = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1]", "is [1], not an object; such as"),
    ('{"id": ' + "7" * 5000 + ', "turns": ["?"]}', "a number too long to be read; write it in quotes"),
    ('{"turns": ["?"], "n": [{"m": ' + "7" * 5000 + "}]}", "a number too long"),
    ('{"id": "2", "turns": ["a"], "turns": ["b"]}', "the key 'turns' stands twice; keep one"),
    ('{"id": "2", "turns": ["a"], "more": {"x\\n": 1, "x\\n": 1}}', "stands twice"),
    ('{"id": "2", "turns": ["caf\\ud800"]}', r"'\ud800', half a character"),
    ('{"id": "2", "turns": ["?"], "category": "\\uDCE9"}', r"'\udce9', half a character"),
    ('{"id": "2", "turns": ["?"], "\\udfff": 1}', r"'\udfff', half a character"),
    ("\0", "not JSON"),
    ({"id": "2"}, "lacks turns; give it a list of questions"),
    ({**GOOD, "turns": []}, "turns is []; allowed: a list of questions"),
    ({**GOOD, "turns": "What is it?"}, "turns is 'What is it?'; allowed: a list of questions"),
    ({**GOOD, "turns": ["What?", " "]}, "turns, entry 2, is ' '"),
    ({**GOOD, "turns": [None]}, "turns, entry 1, is None"),
    ({**GOOD, "id": ["x"]}, "id is ['x']; allowed: a text or a whole number"),
    ({**GOOD, "id": True}, "id is True; allowed: a text"),
    ({**GOOD, "id": ""}, "id is ''; allowed: a text"),
    ({**GOOD, "image": 3}, "image is 3; allowed: a path"),
    ({**GOOD, "image": ["cat.jpg", ""]}, "image, entry 2, is ''; allowed: a path"),
    ({**GOOD, "category": 3}, "category is 3; allowed: a text"),
    ({**GOOD, "topic": {}}, "topic is {}; allowed: a text"),
    ({"id": "2", "images": ["cat.jpg"], "turns": ["?"]}, "did you mean image?"),
    ({**GOOD, "image": "missing.jpg"}, "no image 'missing.jpg'"),
    ({**GOOD, "image": "cat.jpg\0.png"}, "no image"),
    ({**GOOD, "image": "x" * 5000 + ".png"}, "no image"),
    ({**GOOD, "image": "folder.png"}, "no image"),
    ({**GOOD, "image": "cat.svg"}, "does not end like an image"),
    ({**GOOD, "image": "../outside.png"}, "leaves the folder"),
    ({**GOOD, "image": "sub/../cat.jpg"}, "leaves the folder"),
    ({**GOOD, "image": "..\\outside.png"}, "leaves the folder"),
    ({**GOOD, "image": "/etc/outside.png"}, "leaves the folder"),
    ({**GOOD, "image": "C:\\outside.png"}, "leaves the folder"),
    (GOOD, "the id '1' is already that of line 1"),
    ({**GOOD, "max_new_tokens": 0}, "max_new_tokens is 0; allowed: a whole number from 1 to 1,000,000"),
    ({**GOOD, "max_new_tokens": True}, "max_new_tokens is True; allowed"),
    ({**GOOD, "max_new_tokens": "8"}, "max_new_tokens is '8'; allowed"),
    ({**GOOD, "max_new_tokens": [8, 8]}, "max_new_tokens is a list of 2; allowed: one whole number, or a list of 1"),
    ({**GOOD, "max_tokens": 8}, "did you mean max_new_tokens?"),
]


@pytest.mark.parametrize(
    ("row", "said"), WRONG, ids=[f"{number} {said[:30]}" for number, (_, said) in enumerate(WRONG)]
)
def test_a_wrong_line_is_named_by_file_and_number(tmp_path, row, said):
    folder = tmp_path / "data"
    picture(folder / "cat.jpg")
    picture(tmp_path / "outside.png")
    (folder / "folder.png").mkdir()
    file = lines(folder, GOOD, row)
    with pytest.raises(InputError) as caught:
        load(file)
    message = str(caught.value)
    assert message.startswith(f"{file} line 2")
    assert said in message
    assert "\n" not in message
    assert len(message) < 400 + 2 * len(str(file))


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_link_out_of_the_folder_is_refused(tmp_path, as_folder):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(picture(tmp_path / "secret.png"))
    path = folder if as_folder else lines(folder, {"id": "1", "image": "link.png", "turns": ["?"]})
    with pytest.raises(InputError, match="a link out of the folder"):
        load(path)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_link_to_itself_is_refused(tmp_path, as_folder):
    (tmp_path / "loop.png").symlink_to("loop.png")
    path = tmp_path if as_folder else lines(tmp_path, {"id": "1", "image": "loop.png", "turns": ["?"]})
    assert "no image 'loop.png'" in refusal(path)
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    assert "cannot be read: Too many levels of symbolic links" in refusal(tmp_path / "loop.jsonl")


def test_nothing_to_read_says_what_is_expected(tmp_path):
    with pytest.raises(InputError, match=r"holds no images; put into it images \(.jpg.*one .jsonl file"):
        load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(InputError, match=r"neither a folder nor a \.jsonl file"):
        load(tmp_path / "data.csv")
    with pytest.raises(InputError, match="has no lines"):
        load(lines(tmp_path, "", "  "))
    (tmp_path / "more.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"holds 2 \.jsonl files; name one of them: more.jsonl, questions.jsonl"):
        load(tmp_path)


def test_numbers_and_encodings_that_cannot_be(tmp_path):
    file = lines(tmp_path, {"id": "1", "turns": ["?"]})
    with pytest.raises(InputError, match="items per scenario is 0"):
        load(file, count=0)
    with pytest.raises(InputError, match="limit of new tokens is 0"):
        load_own(file, count=None, seed=0, max_new_tokens=0)
    file.write_bytes(b'{"id": "\xff"}')
    with pytest.raises(InputError, match="is not UTF-8"):
        load(file)
    file.write_bytes(b'\xef\xbb\xbf{"id": "1", "turns": ["?"]}\r\n')  # as some editors save it
    assert load(file).items[0].id == "1"
    mark = b"\xef\xbb\xbf"
    file.write_bytes(
        mark + b'{"id": 1, "turns": ["?"]}\n' + mark + b'{"id": 2, "turns": ["?"]}\n' + mark
    )  # joined files
    assert [item.id for item in load(file).items] == ["1", "2"]
    file.write_text('{"id": "1", "turns": ["?"]}', "utf-16")
    with pytest.raises(InputError, match="is not UTF-8"):
        load(file)


def test_pairs_of_surrogates_are_a_character(tmp_path):
    suite = load(lines(tmp_path, r'{"id": "\ud83d\udc08", "turns": ["\\ud800 \u00e9"]}'))
    assert suite.items[0].id == "\U0001f408"
    assert suite.items[0].turns[0].text == "\\ud800 é"


def test_a_folder_has_images_under_every_ending_that_is_read(tmp_path):
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / f"a{suffix.upper()}").write_bytes(b"not opened here")
    assert {item.id.lower() for item in load(tmp_path).items} == {f"a{suffix}" for suffix in IMAGE_SUFFIXES}
    assert {".jpg", ".png", ".tif", ".tiff", ".jfif", ".ppm", ".avif"} <= set(IMAGE_SUFFIXES)


def refusal(path):
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    return message


def test_paths_that_cannot_be(tmp_path):
    for name in ("x" * 5000, "x" * 300 + ".jsonl", "x/" * 2500):
        assert "cannot be read: File name too long" in refusal(tmp_path / name)
    for name in ("a\0b.jsonl", "\ud800.jsonl"):
        assert "is not a path" in refusal(tmp_path / name)
    lines(tmp_path, GOOD)
    assert "does not exist" in refusal(tmp_path / "questions.jsonl" / "more.jsonl")
    assert "does not exist" in refusal(tmp_path / "\x1b[31m\n.jsonl")


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    assert "is a pipe or a device, which is not read" in refusal(Path(os.devnull))
    os.mkfifo(tmp_path / "questions.jsonl")
    assert "is a pipe or a device, which is not read" in refusal(tmp_path / "questions.jsonl")
    assert "is not a regular file" in refusal(tmp_path)


def test_names_that_are_no_utf_8_are_refused(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    assert r"the name of the image 'caf\udce9.png' is not valid text: letter 4 is '\udce9'" in refusal(folder)
    (folder / os.fsdecode(b"caf\xe9.png")).unlink()
    picture(folder / "a.png")
    assert "is not valid text: letter 4" in refusal(folder.rename(tmp_path / os.fsdecode(b"caf\xe9")))


def test_many_files_make_a_short_message(tmp_path):
    for number in range(400):
        (tmp_path / f"{number}.jsonl").touch()
    assert "holds 400 .jsonl files; name one of them: 0.jsonl, 1.jsonl" in refusal(tmp_path)


def test_bytes_of_a_image_are_kept_under_the_ending_of_their_format(tmp_path):
    if "HEIF" in FORMATS:
        importlib.import_module("pillow_heif").register_heif_opener()
    for kind in FORMATS:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(stream, kind)
        path = store_bytes(tmp_path, stream.getvalue(), "row 1")
        assert path.suffix == SUFFIXES[kind][0]
        assert load_image(path).size == (8, 8)
    for data in (b"", b"\0" * 40):
        with pytest.raises(InputError, match="row 1: the image in it is none of png, jpg, gif, webp, bmp, tif"):
            store_bytes(tmp_path, data, "row 1")


@pytest.mark.parametrize(
    ("name", "scenarios"),
    [
        ("pictures", {"describe in detail"}),
        ("questions.jsonl", {"conversation", "two pictures", "reading", "text only"}),
    ],
)
def test_the_examples_of_the_repository_can_be_asked(name, scenarios):
    suite = load_own(ROOT / "examples" / name, count=None, seed=0, max_new_tokens=8)
    assert {item.scenario for item in suite.items} == scenarios


def test_many_rows_and_a_line_of_many_megabytes_are_read_in_a_moment(tmp_path):
    """In time that grows with the file: twice the rows would else take four times as long, and these minutes."""
    rows = [{"id": number, "turns": [f"What is {number}?"]} for number in range(5000)]
    long = "a" * 30_000_000
    suite = load(lines(tmp_path, *rows, {"id": "long", "turns": [long]}))
    assert len(suite.items) == 5001
    assert next(item for item in suite.items if item.id == "long").turns[0].text == long


def test_the_folder_one_is_in_has_its_own_name(tmp_path, monkeypatch):
    picture(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path / "photos")
    suite = load_own(Path(), count=None, seed=0, max_new_tokens=8)
    assert (suite.name, suite.about) == ("photos", "own data: photos")
