"""The bundled pictures: each has a source and a licence, all load, and together they stay small."""

import json
from importlib.resources import files

import pytest
from PIL import Image

from seeahead.images import load_image

FOLDER = files("seeahead.demo") / "pictures"
ENTRIES = json.loads((FOLDER / "pictures.json").read_text(encoding="utf-8"))


def test_every_file_is_listed_once():
    there = sorted(entry.name for entry in FOLDER.iterdir() if entry.name.endswith((".jpg", ".png")))
    assert sorted(entry["file"] for entry in ENTRIES) == there


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_every_picture_loads_and_says_where_it_is_from(entry):
    picture = load_image((FOLDER / entry["file"]).read_bytes())
    assert isinstance(picture, Image.Image)
    assert picture.size == (512, 512)
    assert all(entry[name] for name in ("title", "kind", "author", "licence", "source", "changes"))
    assert entry["kind"] in ("photograph", "drawing")
    page = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if f"`{entry['file']}`" in line]
    assert all(entry[name] in row for name in ("title", "author", "licence", "source", "changes"))


def test_they_are_enough_and_small():
    assert sum(entry["kind"] == "photograph" for entry in ENTRIES) >= 8
    assert sum(len((FOLDER / entry["file"]).read_bytes()) for entry in ENTRIES) < 1_000_000
